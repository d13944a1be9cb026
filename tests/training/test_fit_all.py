"""A student of everybody: fitted after the folds, told by the folds alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort  # noqa: E402
from sksurv.metrics import concordance_index_censored  # noqa: E402

from engines.bundle import open_bundle  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.feature_files import read_bag  # noqa: E402

SETTINGS = ("--epochs", 12, "--set", "lr=0.05")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A cohort of noise and its runs on both kinds of folds: all that is learned is by heart."""
    work = tmp_path_factory.mktemp("all")
    cohort = draw_cohort(work, "default", skill=0)
    for kind in ("official", "site"):
        command("fit", "meanpool", "--cohort", cohort, "--out", work / kind, "--folds", kind,
                *(["--all"] if kind == "official" else []), *SETTINGS)  # fmt: skip
    return work


@pytest.fixture(scope="module")
def bundle(work):
    command("export", work / "official", "--encoder", "default", "--out", work / "bundle",
            "--name", "everybody", "--all", "--beside", work / "site")  # fmt: skip
    return work / "bundle"


def out_of_fold(run):
    """Every patient once, by the student of the patient's fold."""
    parts = [pd.read_csv(place / "predictions.csv") for place in sorted(run.glob("fold*"))]
    parts = [part[(part["role"] == "meanpool") & (part["rule"] == "inner")] for part in parts]
    assert len(parts) == 5
    return parts


def ranked(part):
    return concordance_index_censored(part["event"] > 0, part["time_months"], part["risk"])[0]


def own_answers(work):
    """What the student of everybody says of those it was fitted on: [P] risks, outcomes."""
    slides = pd.read_csv(work / "cohort" / "slides.csv").set_index("patient")["file"]
    table = pd.concat(out_of_fold(work / "official"))
    graph = work / "official" / "all-seed0" / "student.onnx"
    said = [run_graph(graph, {"features": read_bag(Path(slides[patient]))})
            for patient in table["patient"]]  # fmt: skip
    return table.assign(risk=[float(one["risk"][0]) for one in said]), said


def test_card_and_manifest_hold_the_figures_of_the_folds_and_none_in_sample(work, bundle):
    figures = {kind: np.mean([ranked(part) for part in out_of_fold(work / kind)])
               for kind in ("official", "site")}  # fmt: skip
    in_sample = ranked(own_answers(work)[0])
    assert in_sample > max(figures.values()) + 0.05, "nothing was learned by heart: no test"
    manifest = open_bundle(bundle).manifest
    assert [row.value for row in manifest.performance if not row.subgroup] == pytest.approx(
        list(figures.values()), abs=1e-4
    )
    text = (bundle / "card.md").read_text()
    assert "| 50 to 64 years |" in text
    for kind, value in figures.items():
        assert f"C-index on the outer {kind} folds" in text
        assert f": {value:.3f} (95 %" in text
    every = text + (bundle / "manifest.json").read_text().partition('"percentiles"')[0]
    assert f"{in_sample:.3f}" not in every
    assert "fitted after that on everybody, 60 patients" in text


def test_its_percentiles_are_those_of_risks_of_patients_who_had_not_been_seen(work, bundle):
    risks = pd.concat(out_of_fold(work / "official"))["risk"]
    (score,) = open_bundle(bundle).manifest.scores
    assert score.percentiles == pytest.approx(np.percentile(risks, np.arange(101)), abs=1e-6)


