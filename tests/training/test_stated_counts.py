"""Patients, folds and seeds beside a figure are those it was measured on, not those declared."""

from __future__ import annotations

import json

import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import build_two_classes, command, draw_cohort  # noqa: E402

FIT = ("fit", "meanpool", "--epochs", 1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Three seeds of fold 0 and one of the others; a run on site folds with one seed; and a run of
    two classes of which two folds were fitted."""
    work = tmp_path_factory.mktemp("counts")
    cohort = draw_cohort(work, "default")
    command(*FIT, "--cohort", cohort, "--out", work / "uneven")
    command(*FIT, "--cohort", cohort, "--out", work / "uneven", "--seeds", 3, "--fold", 0)
    command(*FIT, "--cohort", cohort, "--out", work / "site", "--folds", "site")
    build_two_classes(work)
    for fold in (1, 3):
        command(*FIT, "--cohort", work / "label", "--task", "kind", "--fold", fold,
                "--out", work / "two")  # fmt: skip
    return work


def exported(run, out, *words):
    command("export", run, "--encoder", "default", "--out", out, "--name", "x", *words)
    card = " ".join((out / "card.md").read_text().split())
    return json.loads((out / "manifest.json").read_text()), card


def scored(run):
    """How many patients the finished units of a run have scored."""
    tables = [pd.read_csv(file)["patient"] for file in run.glob("fold*/predictions.csv")]
    return pd.concat(tables).nunique()


def test_a_figure_of_one_fold_counts_the_patients_of_that_fold(work, tmp_path):
    run = tmp_path / "run"
    command(*FIT, "--cohort", work / "cohort", "--out", run, "--fold", 0)
    manifest, card = exported(run, tmp_path / "bundle")
    assert scored(run) == 12
    assert [row["count"] for row in manifest["performance"]] == [12]
    assert "outer official folds (1 of 5 were measured)" in manifest["performance"][0]["data"]
    assert "; 12 patients, 1 of 5 folds, one seed)." in card


def test_the_seeds_of_a_figure_are_those_that_its_folds_have(work, tmp_path):
    manifest, card = exported(work / "uneven", tmp_path / "out", "--beside", work / "site")
    assert {row["count"] for row in manifest["performance"] if "subgroup" not in row} == {60}
    assert "; 60 patients, all 5 folds, mean of 1 to 3 seeds a fold)." in card
    assert "; 60 patients, all 5 folds, one seed)." in card  # of the site folds
    assert all("were measured" not in row["data"] for row in manifest["performance"])


def test_figures_of_classes_count_the_patients_of_the_folds_there_are(work, tmp_path):
    manifest, card = exported(work / "two", tmp_path / "out", "--fold", 3)
    rows = [row for row in manifest["performance"] if "subgroup" not in row]
    assert len(rows) > 2
    assert {row["count"] for row in rows} == {scored(work / "two")} == {24}
    assert all("(2 of 5 were measured)" in row["data"] for row in manifest["performance"])
    assert "; 24 patients, 2 of 5 folds, one seed)." in card
    (said,) = (output for output in manifest["outputs"] if output["kind"] == "class")
    assert "(2 of 5 were measured)" in said["uncertainty"]["data"]
    assert said["uncertainty"]["count"] == 24
