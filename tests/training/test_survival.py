from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, of the extra `training`")

from training.errors import TrainingError  # noqa: E402  # after the check for torch
from training.learning import survival  # noqa: E402  # after the check for torch

TOLERANCE = 1e-6


def of(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_bin_edges_are_quartiles_of_the_deaths_and_reach_beyond_all_times(
    oracles: dict[str, Any],
) -> None:
    oracle = oracles["O1_bins"]
    edges = survival.bin_edges(oracle["times"], 1 - np.array(oracle["censored"]))
    np.testing.assert_allclose(edges, oracle["edges"], atol=1e-9)
    assert survival.to_bins(oracle["times"], edges).tolist() == oracle["label"]


def test_a_time_on_an_inner_edge_belongs_to_the_upper_bin(oracles: dict[str, Any]) -> None:
    oracle = oracles["O1b_boundary"]
    assert survival.to_bins(oracle["t"], oracles["O1_bins"]["edges"]).tolist() == oracle["label"]


def test_glioma_days_fall_in_the_published_bins(oracles: dict[str, Any]) -> None:
    oracle = oracles["O1c_glioma_days"]
    edges = [-1e-6, *oracle["edges_all"], 3000.0]  # the last patient outlived the training cohort
    assert survival.to_bins(oracle["t"], edges).tolist() == oracle["label"]


def test_censored_times_do_not_move_the_inner_edges() -> None:
    time, event = np.arange(1.0, 9.0), np.ones(8)
    alone = survival.bin_edges(time, event)
    with_censored = survival.bin_edges([*time, 100.0, 200.0], [*event, 0, 0])
    np.testing.assert_array_equal(alone[1:-1], with_censored[1:-1])
    assert with_censored[-1] > 200


@pytest.mark.parametrize(
    ("time", "event", "found"),
    [
        ([1, 2, 3], [0, 0, 0], "0 deaths"),
        ([5, 5, 5, 5, 9], [1, 1, 1, 1, 0], "4 deaths"),
        ([1, math.nan, 3], [1, 1, 1], "missing"),
        ([1, 2, 3], [1, 2, 0], "missing or not 0/1"),
    ],
)
def test_times_without_three_different_quartiles_are_refused(
    time: list[float], event: list[float], found: str
) -> None:
    with pytest.raises(TrainingError, match=found):
        survival.bin_edges(time, event)


def test_inner_edges_alone_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 bin edges, expected 5"):
        survival.to_bins([1.0], [2.0, 3.0, 4.0])


def test_hazards_survival_and_risk_match_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O2_surv"]
    logits = of(oracle["logits"])
    torch.testing.assert_close(
        survival.hazards(logits), of(oracle["hazards"]), atol=TOLERANCE, rtol=0
    )
    torch.testing.assert_close(
        survival.survival_curve(logits), of(oracle["S"]), atol=TOLERANCE, rtol=0
    )
    torch.testing.assert_close(survival.risk(logits), of(oracle["risk"]), atol=TOLERANCE, rtol=0)


def test_known_hazards_give_the_reported_curve(oracles: dict[str, Any]) -> None:
    oracle = oracles["O36_report"]
    logits = of(oracle["hazards"]).logit()
    curve = survival.survival_curve(logits)
    torch.testing.assert_close(curve, of(oracle["S"]), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(1 - curve, of(oracle["p_event_by_bin"]), atol=TOLERANCE, rtol=0)
    assert survival.risk(logits).item() == pytest.approx(oracle["risk"], abs=TOLERANCE)


def test_likelihood_matches_the_oracle_for_every_weight_and_reduction(
    oracles: dict[str, Any],
) -> None:
    oracle, logits = oracles["O3_nll"], of(oracles["O2_surv"]["logits"])
    bins, event = of(oracle["Y"]).long(), 1 - of(oracle["censored"])
    each = survival.nll(logits, bins, event, reduction="none")
    torch.testing.assert_close(each, of(oracle["per_sample_alpha0"]), atol=TOLERANCE, rtol=0)
    for alpha, name in ((0.0, "mean_alpha0"), (0.15, "mean_alpha015"), (0.5, "mean_alpha05")):
        value = survival.nll(logits, bins, event, alpha).item()
        assert value == pytest.approx(oracle[name], abs=TOLERANCE)
    total = survival.nll(logits, bins, event, 0.5, "sum").item()
    assert total == pytest.approx(oracle["sum_alpha05"], abs=TOLERANCE)


@pytest.mark.parametrize("event", [0.0, 1.0])
def test_even_hazards_cost_one_ln_two_per_bin(oracles: dict[str, Any], event: float) -> None:
    oracle = oracles["O3b_nll_closed_form"]
    bins = torch.tensor(oracle["dead_bin"])
    logits = torch.zeros(4, 4, dtype=torch.float64)
    each = survival.nll(logits, bins, torch.full((4,), event), reduction="none")
    torch.testing.assert_close(each, of(oracle["value"]), atol=TOLERANCE, rtol=0)


def test_a_death_after_certain_death_is_clamped_and_finite(oracles: dict[str, Any]) -> None:
    logits = of([[1e4, 0.0, 0.0, 0.0]]).requires_grad_()
    loss = survival.nll(logits, torch.tensor([2]), of([1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(oracles["O3c_clamp"]["expected"], abs=TOLERANCE)
    assert torch.isfinite(logits.grad).all()


def test_an_inverted_event_flag_changes_the_likelihood(oracles: dict[str, Any]) -> None:
    oracle, logits = oracles["O3_nll"], of(oracles["O2_surv"]["logits"])
    inverted = survival.nll(logits, of(oracle["Y"]).long(), of(oracle["censored"]))
    assert abs(inverted.item() - oracle["mean_alpha0"]) > 0.1


def breslow(risk: list[float], time: list[float], event: list[int]) -> float:
    """The definition, one death at a time."""
    terms = [
        math.log(sum(math.exp(r) for r, t in zip(risk, time, strict=True) if t >= time[i]))
        - risk[i]
        for i in range(len(time))
        if event[i]
    ]
    return sum(terms) / len(terms)


def test_cox_is_breslows_partial_likelihood_with_ties() -> None:
    risk, time, event = [0.3, -1.0, 2.0, 0.5, 0.1], [5.0, 8.0, 8.0, 8.0, 12.0], [1, 1, 0, 1, 0]
    value = survival.cox(of(risk), of(time), of(event)).item()
    assert value == pytest.approx(breslow(risk, time, event), abs=1e-9)


def test_cox_agrees_with_scikit_survival_at_its_own_optimum() -> None:
    linear_model = pytest.importorskip("sksurv.linear_model", reason="needs scikit-survival")
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 2))
    time = generator.exponential(np.exp(-features[:, 0]))
    event = generator.random(60) < 0.7
    outcome = np.array(list(zip(event, time, strict=True)), dtype=[("event", "?"), ("time", "f8")])
    fitted = linear_model.CoxPHSurvivalAnalysis(tol=1e-12).fit(features, outcome)
    weights = of(fitted.coef_).requires_grad_()
    survival.cox(of(features) @ weights, of(time), of(event.astype(float))).backward()
    assert weights.grad.abs().max().item() < 1e-6


def test_cox_without_deaths_is_zero_with_a_zero_gradient() -> None:
    risk = of([1.0, 2.0]).requires_grad_()
    loss = survival.cox(risk, of([1.0, 2.0]), of([0.0, 0.0]))
    loss.backward()
    assert loss.item() == 0
    assert risk.grad.tolist() == [0, 0]
