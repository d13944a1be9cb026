"""A run that goes on: over the same data, and saying what it knows of the part before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("sksurv", reason="needs the training extra")

from drawn_cohorts import GENES, command, draw_cohort

from training.cli import REFUSED
from training.cohorts.cohort import load
from training.cohorts.genes import GROUPS
from training.errors import TrainingError
from training.learning.journal import Journal
from training.learning.split import prepare
from training.scoring.runs import read


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with expression, built in `cohort`; the tables lie beside it."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_cohort(folder, "default", genes=True)
    return folder


def with_signatures(drawn: Path, out: Path, shift: int) -> Path:
    table = out.with_suffix(".csv")
    groups = {g: [GENES[(at + shift) % len(GENES)]] for at, g in enumerate(GROUPS)}
    pd.DataFrame(groups).to_csv(table, index=False)
    command("cohort", "build", "--name", "drawn", "--outcome", drawn / "outcome.csv",
            "--slides", drawn / "slides.csv", "--expression", drawn / "rna.csv",
            "--signatures", table, "--out", out)  # fmt: skip
    return out


def fit(cohort: Path, run: Path, fold: int, name: str = "age", status: int = 0) -> None:
    command("fit", name, "--cohort", cohort, "--fold", fold, "--out", run,
            *([] if name == "age" else ["--epochs", 1]), status=status)  # fmt: skip


def test_a_run_does_not_go_on_with_other_groups_of_genes(drawn, tmp_path, capsys):
    first, second = (with_signatures(drawn, tmp_path / str(at), at) for at in range(2))
    run = tmp_path / "run"
    fit(first, run, 0)
    fit(second, run, 1, status=REFUSED)
    assert "found a run with signatures = " in capsys.readouterr().err
    assert not (run / "fold1-seed0").exists()
    said = json.loads((run / "run.json").read_text())
    del said["signatures"]  # as runs were written before
    (run / "run.json").write_text(json.dumps(said))
    fit(first, run, 1)
    assert json.loads((run / "run.json").read_text())["signatures"]


def test_groups_of_genes_that_were_changed_in_a_built_cohort_are_found(drawn, tmp_path):
    path = with_signatures(drawn, tmp_path / "built", 0) / "cohort.json"
    said = json.loads(path.read_text())
    said["signatures"][GROUPS[0]] = [GENES[3]]
    path.write_text(json.dumps(said))
    with pytest.raises(TrainingError, match=r"found other signatures in .* build the cohort again"):
        load(str(path.parent), tmp_path)


def test_what_a_fold_cost_is_not_told_of_one_that_went_on_after_a_kill(drawn, tmp_path):
    run = tmp_path / "run"
    with Journal(run / "fold0-seed0") as journal:  # what a kill leaves
        journal.save("another phase", {"weights": torch.zeros(1)})
    for fold in (0, 1):
        fit(drawn / "cohort", run, fold, "abmil")
    _, (resumed, whole) = read(run)
    assert resumed.seconds is None
    assert whole.seconds > 0


def test_every_release_that_fitted_a_part_of_a_run_is_named(drawn, tmp_path):
    run = tmp_path / "run"
    fit(drawn / "cohort", run, 0)
    said = json.loads((run / "run.json").read_text())
    now = said["versions"]["torch"]
    said["versions"]["torch"] = "2.12.0"
    (run / "run.json").write_text(json.dumps(said))
    for _ in range(2):
        fit(drawn / "cohort", run, 1)
        assert read(run)[0].versions["torch"] == f"2.12.0 and {now}"
    assert read(run)[0].versions["numpy"] == np.__version__


def test_a_fold_with_nobody_left_to_learn_from_is_told(drawn):
    cohort = load(str(drawn / "cohort"), drawn)
    with pytest.raises(TrainingError, match="found nobody to learn from outside the fold"):
        prepare(cohort, "official", 0, without=set(cohort.patients.index))
