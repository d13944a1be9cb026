"""Heads shared by several cohorts: right values, nobody scored in a fit, and one report."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from sksurv.linear_model import CoxPHSurvivalAnalysis  # noqa: E402
from sksurv.metrics import concordance_index_censored  # noqa: E402
from sksurv.util import Surv  # noqa: E402
from training_patients import drawn, split  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from training.bundle.export import Request, export  # noqa: E402
from training.cli import main  # noqa: E402
from training.cohorts.cohort import Cohort, assemble  # noqa: E402
from training.cohorts.material import TASKS, Material  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning import survival  # noqa: E402
from training.learning.deployed import Deployed  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.learning.graphs import write_graph  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.methods.crossfit import method as crossfit  # noqa: E402
from training.methods.crossfit import pan  # noqa: E402
from training.methods.crossfit.shared import (  # noqa: E402
    Aimed,
    Followed,
    Penalty,
    partial_likelihood,
    shared_cox,
    shared_ridge,
)
from training.runs.pan import joined, splits_of  # noqa: E402

WIDTH = 5
FEATURES = 64
"""As wide as those of the shipped encoder, behind which a student is exported."""


def followed(seed: int, count: int = 60) -> Followed:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, WIDTH))
    death = rng.exponential(20 * np.exp(-z[:, 0] - 0.5 * z[:, seed % WIDTH]))
    visit = rng.uniform(5, 60, count)
    # Whole months: many share a time.
    return Followed(z, np.ceil(np.minimum(death, visit)), death <= visit)


# -- right values -------------------------------------------------------------------------------


def test_a_shared_ridge_is_the_least_squares_of_all_cohorts_at_once():
    rng = np.random.default_rng(0)
    cohorts = [Aimed(rng.normal(2, 1, (n, WIDTH)), rng.normal(5, 1, n)) for n in (30, 50, 20)]
    penalty = Penalty(0.7, 2.0)
    found = shared_ridge(cohorts, penalty)
    rows, targets = [], []
    for at, (z, target) in enumerate(cohorts):
        block = np.zeros((len(z), 4, WIDTH))
        block[:, 0] = block[:, 1 + at] = z - z.mean(axis=0)
        rows.append(block.reshape(len(z), -1))
        targets.append(target - target.mean())
    strengths = [0.7 * 100, 2.0 * 30, 2.0 * 50, 2.0 * 20]
    rows.append(np.diag(np.sqrt(np.repeat(strengths, WIDTH))))
    targets.append(np.zeros(4 * WIDTH))
    solved, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)
    expected = solved.reshape(4, WIDTH)
    np.testing.assert_allclose(found.common, expected[0], atol=1e-10)
    np.testing.assert_allclose(found.own, expected[1:], atol=1e-10)


def test_a_shared_cox_of_one_cohort_is_that_of_scikit_survival():
    """Of one cohort w and w_1 split a ridge of the strength a b / (a + b) between them."""
    one = followed(1)
    found = shared_cox([one], Penalty(0.6, 1.2))
    alpha = 0.6 * 1.2 / 1.8 * one.event.sum()
    model = CoxPHSurvivalAnalysis(alpha=alpha, ties="breslow", tol=1e-12)
    model.fit(one.z, Surv.from_arrays(one.event, one.time))
    np.testing.assert_allclose(found.of(0), model.coef_, atol=1e-5)


def test_cohorts_that_share_nothing_are_each_fitted_as_scikit_survival_does():
    cohorts = [followed(at) for at in (1, 2, 3)]
    found = shared_cox(cohorts, Penalty(1e9, 0.5))
    assert np.abs(found.common).max() < 1e-6
    for at, one in enumerate(cohorts):
        model = CoxPHSurvivalAnalysis(alpha=0.5 * one.event.sum(), ties="breslow", tol=1e-12)
        model.fit(one.z, Surv.from_arrays(one.event, one.time))
        np.testing.assert_allclose(found.own[at], model.coef_, atol=1e-5)


def test_the_shared_cox_ends_where_the_gradient_of_the_stratified_likelihood_is_zero():
    cohorts = [followed(at, 40 + 10 * at) for at in (1, 2, 3)]
    penalty = Penalty(0.3, 1.5)
    found = shared_cox(cohorts, penalty)
    common = torch.tensor(found.common, requires_grad=True)
    own = torch.tensor(found.own, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for at, (z, time, event) in enumerate(cohorts):
        risk = torch.tensor(z) @ (common + own[at])
        died = torch.tensor(event.astype(float))
        total = total + survival.cox(risk, torch.tensor(time), died) * died.sum()
        total = total + penalty.own * died.sum() * own[at].square().sum() / 2
    deaths = sum(one.event.sum() for one in cohorts)
    total = total + penalty.shared * deaths * common.square().sum() / 2
    total.backward()
    assert common.grad.abs().max() < 1e-3
    assert own.grad.abs().max() < 1e-3
    assert np.abs(found.common).max() > 0.1


def test_the_partial_likelihood_of_a_risk_is_that_of_the_cox_loss():
    _, time, event = followed(4)
    risk = np.random.default_rng(0).normal(size=len(time))
    expected = survival.cox(*(torch.tensor(x.astype(float)) for x in (risk, time, event)))
    assert partial_likelihood(risk, time, event) == pytest.approx(float(expected))


def test_a_cohort_without_a_death_is_named():
    one = followed(1)
    alive = one._replace(event=np.zeros(len(one.time), dtype=bool))
    with pytest.raises(TrainingError, match="no death among the 60 patients of cohort 2"):
        shared_cox([one, alive], Penalty(1, 1))


# -- choosing -----------------------------------------------------------------------------------


def members(count: int = 3, patients: int = 80) -> list[pan.Member]:
    found = []
    for at in range(count):
        group = drawn(patients, 10 + at)
        risk = np.array([float(bag[:, 0].mean()) for bag in group.bags])
        noise = np.random.default_rng(at).normal(size=patients)
        targets = {"student": risk + 0.3 * noise, "null": noise, "twin": None}
        found.append(pan.member(f"c{at}", group, targets))
    return found


def test_heads_find_what_is_common_and_the_controls_have_the_same_columns():
    given = members()
    found = pan.chosen_heads(given, ["c0", "c1"], seed=0)
    assert found.penalties.cox in pan.COX_GRID
    assert found.penalties.teacher in pan.RIDGE_GRID
    for columns in found.columns:
        assert set(columns) == {"student", "twin", "self", "null"}
        assert columns["twin"].shape == (8, 1)
        assert {columns[role].shape for role in ("student", "self", "null")} == {(8, 2)}
        for role in ("student", "self", "null"):
            assert (columns[role][:, 0] == columns["twin"][:, 0]).all()
        for head in (columns["twin"][:, 0], columns["student"][:, 1]):
            assert np.abs(head).argmax() == 0
        assert np.abs(columns["null"][:, 1]).max() < 0.5 * np.abs(columns["student"][:, 1]).max()


def test_only_the_judges_choose_the_penalties():
    """Turning the outcomes of a cohort that does not judge over cannot be asked for a choice."""
    given = members()
    asked: list[int] = []
    real = pan.shared.partial_likelihood

    def noted(risk, time, event):
        asked.append(next(at for at, one in enumerate(given) if set(time) <= set(one.time)))
        return real(risk, time, event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pan.shared, "partial_likelihood", noted)
        pan.chosen_heads(given, ["c2"], seed=0)
    assert set(asked) == {2}
    with pytest.raises(TrainingError, match="found c9 to choose"):
        pan.chosen_heads(given, ["c9"], seed=0)


def test_what_a_held_out_patient_died_of_does_not_reach_the_self_twins_target():
    """Its targets are out of fold: a patient's own outcome changes everybody's but theirs."""
    given = members()
    folds = [pan._folds(one, 0) for one in given]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pan, "COX_GRID", (Penalty(0.3, 3.0),))
        _, before = pan._best_cox(given, folds, ["c0"])
        part = folds[0] == 1
        time = given[0].time.copy()
        time[part] = time[part][::-1]
        _, after = pan._best_cox([replace(given[0], time=time), *given[1:]], folds, ["c0"])
    np.testing.assert_allclose(after[0][part], before[0][part], atol=1e-9)
    assert np.abs(after[0][~part] - before[0][~part]).max() > 1e-4


# -- nobody who is scored is in a fit -----------------------------------------------------------


def write_features(path: Path, bags: Mapping[str, Any]) -> None:
    """Bags of slides in the one file that a cohort reads."""
    ends = np.cumsum([0, *map(len, bags.values())])
    feats = np.concatenate(list(bags.values())).astype(np.float32)
    np.savez(path, feats=feats, offsets=ends, slide_id=np.array(list(bags)))


def cohort(name: str, draw: int, folder: Path, *, strangers: bool = False) -> Cohort:
    """Eighty drawn patients of ten sites; with `strangers` some of sites and ids of cohort one."""
    group = drawn(80, 20 + draw)
    sites = [f"{chr(65 + draw)}{at % 10}" for at in range(80)]
    ids = [f"TCGA-{site}-{at:04d}" for at, site in enumerate(sites)]
    if strangers:
        ids[3:6] = [f"TCGA-A{at}-9{at:03d}" for at in (3, 4, 5)]
        ids[0] = "TCGA-A0-0000"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    bags = {
        f"{patient}-01Z": np.pad(bag.numpy(), ((0, 0), (0, FEATURES - bag.shape[1])))
        for patient, bag in zip(ids, group.bags, strict=True)
    }
    write_features(path, bags)
    index = pd.Index(ids, name="patient")
    patients = pd.DataFrame(
        {
            "time_months": group.time.numpy().astype(float),
            "event": group.event.numpy().astype(float),
            "age": group.age.numpy().astype(float),
            "site": [patient.split("-")[1] for patient in ids],
            "label": 0.0,
        },
        index=index,
    )
    clinic = pd.DataFrame(group.privileged["clinical"].numpy(), index, columns=["grade", "other"])
    slides = [(patient, f"{patient}-01Z", str(path)) for patient in ids]
    material = Material(
        name,
        TASKS["os"],
        patients,
        pd.DataFrame(index=index),
        pd.DataFrame(slides, columns=["patient", "slide", "file"]),
        bags,
        privileged={"clinical": clinic},
    )
    return assemble(material, flag_confirmed=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    folder = tmp_path_factory.mktemp("features")
    return [cohort("one", 0, folder), cohort("two", 1, folder, strangers=True)]


@pytest.mark.parametrize("kind", ["official", "site"])
def test_nobody_who_is_scored_nor_of_a_strangers_scored_site_teaches_any_head(two, kind):
    seen: list[set[str]] = []
    real = pan.member

    def noted(name, patients, targets):
        seen.append(set(patients.ids))
        return real(name, patients, targets)

    left_out = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pan, "member", noted)
        patch.setattr(pan, "COX_GRID", pan.COX_GRID[:1])
        for fold in (0, 3):
            seen.clear()
            splits = splits_of(two, kind, fold, 0)
            joined(splits, [crossfit.taught(at, crossfit.Settings(), 0) for at in splits], 0)
            assert len(seen) == 4
            scored = [set(at.test.ids) for at in splits]
            for at, ids in enumerate(seen):
                assert not ids & (scored[0] | scored[1])
                own, other = scored[at % 2], scored[1 - at % 2]
                sites = {patient.split("-")[1] for patient in ids}
                assert not sites & {patient.split("-")[1] for patient in other}
                if kind == "site":
                    assert not sites & {patient.split("-")[1] for patient in own}
            kept = [len(at.train) + len(at.valid) + len(at.test) for at in splits]
            left_out += 160 - sum(kept)
    assert left_out > 0


def test_the_outcome_of_a_scored_patient_changes_no_weight_of_any_cohort(two):
    def columns(cohorts: list[Cohort]) -> list[crossfit.Added]:
        splits = splits_of(cohorts, "site", 1, 0)
        return joined(splits, [crossfit.taught(at, crossfit.Settings(), 0) for at in splits], 0)[1]

    def with_time(months: float, fold: int) -> list[Cohort]:
        table = two[0].patients.copy()
        table.loc[table["fold_site"] == fold, "time_months"] = months
        return [replace(two[0], patients=table), two[1]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pan, "COX_GRID", pan.COX_GRID[:1])
        before, after = columns(two), columns(with_time(1.0, 1))
        trained = columns(with_time(1.0, 2))
    for at, one in enumerate(before):
        for role, weights in one.everyone.items():
            assert (after[at].everyone[role] == weights).all()
        assert (after[at].inner == one.inner).all()
        # The same change in a fold that trains is seen, in the other cohort too.
        assert (trained[at].everyone["student"] != one.everyone["student"]).any()


def test_patients_left_out_take_no_part_in_scaling_or_training_and_are_scored_all_the_same(two):
    splits = splits_of(two, "official", 0, 0)
    folds = two[0].patients["fold_official"]
    assert set(splits[0].test.ids) == set(folds.index[folds == 0])
    shared = "TCGA-A0-0000"
    assert shared in two[0].bags
    assert shared in two[1].bags
    for fold in range(5):
        one, other = splits_of(two, "official", fold, 0)
        for a, b in ((one, other), (other, one)):
            if shared in a.test.ids:
                assert shared not in b.train.ids + b.valid.ids


# -- the student --------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [0, 3])
def test_pan_cancer_heads_fold_into_the_student_and_its_graph(epochs, tmp_path):
    given = split()
    settings = crossfit.Settings(epochs=epochs, lr=1e-2)
    teachers = crossfit.taught(given, settings, 0)
    rng = np.random.default_rng(0)
    extra = rng.normal(size=(8, 2)) * 0.3
    added = crossfit.Added(
        {"student": extra, "self": extra, "null": extra, "twin": extra[:, :1]}, extra
    )
    with Journal(tmp_path / "with") as journal:
        found = crossfit.fit_taught(given, teachers, settings, 0, journal, added)
    with Journal(tmp_path / "without") as journal:
        plain = crossfit.fit_taught(given, teachers, settings, 0, journal)
    networks = [one.student.student.network for one in (found, plain)]
    np.testing.assert_allclose(networks[0].linear - networks[1].linear, extra, atol=1e-6)
    # Written out: the sum of four heads on the standardized mean, and the attention's two.
    bag = given.test.bags[4]
    net = networks[0]
    mean = ((bag.mean(dim=0) - net.pool_mean) / net.pool_std).clamp(-5, 5)
    own = net.attention(bag.unsqueeze(0), torch.ones(1, len(bag), dtype=torch.bool))[0]
    raw = torch.cat([(mean @ net.linear)[None, None], own])
    heads = raw[:, 0] - net.head_mean
    risk = (heads[0].sum() + heads[1:].mean(dim=0).sum()) / net.risk_std
    assert found.scores["student", "last"].risk[4] == pytest.approx(float(risk.detach()), abs=1e-5)
    if epochs == 0:
        assert not heads[1:].any()
    said = found.student(bag)
    assert float(said.risk[0].detach()) == pytest.approx(float(risk.detach()), abs=1e-5)
    deployed = Deployed(found.student, (), bag).eval()
    write_graph(
        "student", deployed, (bag,), tmp_path, inputs=["features"], outputs=deployed.names,
        dynamic={"features": {0: "N"}, "attention": {0: "N"}},
    )  # fmt: skip
    answer = run_graph(tmp_path / "student.onnx", {"features": bag.numpy()})
    assert answer["risk"][0] == pytest.approx(float(risk.detach()), abs=1e-4)


@pytest.mark.parametrize(("epochs", "estimates"), [(0, 2), (3, 3)])
def test_the_teachers_risk_that_a_student_states_is_the_mean_of_its_estimates(
    epochs, estimates, tmp_path
):
    """With a pan-cancer head that repeats the cohort's own there is one more estimate, not more."""
    given = split(train=150)
    shown = {name: torch.stack([bag.mean(dim=0) for bag in part.bags])[:, 0]
             for name, part in (("train", given.everyone), ("test", given.test))}  # fmt: skip
    target = shown["train"].double().numpy()
    everyone = given.everyone
    settings = crossfit.Settings(epochs=epochs, lr=1e-2)
    with Journal(tmp_path) as journal:
        alone = crossfit.student(everyone, target, replace(settings, epochs=0), 0, journal, "a")
        added = np.column_stack([np.zeros(8), alone.linear[:, 1].double().numpy()])
        taught = crossfit.student(everyone, target, settings, 0, journal, "b", added)
    assert taught.estimates == estimates
    heads = taught.log_hazards(taught.each(given.test.bags))[:, :, 1]
    linear = heads[:, 0] / 2
    assert float(linear.std()) == pytest.approx(float(shown["test"].std()), rel=0.3)