def test_its_calibration_is_fitted_to_what_was_said_out_of_fold(work):
    """Fitted once more here, by hand: one scale and four shifts that make what the folds' students
    said most likely."""
    from scipy.optimize import minimize

    units = [json.loads((place / "unit.json").read_text())["raw"]
             for place in sorted((work / "official").glob("fold*"))]  # fmt: skip
    logits, target, event = (
        np.concatenate([np.array(unit[key], float) for unit in units])
        for key in ("logits", "target", "event")
    )

    def loss(values):
        hazard = 1 / (1 + np.exp(-(np.exp(values[0]) * logits + values[1:])))
        alive = np.cumprod(1 - hazard, axis=1)
        at = target.astype(int)
        rows = np.arange(len(at))
        before = np.where(at > 0, alive[rows, np.maximum(at - 1, 0)], 1)
        told = np.where(event > 0, before * hazard[rows, at], alive[rows, at])
        return -np.log(told).mean() + (values**2).sum() / len(at)

    wanted = minimize(loss, np.zeros(5), method="BFGS").x
    said = json.loads((work / "official" / "all-seed0" / "unit.json").read_text())["facts"]
    assert said["inner_loss"] == pytest.approx(loss(np.zeros(5)), abs=1e-4)
    pull = (wanted**2).sum() / len(target)
    assert said["inner_loss_calibrated"] == pytest.approx(loss(wanted) - pull, abs=2e-3)


def test_the_page_says_that_the_percentages_it_draws_are_recalibrated(work, tmp_path):
    """They are: the mean of what is drawn is that of the table, not of the logits as trained."""
    run = work / "official"
    units = [json.loads((place / "unit.json").read_text()) for place in sorted(run.glob("fold*"))]
    months = np.median([unit["edges_months"][2] for unit in units])
    scored, raw = [], []
    for unit, table in zip(units, out_of_fold(run), strict=True):
        ends = [0, *unit["edges_months"][1:]]
        curves = table[["s1", "s2", "s3", "s4"]].to_numpy()
        bare = np.cumprod(1 - 1 / (1 + np.exp(-np.array(unit["raw"]["logits"]))), axis=1)
        for found, each in ((scored, curves), (raw, bare)):
            found += [np.interp(months, ends, [1, *curve]) for curve in each]
    command("evaluate", run, "--html", tmp_path / "page.html", "--json", tmp_path / "page.json")
    (task,) = json.loads((tmp_path / "page.json").read_text())["tasks"]
    points = task["focus"][0]["calibration"]["points"]
    drawn = sum(point["patients"] * point["predicted"] for point in points) / len(scored)
    assert drawn == pytest.approx(np.mean(scored), abs=1e-4)
    assert abs(drawn - np.mean(raw)) > 0.01, "calibration moved nothing: no test"
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert "after the recalibration on inner validation patients that an exported bundle" in page
    assert "raw predictions" not in page
    assert "shown as fitted" not in page


def test_nothing_that_it_says_of_its_own_patients_is_written(work):
    place = work / "official" / "all-seed0"
    assert not (place / "predictions.csv").exists()
    said = json.loads((place / "unit.json").read_text())
    assert said["fold"] == "all"
    assert set(said["facts"]) == {"inner_loss", "inner_loss_calibrated"}


def test_the_figures_are_refused_from_a_run_of_something_else(work, tmp_path, capsys):
    words = ["export", work / "official", "--encoder", "default", "--name", "x", "--all"]
    command(*words, "--out", tmp_path / "a", "--beside", work / "official", status=3)
    assert "expected some on the other kind" in " ".join(capsys.readouterr().err.split())
    copy = tmp_path / "other"
    shutil.copytree(work / "site", copy)
    said = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(said | {"cohort_digest": "1" * 64}))
    command(*words, "--out", tmp_path / "b", "--beside", copy, status=3)
    assert "found a run with cohort_digest" in capsys.readouterr().err
    command("export", work / "site", *words[2:], "--out", tmp_path / "c", status=3)
    assert "found no student of everybody" in capsys.readouterr().err


def test_everybody_waits_for_every_fold(work, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(work / "site", copy)
    shutil.rmtree(copy / "fold3-seed0")
    from training.errors import TrainingError
    from training.runs.everybody import fit_all
    from training.runs.fit import Plan

    plan = Plan("meanpool", str(work / "cohort"), "os", "site", work, copy, {})
    with pytest.raises(TrainingError, match="fold3-seed0: found no finished unit, expected all 5"):
        fit_all(plan)
    command("fit", "meanpool", "--cohort", work / "cohort", "--out", copy, "--all", "--fold", 0,
            status=3)  # fmt: skip
    assert "found --all and --fold" in capsys.readouterr().err
