from __future__ import annotations

from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch", reason="needs torch, of the extra `training`")

from training.errors import TrainingError  # noqa: E402  # after the check for torch
from training.learning import losses  # noqa: E402  # after the check for torch

TOLERANCE = 1e-6


def of(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(value: float) -> Any:
    return pytest.approx(value, abs=TOLERANCE)


def close(found: torch.Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, of(expected), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("pair", ["pair1", "pair2"])
def test_reconstruction_is_cubed_cosine_error_plus_squared_error(
    oracles: dict[str, Any], pair: str
) -> None:
    oracle = oracles["O6_recon"][pair]
    x, y = of([oracle["x"]]), of([oracle["y"]])
    assert losses.scaled_cosine_error(x, y).item() == near(oracle["sce"])
    assert losses.reconstruction(x, y).item() == near(oracle["sce"] + oracle["mse"])


def test_reconstruction_of_two_groups_weighs_as_published(oracles: dict[str, Any]) -> None:
    oracle = oracles["O6_recon"]
    pairs = [oracle["pair1"], oracle["pair2"]]
    total = 0.3 * sum(losses.reconstruction(of([p["x"]]), of([p["y"]])).item() for p in pairs)
    assert total == near(oracle["weighted_total"])


def test_cosine_error_of_opposites_is_eight_and_free_of_scale(oracles: dict[str, Any]) -> None:
    oracle = oracles["O6_recon"]
    x, y = of([oracle["pair1"]["x"]]), of([oracle["pair1"]["y"]])
    assert losses.scaled_cosine_error(x, -x).item() == near(oracle["opposite"])
    scaled = [losses.scaled_cosine_error(x * s, y * 3).item() for s in (1, 100)]
    assert scaled == near(oracle["scale_invariance"])


def test_reconstruction_of_a_zero_target_is_finite() -> None:
    x = of([[1.0, 2.0]]).requires_grad_()
    losses.reconstruction(x, of([[0.0, 0.0]])).backward()
    assert torch.isfinite(x.grad).all()


def test_reconstruction_is_the_mean_over_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 4, 7, generator=generator)
    each = [losses.reconstruction(x[i : i + 1], y[i : i + 1]).item() for i in range(4)]
    assert losses.reconstruction(x, y).item() == pytest.approx(sum(each) / 4, rel=1e-5)


def test_distillation_matches_the_oracle_at_both_temperatures(oracles: dict[str, Any]) -> None:
    oracle = oracles["O16_kd"]
    student, teacher = of(oracle["student"]), of(oracle["teacher"])
    assert losses.distill_kl(student, teacher, 2).item() == near(oracle["T2"])
    assert losses.distill_kl(student, teacher, 4).item() == near(oracle["T4"])
    assert losses.distill_kl(teacher, student, 4).item() == near(oracle["T4_reverse"])
    assert losses.distill_kl(student, student, 4).item() == near(oracle["self"])


def test_distillation_teaches_the_student_only() -> None:
    student = of([[2.0, -1.0]]).requires_grad_()
    teacher = of([[1.0, 1.0]]).requires_grad_()
    losses.distill_kl(student, teacher, 4).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_similarity_preserving_matches_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O26_sp"]
    fs, ft = of(oracle["fs"]), of(oracle["ft"])
    loss = losses.similarity_preserving(fs, ft)
    assert loss.item() == near(oracle["loss"])
    assert len(fs) * loss.item() == near(oracle["times_batch"])
    assert losses.similarity_preserving(ft, fs).item() == near(oracle["symmetric"])
    turn = of([[0.6, -0.8], [0.8, 0.6]])
    assert losses.similarity_preserving(fs @ turn, ft).item() == near(oracle["rotation_invariant"])
    scaled = losses.similarity_preserving(5 * fs, ft).item()
    assert scaled == near(oracle["global_scale_invariant"])
    assert losses.similarity_preserving(fs[:1], ft[:1]).item() == near(oracle["batch1"])


def test_similarity_preserving_moves_both_sides(oracles: dict[str, Any]) -> None:
    fs = of(oracles["O26_sp"]["fs"]).requires_grad_()
    ft = of(oracles["O26_sp"]["ft"]).requires_grad_()
    losses.similarity_preserving(fs, ft).backward()
    assert fs.grad.abs().sum() > 0
    assert ft.grad.abs().sum() > 0


def test_orthogonality_cancels_signs_unless_taken_per_sample(oracles: dict[str, Any]) -> None:
    oracle = oracles["O28_or"]
    features = [of(oracle[name]) for name in ("f_student", "f_gen", "f_mul")]
    assert losses.orthogonality(features).item() == near(oracle["released"])
    per_sample = losses.orthogonality(features, per_sample=True).item()
    assert per_sample == near(oracle["per_sample_abs_variant"])
    second = [of([[1, 2], [3, 4]]), of([[1, 0], [0, 1]]), of([[2, 1], [1, 2]])]
    assert losses.orthogonality(second).item() == near(oracle["second_example"])


def test_coral_matches_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O29_coral"]
    x, y = of(oracle["x"]), of(oracle["y"])
    assert losses.coral(x, y).item() == near(oracle["total"])
    assert losses.coral(x, x).item() == near(oracle["self"])
    shifted = losses.coral(x, x + 2).item()
    assert shifted == near(4.0)  # equal covariances: only the means are left


def test_the_five_parts_of_the_mkd_loss_add_up_to_its_total(oracles: dict[str, Any]) -> None:
    oracle = oracles["O30_total"]
    s, g, m = (of(oracle[name]) for name in ("f_student", "f_gen", "f_mul"))
    zs, zg, zm = (of(oracle[name]) for name in ("logit_student", "logit_gen", "logit_mul"))
    label = of(oracle["y"]).long()
    parts = {
        "L_ce": sum(torch.nn.functional.cross_entropy(z, label) for z in (zs, zg, zm)),
        "L_sp": 3 * (losses.similarity_preserving(s, m) + losses.similarity_preserving(s, g)),
        "L_kl": sum(losses.distill_kl(a, b, 4) for t in (zm, zg) for a, b in ((zs, t), (t, zs))),
        "L_or": losses.orthogonality([s, g, m]),
        "L_da": losses.coral(s, g) + losses.coral(s, m) + losses.coral(g, m),
    }
    for name, value in parts.items():
        assert value.item() == near(oracle[name]), name
    assert sum(parts.values()).item() == near(oracle["total"])


def test_inter_magnification_is_the_variance_of_normalized_agreement(
    oracles: dict[str, Any],
) -> None:
    oracle = oracles["O14_igc"]
    loss = losses.inter_magnification(of(oracle["a10"]), of(oracle["a20"])).item()
    assert loss == near(oracle["loss_times_1e4"])
    assert loss / 1e4 == near(oracle["diag_var_unbiased"])


@pytest.mark.parametrize("loss", [losses.inter_magnification, losses.coral])
def test_losses_over_a_batch_refuse_a_single_sample(loss: Any) -> None:
    with pytest.raises(TrainingError, match="batch of 1, expected at least 2"):
        loss(of([[1.0, 2.0]]), of([[1.0, 2.0]]))


def test_head_consistency_matches_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O15_student_consistency"]
    x, y = of(oracle["x"]), of(oracle["y"])
    assert losses.head_consistency(x, y).item() == near(oracle["loss"])
    assert losses.head_consistency(x, x).item() == near(oracle["self"])


@pytest.mark.parametrize("case", ["O13_cgc_A", "O13_cgc_B"])
@pytest.mark.parametrize(("rho", "suffix"), [(0.5, "r_lt_1"), (2.0, "r_gt_1")])
@pytest.mark.parametrize(("mode", "name"), [("projection", "pcgrad"), ("release", "release")])
def test_a_conflict_changes_the_less_confident_gradient(
    oracles: dict[str, Any],
    case: str,
    rho: float,
    suffix: str,
    mode: Literal["projection", "release"],
    name: str,
) -> None:
    oracle = oracles[case]
    u, v = of(oracle["g1"]), of(oracle["g2"])
    changed = losses.project_conflict(u, v, rho, mode)
    close(torch.stack(changed), oracle[f"{name}_{suffix}"])
    if rho < 1:
        assert (changed[0] @ v).item() == near(oracle[f"dot_after_{name}"])


@pytest.mark.parametrize("rho", [0.5, 1.0, 2.0])
def test_gradients_that_agree_are_left_alone(oracles: dict[str, Any], rho: float) -> None:
    oracle = oracles["O13_cgc_nochange"]
    changed = losses.project_conflict(of(oracle["g1"]), of(oracle["g2"]), rho)
    close(torch.stack(changed), oracle["out"])


def test_only_the_class_rows_that_conflict_are_changed(oracles: dict[str, Any]) -> None:
    conflict, calm = oracles["O13_cgc_A"], oracles["O13_cgc_nochange"]
    u, v = of([conflict["g1"], calm["g1"]]), of([conflict["g2"], calm["g2"]])
    changed, kept = losses.project_conflict(u, v, 0.5)
    close(changed, [conflict["pcgrad_r_lt_1"][0], calm["g1"]])
    close(kept, v.tolist())


@pytest.mark.parametrize("mode", ["projection", "release"])
def test_exactly_opposite_gradients_give_zero_not_nan(
    mode: Literal["projection", "release"],
) -> None:
    changed, _ = losses.project_conflict(of([1.0, 2.0]), of([-2.0, -4.0]), 0.5, mode)
    close(changed, [0.0, 0.0])


def test_subspace_confidence_matches_the_oracle(oracles: dict[str, Any]) -> None:
    oracle = oracles["O13b_confidence"]
    bias, label = of(oracle["bias"]), of(oracle["y"]).long()
    score = {
        part: losses.subspace_confidence(
            of(oracle[f"f_{part}"]), of(oracle[f"W_{part}"]), bias, label
        ).item()
        for part in ("tum", "tme")
    }
    assert score["tum"] == near(oracle["score_tum"])
    assert score["tme"] == near(oracle["score_tme"])
    assert score["tum"] / score["tme"] == near(oracle["ratio_tum"])


def test_weighted_cross_entropy_divides_by_the_weights_it_used(oracles: dict[str, Any]) -> None:
    oracle = oracles["O22_wce"]
    loss = torch.nn.CrossEntropyLoss(weight=of(oracle["weights"]))
    value = loss(of(oracle["logits"]), of(oracle["y"]).long()).item()
    assert value == near(oracle["weighted_mean"])
