"""A cohort of which one patient has two slides is a cohort of several slides, in every fold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort, origin_of, width_of  # noqa: E402

from training.cohorts.cohort import load  # noqa: E402
from training.learning.split import FOLDS, prepare  # noqa: E402
from training.tiles.feature_files import write_h5  # noqa: E402

FOLD = 3
"""In whose inner validation the patient is."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A run on a cohort whose only patient of two slides is in inner validation of a fold; inner
    splits are drawn from outcomes, so they stay as they are when a slide is added."""
    work = tmp_path_factory.mktemp("few")
    cohort = draw_cohort(work, "default")
    before = prepare(load(str(cohort), work, "os"), "official", FOLD)
    coords = np.stack([np.arange(12) % 6, np.arange(12) // 6], axis=1) * 448
    feats = np.random.default_rng(5).normal(size=(12, width_of("default"))).astype(np.float32)
    write_h5(work / "more.h5", feats, coords,
             origin_of("default", slide="more", slide_digest="more"))  # fmt: skip
    slides = pd.read_csv(work / "slides.csv")
    more = {"patient": before.valid.ids[0], "slide": "more", "file": work / "more.h5"}
    pd.concat([slides, pd.DataFrame([more])]).to_csv(work / "slides.csv", index=False)
    command("cohort", "build", "--name", "few", "--outcome", work / "outcome.csv", "--slides",
            work / "slides.csv", "--out", work / "few")  # fmt: skip
    command("fit", "meanpool", "--epochs", 1, "--cohort", work / "few", "--out", work / "run")
    split = prepare(load(str(work / "few"), Path(), "os"), "official", FOLD)
    assert [len(of) for of in split.valid.slides].count(2) == 1
    assert all(len(of) == 1 for part in (split.test, split.train) for of in part.slides)
    return work


def roles(run):
    tables = [pd.read_csv(run / f"fold{fold}-seed0" / "predictions.csv") for fold in range(FOLDS)]
    return [set(table["role"]) for table in tables]


def exported(run, out, *words):
    command("export", run, "--encoder", "default", "--out", out, "--name", "x", *words)
    card = " ".join((out / "card.md").read_text().split())
    return json.loads((out / "manifest.json").read_text()), card


def test_every_fold_says_what_one_slide_is_worth(work):
    assert ["one_slide" in found for found in roles(work / "run")] == [True] * FOLDS


@pytest.mark.parametrize("is_mixed", [False, True])
def test_the_card_says_that_there_are_several_slides(work, tmp_path, is_mixed):
    """`is_mixed`: as an earlier version left the run, one fold without it."""
    run = tmp_path / "run"
    shutil.copytree(work / "run", run)
    file = run / f"fold{FOLD}-seed0" / "predictions.csv"
    if is_mixed:
        table = pd.read_csv(file)
        table[table["role"] != "one_slide"].to_csv(file, index=False)
        assert ["one_slide" in found for found in roles(run)].count(False) == 1
    manifest, card = exported(run, tmp_path / "out", "--fold", FOLD)
    assert "Every patient of the cohort has one slide" not in card
    assert "The figures are those on the first slide of each patient alone" in card
    limit = "Trained and calibrated on all slides of a patient together, shown one here."
    assert limit in manifest["limits"]
    assert all("the first slide of each alone" in row["data"] for row in manifest["performance"])
    risks = pd.read_csv(file)
    risks = risks[(risks["role"] == "meanpool") & (risks["rule"] == "inner")]["risk"]
    (score,) = (one for one in manifest["outputs"] if one["kind"] == "score")
    assert score["percentiles"] == pytest.approx(np.percentile(risks, np.arange(101)), abs=1e-6)
