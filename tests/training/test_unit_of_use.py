"""Students behind an encoder alone, shown one slide or a case: their figures are of just that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nodes import dicom_node

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import build_two_classes, command, draw_cohort  # noqa: E402
from sklearn.metrics import balanced_accuracy_score, roc_auc_score  # noqa: E402
from sksurv.metrics import concordance_index_censored  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.feature_files import read_bag  # noqa: E402

SETTINGS = ("--epochs", 8, "--set", "lr=0.05")
ROLES = {"slide": "one_slide", "case": "meanpool"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An encoder alone, and runs on drawn features of it; each patient has two slides, whose
    features are noise around half of the truth."""
    work = tmp_path_factory.mktemp("unit")
    command("encoder", "default", "--out", work / "tiles", "--name", "tiles")
    cohort = draw_cohort(work, work / "tiles", slides=2, skill=0.02)
    for kind in ("official", "site"):
        command("fit", "meanpool", "--cohort", cohort, "--out", work / kind, "--folds", kind,
                *(["--all"] if kind == "official" else []), *SETTINGS)  # fmt: skip
    return work


@pytest.fixture(scope="module")
def exported(work):
    """(unit, form) -> bundle."""
    made = {}
    for unit in ROLES:
        for form, words in {"fold": [], "all": ["--all", "--beside", work / "site"]}.items():
            made[unit, form] = work / f"{unit}-{form}"
            command("export", work / "official", "--encoder", work / "tiles", "--unit", unit,
                    "--name", f"{unit}-{form}", "--organ", "colon", "--fixture",
                    "--out", made[unit, form], *words)  # fmt: skip
    return made


def folds(run, role):
    """What `role` said of each fold."""
    parts = [pd.read_csv(place / "predictions.csv") for place in sorted(run.glob("fold*"))]
    return [part[(part["role"] == role) & (part["rule"] == "inner")] for part in parts]


def c_index(run, role):
    return np.mean([
        concordance_index_censored(part["event"] > 0, part["time_months"], part["risk"])[0]
        for part in folds(run, role)
    ])  # fmt: skip


@pytest.mark.parametrize("form", ["fold", "all"])
@pytest.mark.parametrize("unit", list(ROLES))
def test_the_figures_are_those_of_the_unit_that_a_node_shows_it(work, exported, unit, form):
    manifest = open_bundle(exported[unit, form]).manifest
    assert (manifest.unit, manifest.status) == (unit, "fixture")
    kinds = ["official"] if form == "fold" else ["official", "site"]
    wanted = [c_index(work / kind, ROLES[unit]) for kind in kinds]
    others = [c_index(work / kind, role) for kind in kinds for role in set(ROLES.values())]
    assert len({round(value, 3) for value in others}) == len(others), "nothing tells units apart"
    rows = [row for row in manifest.performance if not row.subgroup]
    assert [row.value for row in rows] == pytest.approx(wanted, abs=1e-4)
    clause = {"slide": "the first slide of each alone", "case": "all slides of each"}[unit]
    assert all(clause in row.data for row in manifest.performance)
    assert clause in manifest.finding.reference_cohort


@pytest.mark.parametrize("form", ["fold", "all"])
@pytest.mark.parametrize("unit", list(ROLES))
def test_percentiles_are_those_of_risks_of_that_unit(work, exported, unit, form):
    parts = folds(work / "official", ROLES[unit])
    risks = pd.concat(parts if form == "all" else parts[:1])["risk"]
    (score,) = open_bundle(exported[unit, form]).manifest.scores
    assert score.percentiles == pytest.approx(np.percentile(risks, np.arange(101)), abs=1e-6)


@pytest.mark.parametrize("unit", list(ROLES))
def test_the_card_says_what_one_slide_costs_against_all(work, exported, unit):
    text = " ".join((exported[unit, "fold"] / "card.md").read_text().split())
    every, one = (c_index(work / "official", role) for role in ("meanpool", "one_slide"))
    used, other = (one, every) if unit == "slide" else (every, one)
    assert f"C-index on the outer official folds (sites are shared between training and test): " \
        f"{used:.3f} (95 %" in text  # fmt: skip
    assert f"the C-index is {other:.3f} (" in text
    assert f"All slides minus one: {every - one:+.3f} (" in text
    assert f"(unit `{unit}`)" in text


@pytest.mark.parametrize("unit", list(ROLES))
def test_what_lies_far_off_is_told_by_slides_or_by_cases(work, exported, unit):
    """Of the training patients of fold 0: each slide's mean, or the mean of both."""
    fold = {row for row in folds(work / "official", "meanpool")[0]["patient"]}
    table = pd.read_csv(work / "cohort" / "slides.csv")
    means = table.assign(mean=[read_bag(Path(file)).mean(axis=0) for file in table["file"]])
    means = means[~means["patient"].isin(fold)]
    if unit == "case":
        found = np.stack([np.mean(list(own), axis=0)
                          for own in means.groupby("patient")["mean"].apply(list)])  # fmt: skip
    else:
        found = np.stack(list(means["mean"]))
    far = open_bundle(exported[unit, "fold"]).manifest.out_of_distribution
    assert far.mean == pytest.approx(found.mean(axis=0), abs=1e-5)
    assert far.std == pytest.approx(found.std(axis=0), abs=1e-5)