# -- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(two, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.cohorts import store

    folder = tmp_path_factory.mktemp("pan")
    for one in two:
        store.write(one, folder / one.name, "")
    words = ["pan", "--cohorts", str(folder / "one"), str(folder / "two"), "--out",
             str(folder / "out"), "--fold", "0", "--fold", "1", "--epochs", "0",
             "--no-graphs"]  # fmt: skip
    assert main(words) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def exportable(out, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with graphs, one fold by site, in a process of its own."""
    made = tmp_path_factory.mktemp("graphs")
    words = ["pan", "--cohorts", str(out.parent / "one"), str(out.parent / "two"), "--out",
             str(made), "--fold", "0", "--folds", "site", "--epochs", "0",
             "--jobs", "2"]  # fmt: skip
    assert main(words) == 0
    return made


def test_a_run_that_only_measures_scores_the_same_and_is_not_exported(out, exportable):
    """Graphs are most of the time of a linear student; the scores come from the same network."""
    place = Path("two-site") / "fold0-seed0"
    assert not (out / place / "student.onnx").exists()
    table = (out / place / "predictions.csv").read_text()
    assert table == (exportable / place / "predictions.csv").read_text()
    graph = run_graph(
        exportable / place / "student.onnx", {"features": np.ones((3, FEATURES), np.float32)}
    )
    np.testing.assert_allclose(graph["attention"], 0.5, atol=1e-6)  # the share of chance
    request = Request(out / "two-site", "default", out.parent / "bundle", "x")
    with pytest.raises(TrainingError, match="without --no-graphs"):
        export(request)


def test_the_command_leaves_a_run_per_cohort_and_kind_and_one_report(out, capsys):
    for name in ("one-official", "one-site", "two-official", "two-site"):
        said = json.loads((out / name / "run.json").read_text())
        assert said["method"] == "crossfit-pan"
        assert said["settings"]["pan"].startswith("one ")
        for fold in (0, 1):
            unit = out / name / f"fold{fold}-seed0"
            table = pd.read_csv(unit / "predictions.csv", keep_default_na=False)
            assert {"student", "twin", "self", "null", "teacher"} <= set(table["role"])
            facts = json.loads((unit / "unit.json").read_text())["facts"]
            assert facts["pan_penalty_cox_shared"] in {at.shared for at in pan.COX_GRID}
    page = (out / "report.html").read_text()
    assert "of the student minus its twin of equal capacity" in page
    before = (out / "one-site" / "fold0-seed0" / "unit.json").stat().st_mtime_ns
    folder = out.parent
    words = ["pan", "--cohorts", str(folder / "one"), str(folder / "two"), "--out", str(out),
             "--fold", "0", "--epochs", "0", "--no-graphs"]  # fmt: skip
    assert main(words) == 0
    assert (out / "one-site" / "fold0-seed0" / "unit.json").stat().st_mtime_ns == before
    assert "minus twin of equal capacity, mean, folds by site" in capsys.readouterr().out


def test_every_gain_over_the_equal_twin_is_recomputed_from_the_predictions(out):
    (task,) = json.loads((out / "report.json").read_text())["tasks"]
    stated = {
        (found["kind"], found["column"] and found["column"]["cohort"]): found["interval"]
        for found in task["differences"]
        if found["second"]["role"] == "self" and found["rule"] == "inner"
    }
    for kind in ("official", "site"):
        gains, drawn_gains = {}, {}
        for name in ("one", "two"):
            values, redrawn = [], []
            for fold in (0, 1):
                place = out / f"{name}-{kind}" / f"fold{fold}-seed0" / "predictions.csv"
                table = pd.read_csv(place, keep_default_na=False)
                table = table[table["rule"] == "inner"].sort_values("patient")
                event = table[table["role"] == "self"]["event"].to_numpy() > 0
                time = table[table["role"] == "self"]["time_months"].to_numpy(float)
                risks = [table[table["role"] == role]["risk"].to_numpy(float)
                         for role in ("student", "self")]  # fmt: skip
                a, b = (concordance_index_censored(event, time, risk)[0] for risk in risks)
                values.append(a - b)
                counts = np.random.default_rng([0, fold, len(time)]).multinomial(
                    len(time), np.full(len(time), 1 / len(time)), size=1000
                )
                redrawn.append([difference(event, time, risks, rows) for rows in counts])
            gains[name], drawn_gains[name] = np.mean(values), np.mean(redrawn, axis=0)
        gains[None] = np.mean([gains["one"], gains["two"]])
        drawn_gains[None] = np.mean([drawn_gains["one"], drawn_gains["two"]], axis=0)
        for name, gain in gains.items():
            found = stated[kind, name]
            assert found["value"] == pytest.approx(gain, abs=2e-6)
            ends = np.quantile(drawn_gains[name], [0.025, 0.975])
            assert [found["low"], found["high"]] == pytest.approx(ends, abs=1e-5)


def difference(event, time, risks, counts) -> float:
    rows = np.repeat(np.arange(len(time)), counts)
    first, second = (
        concordance_index_censored(event[rows], time[rows], risk[rows])[0] for risk in risks
    )
    return float(first - second)


def test_the_student_is_exported_and_its_card_names_every_cohort_that_taught_it(
    exportable, tmp_path
):
    source = open_bundle("default")
    encoder = source.file(source.manifest.graphs["encoder"].file)
    run = tmp_path / "run"
    shutil.copytree(exportable / "two-site", run)
    said = json.loads((run / "run.json").read_text())
    wanted = source.manifest.input
    said["features"] = [
        {
            "encoder": hashlib.sha256(encoder.read_bytes()).hexdigest(),
            "mpp": wanted.mpp,
            "tile_px": wanted.tile_px,
        }
    ]
    (run / "run.json").write_text(json.dumps(said))
    request = Request(run=run, encoder="default", out=tmp_path / "bundle", name="two-pan")
    bundle = open_bundle(str(export(request)))
    assert [o.name for o in bundle.manifest.outputs] == ["risk", "survival", "attention"]
    assert (tmp_path / "bundle" / "aggregator.onnx").read_bytes() == (
        run / "fold0-seed0" / "student.onnx"
    ).read_bytes()
    card = (tmp_path / "bundle" / "card.md").read_text()
    assert "Trained on cohorts one, two; measured on two" in card
    assert "Trained and measured on one cohort" not in card
    assert "its attention is even" in card
    one, own = bundle.manifest.limits[0], bundle.manifest.training.data
    assert (
        one == "Trained on cohorts one, two; measured on two; nothing is known of slides of others."
    )
    digest = json.loads((exportable / "one-site" / "run.json").read_text())["cohort_digest"]
    assert len(own) == 2
    assert own[0].startswith(f"cohort two, {said['patients']} patients, site folds; ")
    assert own[1].startswith(f"cohort one, digest {digest[:12]}; ")


def test_one_cohort_and_cohorts_of_unlike_width_are_refused(two, tmp_path, capsys):
    from training.cohorts import store

    wide = {patient: np.pad(bag, ((0, 0), (0, 1))) for patient, bag in two[1].bags.items()}
    slides = two[1].slides.drop(columns="instances")
    write_features(tmp_path / "wide.npz", {f"{patient}-01Z": bag for patient, bag in wide.items()})
    slides["file"] = str(tmp_path / "wide.npz")
    material = Material("wide", two[1].task, two[1].patients, two[1].genes, slides,
                        {f"{patient}-01Z": bag for patient, bag in wide.items()},
                        privileged=two[1].privileged)  # fmt: skip
    store.write(two[0], tmp_path / "one", "")
    store.write(assemble(material, flag_confirmed=True), tmp_path / "wide", "")
    out = ["--out", str(tmp_path / "out")]
    assert main(["pan", "--cohorts", str(tmp_path / "one"), *out]) == 3
    assert "expected two or more of unlike names" in capsys.readouterr().err
    words = ["pan", "--cohorts", str(tmp_path / "one"), str(tmp_path / "wide"), *out]
    assert main(words) == 3
    assert "64 in one, 65 in wide" in capsys.readouterr().err


def test_the_method_of_several_cohorts_is_not_fitted_on_one(tmp_path, two, capsys):
    from training.cohorts import store

    store.write(two[0], tmp_path / "one", "")
    words = ["fit", "crossfit-pan", "--cohort", str(tmp_path / "one"), "--out",
             str(tmp_path / "run"), "--fold", "0"]  # fmt: skip
    assert main(words) == 3
    assert "use dicom-train pan" in capsys.readouterr().err
