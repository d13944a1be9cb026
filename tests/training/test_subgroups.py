"""Figures of parts of a cohort, once more from explicit pairs of predictions.csv."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from training_runs import role_frame, survival_of, write_run_json, write_unit

from training.bundle.figures.subgroups import FILE, parts, rows, table
from training.scoring import runs

PATIENTS, FOLDS = 200, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "run"
    draw = np.random.default_rng(4)
    write_run_json(path, method="ghanet", cohort="one", kind="official", seeds=1, settings={},
                   patients=PATIENTS)  # fmt: skip
    truth = draw.normal(size=PATIENTS)
    death, visit = draw.exponential(30 * np.exp(-truth)), draw.uniform(10, 90, PATIENTS)
    patients = pd.DataFrame(
        {"survival_months": np.round(np.minimum(death, visit) + 0.5, 1), "event": death <= visit,
         "fold": np.arange(PATIENTS) % FOLDS},
        index=[f"P{at:03d}" for at in range(PATIENTS)],
    )  # fmt: skip
    male = draw.integers(0, 2, PATIENTS)
    for fold in range(FOLDS):
        inside = patients["fold"] == fold
        skill = np.where(male[inside] == 1, 2.0, 0.0)  # of women the student knows nothing
        risk = -4 / (1 + np.exp(skill * truth[inside] + draw.normal(size=inside.sum())))
        frame = role_frame(patients[inside], "student", risk, survival_of(risk))
        write_unit(path, fold, 0, frame, patients[~inside], {})
    sites = np.where(np.arange(PATIENTS) < 60, "AA", np.arange(PATIENTS).astype(str))
    stage = np.where(np.arange(PATIENTS) < 10, 4.0, 2.5)
    pd.DataFrame({"site": sites, "age": draw.uniform(30, 90, PATIENTS), "male": male,
                  "stage": stage}, index=patients.index).to_csv(
        path / FILE, index_label="patient")  # fmt: skip
    return path


def found(run):
    return {part.name: part for part in parts(run, runs.read(run)[1], ("student", "inner"))}


def by_pairs(run, members):
    """Won and comparable pairs of members, inside folds, over explicit pairs."""
    won = pairs = 0.0
    for place in sorted(run.glob("fold*")):
        part = pd.read_csv(place / "predictions.csv")
        part = part[(part["role"] == "student") & (part["rule"] == "inner")]
        part = part[part["patient"].isin(members)]
        for _, a in part[part["event"] > 0].iterrows():
            for _, b in part.iterrows():
                tied_end = b["time_months"] == a["time_months"] and b["event"] == 0
                if b["time_months"] > a["time_months"] or tied_end:
                    pairs += 1
                    won += a["risk"] > b["risk"]
    return won / pairs


def test_the_figure_of_a_part_is_that_of_its_own_pairs_inside_folds(run):
    who = pd.read_csv(run / FILE, dtype={"site": str}).set_index("patient")
    said = found(run)
    for name, members in {
        "women": who.index[who["male"] == 0],
        "men": who.index[who["male"] == 1],
        "site AA": who.index[who["site"] == "AA"],
        "65 years and above": who.index[who["age"] >= 65],
        "stage II": who.index[who["stage"] == 2.5],
    }.items():
        part = said[name]
        assert part.count == len(members)
        assert part.figure.value == pytest.approx(by_pairs(run, members), abs=1e-6), name
        assert part.figure.low < part.figure.value < part.figure.high
    assert said["men"].figure.low > said["women"].figure.high


def test_a_part_that_is_too_small_is_counted_and_not_scored(run):
    part = found(run)["stage IV"]
    assert (part.count, part.figure) == (10, None)
    assert "| stage IV | 10 |" in (text := table([part], "C-index"))
    assert "too few to say" in text
    assert rows([part], "C-index", "tests") == []


def test_a_run_that_does_not_say_who_is_who_has_no_parts(run, tmp_path):
    assert parts(tmp_path, runs.read(run)[1], ("student", "inner")) == []
    assert table([], "AUC") == ""
