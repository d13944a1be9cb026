"""Whose data a student learned from, which hospitals measured it, and what its map is worth."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort, width_of  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from training.bundle.export import Request, student_of  # noqa: E402
from training.bundle.told.origin import limits, training_data  # noqa: E402
from training.cohorts.cohort import load  # noqa: E402
from training.runs.sites import counted  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("origin")
    cohort = draw_cohort(work, "default")
    command("fit", "meanpool", "--epochs", 1, "--cohort", cohort, "--out", work / "run",
            "--fold", 1)  # fmt: skip
    return work


@pytest.fixture(scope="module")
def student(work):
    return student_of(Request(work / "run", "default", work / "none", "x", fold=1))


def test_the_patients_whom_a_student_learned_from_are_those_outside_its_fold(student):
    (said,) = training_data(student)
    assert said == (
        "cohort drawn, 60 patients, official folds; the student of fold 1 learned from 41, its "
        "epoch was chosen on 7 others"
    )
    unit = student.unit | {"epoch_is_chosen": False}
    assert training_data(replace(student, unit=unit))[0].endswith("fold 1 learned from 48")


def test_patients_beside_the_cohort_are_named_among_the_training_data(student):
    (said,) = training_data(replace(student, run=student.run | {"patients_beside": 7}))
    assert said.startswith("cohort drawn, 60 patients and 7 beside it in training, official folds;")


def test_every_cohort_of_a_student_of_several_is_among_the_training_data(student):
    settings = student.run["settings"] | {"pan": "drawn 0123456789ab, three abcdef012345"}
    of_two = replace(student, run=student.run | {"settings": settings})
    assert limits(of_two)[0] == (
        "Trained on cohorts drawn, three; measured on drawn; nothing is known of slides of others."
    )
    own, other = training_data(of_two)
    assert own.startswith("cohort drawn, 60 patients, ")
    assert other.startswith("cohort three, digest abcdef012345; ")
    one = "Trained and measured on one cohort; nothing is known of slides of another."
    assert limits(student)[0] == one


LOOKED = "here the model looked, not where tumor is."


@pytest.mark.parametrize(
    ("words", "even"),
    [
        (("meanpool", "--epochs", 2), True),
        (("crossfit", "--epochs", 0), True),
        (("abmil", "--epochs", 1), False),
        (("crossfit", "--epochs", 1), False),
    ],
)
def test_a_map_of_one_value_is_not_said_to_show_where_the_model_looked(work, tmp_path, words, even):
    run, out = tmp_path / "run", tmp_path / "out"
    command("fit", *words, "--cohort", work / "cohort", "--out", run, "--fold", 0)
    card, _ = exported(run, out)
    (heat,) = open_bundle(str(out)).manifest.heatmaps
    tiles = np.random.default_rng(3).normal(size=(50, width_of("default"))).astype(np.float32)
    with open_runtime(open_bundle(str(out)), precision="fp32") as runtime:
        said = runtime.run("aggregator", {"features": tiles})["attention"]
    assert (np.ptp(said) < 1e-5) == even
    assert (LOOKED in heat.description) != even
    assert (LOOKED in card) != even
    assert ("It weighs all tiles alike, so the map shows nothing." in heat.description) == even
    assert ("the map is of one value" in card) == even


@pytest.fixture(scope="module")
def runs(work):
    """Folds -> a run of all five: drawn ones that share hospitals, given ones that share none, and
    those by site."""
    table = pd.read_csv(work / "cohort" / "patients.csv")[["patient", "fold_site"]]
    table.rename(columns={"fold_site": "fold"}).to_csv(work / "splits.csv", index=False)
    command("cohort", "build", "--name", "apart", "--outcome", work / "outcome.csv", "--slides",
            work / "slides.csv", "--splits", work / "splits.csv",
            "--out", work / "apart")  # fmt: skip
    for name, cohort, kind in (("drawn", "cohort", "official"), ("given", "apart", "official"),
                               ("site", "cohort", "site")):  # fmt: skip
        command("fit", "meanpool", "--epochs", 1, "--cohort", work / cohort, "--folds", kind,
                "--out", work / name)  # fmt: skip
    return work


SHARED = "(sites are shared between training and test)"
APART = "(no site is shared)"
SAID = {
    "drawn": (SHARED, "The official folds share 12 of 12 tissue source sites:",
              "Training and test patients share hospitals (12 of 12): part of"),
    "given": (APART, "The official folds share no tissue source site.",
              "Training and test patients share no hospital."),
    "site": (APART, "The site folds share no tissue source site.",
             "Training and test patients share no hospital."),
}  # fmt: skip
"""Run -> beside its figure, among the card's limitations, among the manifest's limits."""


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("name", list(SAID))
def test_folds_are_said_to_share_hospitals_only_where_they_do(runs, tmp_path, name, counts):
    """`counts`: whether the run counted them; one of before did not, and says who is who."""
    table = pd.read_csv(runs / ("apart" if name == "given" else "cohort") / "patients.csv")
    spread = table.groupby("site")["fold_site" if name == "site" else "fold_official"].nunique()
    assert ((spread > 1).sum(), len(spread)) == ((12 if name == "drawn" else 0), 12)
    run = tmp_path / "run"
    shutil.copytree(runs / name, run)
    said = json.loads((run / "run.json").read_text())
    assert said["sites"] == {"count": 12, "shared": 12 if name == "drawn" else 0}
    if not counts:
        del said["sites"]
        (run / "run.json").write_text(json.dumps(said))
    card, found = exported(run, tmp_path / "out")
    figure, sites, limit = SAID[name]
    assert figure in card
    assert (SHARED in card) != (APART in card)
    assert sites in card
    assert sum(one.startswith(limit) for one in found) == 1


def test_a_run_that_says_neither_is_told_by_the_name_of_its_folds(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "given", run)
    said = json.loads((run / "run.json").read_text())
    del said["sites"]
    (run / "run.json").write_text(json.dumps(said))
    (run / "patients.csv").unlink()
    card, _ = exported(run, tmp_path / "out")
    assert SHARED in card
    assert "The official folds share tissue source sites: part" in card


def test_the_figure_of_a_run_beside_says_what_its_own_folds_share(runs, tmp_path):
    card, _ = exported(runs / "drawn", tmp_path / "out", "--beside", runs / "site")
    assert f"outer official folds {SHARED}" in card
    assert f"outer site folds {APART}" in card


def test_patients_beside_the_cohort_share_its_hospitals_where_they_come_from_them(runs):
    """Whoever is beside it and of a scored site stays out of site folds, not out of given ones."""
    apart = load(str(runs / "apart"), runs, "os")
    more = load(str(runs / "cohort"), runs, "os")
    more = replace(more, patients=more.patients[more.patients["site"].isin(["10", "11"])])
    assert counted(apart, "official") == {"count": 12, "shared": 0}
    assert counted(replace(apart, beside=more), "official") == {"count": 12, "shared": 2}
    assert counted(replace(apart, beside=more), "site") == {"count": 12, "shared": 0}


def exported(run, out, *words):
    command("export", run, "--encoder", "default", "--out", out, "--name", "x", *words)
    card = " ".join((out / "card.md").read_text().split())
    return card, json.loads((out / "manifest.json").read_text())["limits"]
