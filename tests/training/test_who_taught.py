"""Patients whom a method leaves out of training are not said to have taught its student."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort  # noqa: E402

from training.cohorts.cohort import load  # noqa: E402
from training.learning.split import everybody, prepare  # noqa: E402
from training.tiles.feature_files import read_bag  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two classes, genes of every second patient; a run that needs genes, and one of everybody."""
    work = tmp_path_factory.mktemp("taught")
    draw_cohort(work, "default", genes=True)
    outcome = pd.read_csv(work / "outcome.csv")
    late = outcome["time_months"] > outcome["time_months"].median()
    outcome.assign(er=np.where(late, "positive", "negative")).to_csv(work / "er.csv", index=False)
    pd.read_csv(work / "rna.csv").iloc[::2].to_csv(work / "half.csv", index=False)
    command("cohort", "build", "--name", "half", "--outcome", work / "er.csv", "--slides",
            work / "slides.csv", "--task", "er", "--classes", "negative", "positive",
            "--expression", work / "half.csv", "--out", work / "half")  # fmt: skip
    small = ("token=4", "genes=4", "crossfit=0", "window=8", "width=16", "attention=8", "fusion=4")
    for name, takes, words in (("needs", "false", ["--all"]), ("takes", "true", ["--fold", 0])):
        settings = [w for one in (f"incomplete={takes}", *small) for w in ("--set", one)]
        command("fit", "mkd", "--cohort", work / "half", "--task", "er", "--epochs", 1,
                "--out", work / name, *words, *settings)  # fmt: skip
    return work


def exported(work, name, out, *words):
    command("export", work / name, "--encoder", "default", "--out", out, "--name", "x", *words)
    card = " ".join((out / "card.md").read_text().split())
    return json.loads((out / "manifest.json").read_text()), card


@pytest.fixture(scope="module")
def split(work):
    return prepare(load(str(work / "half"), work, "er"), "official", 0)


@pytest.mark.parametrize("name", ["needs", "takes"])
def test_the_card_counts_the_patients_who_taught_the_student(work, split, tmp_path, name):
    genes = set(pd.read_csv(work / "half.csv")["patient"])
    profiled = [patient for patient in split.train.ids if patient in genes]
    assert len(profiled) < len(split.train) == 41
    taught = len(profiled) if name == "needs" else 41
    manifest, card = exported(work, name, tmp_path / "out")
    assert f"It was trained on {taught} patients; its epoch was chosen on 7 others." in card
    assert f"the student of fold 0 learned from {taught}, its" in manifest["training"]["data"][0]


@pytest.mark.parametrize("name", ["needs", "takes"])
def test_what_lies_far_off_is_told_by_those_who_taught_and_those_who_judged(
    work, split, tmp_path, name
):
    genes = set(pd.read_csv(work / "half.csv")["patient"])
    taught = [one for one in split.train.ids if one in genes or name == "takes"]
    files = pd.read_csv(work / "slides.csv").set_index("patient")["file"]
    means = np.stack(
        [read_bag(Path(files[one])).mean(axis=0) for one in (*taught, *split.valid.ids)]
    )
    manifest, _ = exported(work, name, tmp_path / "out")
    far = manifest["out_of_distribution"]
    assert far["mean"] == pytest.approx(means.mean(axis=0), abs=1e-5)
    assert far["std"] == pytest.approx(means.std(axis=0), abs=1e-5)


def test_a_student_of_everybody_says_how_many_of_all_it_was_fitted_on(work, tmp_path):
    manifest, card = exported(work, "needs", tmp_path / "out", "--all")
    genes = set(pd.read_csv(work / "half.csv")["patient"])
    every = everybody(load(str(work / "half"), work, "er"))
    fitted = len(every.valid) + sum(one in genes for one in every.train.ids)
    assert fitted < 45
    assert f"fitted after that on {fitted} of all 60 patients (" in card
    assert sum(one.startswith(f"Fitted on {fitted} of all 60 patients of its cohort")
               for one in manifest["limits"]) == 1  # fmt: skip
