"""What one slide of a patient costs against all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from drawn_cohorts import command, draw_cohort  # noqa: E402
from sksurv.metrics import concordance_index_censored  # noqa: E402

from training.learning.graphs import run as run_graph  # noqa: E402
from training.tiles.feature_files import read_bag  # noqa: E402


def test_the_cost_of_one_slide_is_that_of_asking_the_graph_slide_by_slide(tmp_path, capsys):
    cohort = draw_cohort(tmp_path, "default", slides=2, skill=0.3)
    run = tmp_path / "run"
    command("fit", "meanpool", "--cohort", cohort, "--out", run, "--fold", 0, "--epochs", 3)
    unit = run / "fold0-seed0"
    table = pd.read_csv(unit / "predictions.csv")
    table = table[(table["role"] == "meanpool") & (table["rule"] == "inner")]
    files = pd.read_csv(cohort / "slides.csv").sort_values("slide").groupby("patient")["file"]
    figures = []
    for number in range(2):
        bags = [read_bag(Path(files.get_group(patient).iloc[number]))
                for patient in table["patient"]]  # fmt: skip
        risks = [run_graph(unit / "student.onnx", {"features": bag})["risk"][0] for bag in bags]
        figures.append(concordance_index_censored(
            table["event"] > 0, table["time_months"], np.array(risks, float))[0])  # fmt: skip
    whole = concordance_index_censored(table["event"] > 0, table["time_months"], table["risk"])[0]
    facts = json.loads((unit / "unit.json").read_text())["facts"]
    assert facts["c_index_all_slides"] == pytest.approx(whole, abs=1e-6)
    assert facts["c_index_one_slide"] == pytest.approx(np.mean(figures), abs=1e-6)
    assert facts["one_slide_costs"] == pytest.approx(whole - np.mean(figures), abs=1e-6)
    assert facts["patients_with_several_slides"] == len(table)
    command("evaluate", run, "--json", tmp_path / "report.json", "--html", tmp_path / "report.html")
    told = json.loads((tmp_path / "report.json").read_text())["tasks"][0]["facts"]
    (cost,) = [fact["mean"] for fact in told if fact["name"] == "one_slide_costs"]
    assert cost == pytest.approx(whole - np.mean(figures), abs=1e-6)
    assert "one slide of a patient costs" in capsys.readouterr().out
    assert "one slide costs" in (tmp_path / "report.html").read_text().replace("_", " ")