def test_a_student_behind_an_encoder_alone_passes_its_exam_and_answers_as_in_training(
    work, exported
):
    table = pd.read_csv(work / "cohort" / "slides.csv")
    mine = folds(work / "official", "one_slide")[0].set_index("patient")["risk"]
    patient = mine.index[0]
    bag = read_bag(Path(table[table["patient"] == patient]["file"].iloc[0]))
    with open_runtime(open_bundle(exported["slide", "fold"]), precision="fp32") as runtime:
        said = runtime.run("aggregator", {"features": bag})
    assert said["risk"][0] == pytest.approx(mine[patient], abs=1e-4)
    tiles = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    default = open_bundle("default")
    wanted = run_graph(default.file(default.manifest.graphs["encoder"].file), {"tiles": tiles})
    found = run_graph(exported["slide", "fold"] / "encoder.onnx", {"tiles": tiles})
    assert list(found) == ["features"]
    assert np.allclose(found["features"], wanted["features"], atol=1e-4)


def test_the_node_reports_a_case_with_it(exported, phantom_study, tmp_path):
    bundle, out = exported["case", "all"], tmp_path / "answer"
    done = dicom_node("analyze", str(phantom_study.folder), "--bundle", str(bundle), "--out",
                      str(out), "--json")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Risk score" in json.dumps(json.loads(done.stdout))


def test_tolerances_of_an_encoder_are_those_that_its_bundle_states(work, tmp_path):
    """Its numbers may be of any size: one thousandth of small ones is refused of large ones."""
    large = work / "tiles"
    content = json.loads((large / "manifest.json").read_text())
    stated = content["probe"]["tolerance"]["encoder/features"]
    assert stated > 1e-3
    command("export", work / "official", "--encoder", large, "--out", tmp_path / "out",
            "--name", "x")  # fmt: skip
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())["probe"]["tolerance"]
    assert found["encoder/features"] == stated


def test_a_student_of_classes_has_the_figures_of_its_unit(work):
    """Of everybody: from what the students of the folds said of first slides, or of all."""
    build_two_classes(work)
    patients = len(pd.read_csv(work / "outcome.csv"))
    command("fit", "meanpool", "--cohort", work / "label", "--out", work / "kinds", "--task",
            "kind", "--all", "--epochs", 2, "--set", "lr=0.05")  # fmt: skip
    found = {}
    for unit in ROLES:
        command("export", work / "kinds", "--encoder", work / "tiles", "--unit", unit, "--all",
                "--out", work / f"kind-{unit}", "--name", "kinds")  # fmt: skip
        manifest = open_bundle(work / f"kind-{unit}").manifest
        assert [output.kind for output in manifest.outputs] == ["class", "map"]
        found[unit] = {row.figure: row.value for row in manifest.performance if not row.subgroup}
    for unit, role in ROLES.items():
        parts = folds(work / "kinds", role)
        auc = np.mean([roc_auc_score(part["label"], part["p1"]) for part in parts])
        right = np.mean([
            balanced_accuracy_score(part["label"], part[["p0", "p1"]].to_numpy().argmax(axis=1))
            for part in parts
        ])  # fmt: skip
        assert found[unit]["AUC"] == pytest.approx(auc, abs=1e-4)
        assert found[unit]["balanced accuracy"] == pytest.approx(right, abs=1e-4)
    assert found["slide"] != found["case"]
    place = work / "kinds" / "all-seed0"
    said = json.loads((place / "unit.json").read_text())
    assert len(said["one_slide_probabilities"]["probability_many"]) == patients
    change = [json.loads((work / "kinds" / f"fold{at}-seed0" / "unit.json").read_text())["raw"]
              for at in range(5)]  # fmt: skip
    logits = np.concatenate([raw["one_slide_logits"] for raw in change])
    odds = np.diff(logits, axis=1)[:, 0]
    told = np.array(said["one_slide_probabilities"]["probability_many"])
    line = np.polyfit(odds, np.log(told / (1 - told)), 1, full=True)
    assert line[1][0] < 1e-4 * len(odds), "no single calibration explains what is said"


def test_folds_too_small_for_an_interval_are_refused_with_a_sentence(work, tmp_path, capsys):
    cohort = draw_cohort(tmp_path, work / "tiles", patients=20)
    command("fit", "meanpool", "--cohort", cohort, "--out", tmp_path / "run", "--epochs", 1)
    command("export", tmp_path / "run", "--encoder", work / "tiles", "--out", tmp_path / "out",
            "--name", "x", status=3)  # fmt: skip
    said = " ".join(capsys.readouterr().err.split())
    assert "found folds of 4 patients and more, too few for the interval of a figure" in said
    assert not (tmp_path / "out").exists()
