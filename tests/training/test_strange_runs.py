"""Runs and flags that cannot be meant: a sentence, and never a figure of something else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sksurv", reason="needs the training extra")

from training_runs import write_run_json, write_unit

from training import cli
from training.errors import TrainingError
from training.methods.registry import METHODS, with_settings
from training.runs.pool import each
from training.scoring.evaluate import evaluate

OUTCOME = pd.DataFrame(
    {"survival_months": range(1, 41), "event": [True, False] * 20, "fold": [0, 1, 2, 3, 4] * 8},
    index=[f"P{at:02}" for at in range(40)],
)


def run_of(folder: Path, outcome: pd.DataFrame = OUTCOME, *, classes: tuple[str, ...] = (),
           method: str = "abmil") -> Path:  # fmt: skip
    """A run of five folds, of survival or classes, as `fit` leaves it."""
    write_run_json(folder, method=method, cohort="ours", kind="official", settings={},
                   classes=list(classes), patients=len(outcome))  # fmt: skip
    for fold in range(5):
        inside, outside = outcome[outcome.fold == fold], outcome[outcome.fold != fold]
        table = pd.DataFrame({
            "patient": inside.index, "role": method, "rule": "inner",
            "time_months": inside.survival_months.to_numpy(float),
            "event": inside.event.to_numpy().astype(int), "label": range(len(inside)),
        })  # fmt: skip
        table["label"] = table["label"] % 2 if classes else 0
        if classes:
            table = table.assign(p0=0.4 + table.label / 9, p1=0.6 - table.label / 9)
        else:
            table["risk"] = -inside.survival_months.to_numpy(float)
        write_unit(folder, fold, 0, table, outside, {})
    return folder


def test_runs_of_two_cohorts_of_one_name_are_not_put_into_one_column(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a")
    assert evaluate([first, run_of(tmp_path / "b", method="clam")]).tasks
    other = OUTCOME.assign(event=~OUTCOME.event)
    folds = OUTCOME.assign(fold=OUTCOME.fold.to_numpy()[::-1])
    for outcome in (other, folds, OUTCOME.rename(index=lambda name: f"X{name}")):
        second = run_of(tmp_path / f"c{len(list(tmp_path.iterdir()))}", outcome, method="clam")
        with pytest.raises(TrainingError, match="found other patients or outcomes in fold 0"):
            evaluate([first, second])


def test_runs_whose_classes_stand_in_another_order_are_refused(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", classes=("low", "high"))
    second = run_of(tmp_path / "b", classes=("high", "low"), method="clam")
    with pytest.raises(TrainingError, match="found classes high, low of task os, expected low, hi"):
        evaluate([first, second])


@pytest.mark.parametrize("name", ["run.json", "fold0-seed0/unit.json"])
@pytest.mark.parametrize("text", ["", '{"fold": 0, "se', "[]"])
def test_half_a_file_of_a_run_is_a_sentence(tmp_path: Path, name: str, text: str, capsys) -> None:
    run = run_of(tmp_path / "a")
    (run / name).write_text(text)
    assert cli.main(["evaluate", str(run)]) == 3
    assert f"{name}" in capsys.readouterr().err


def test_a_report_goes_where_it_is_asked_for_or_nowhere(tmp_path: Path, capsys) -> None:
    run, report = run_of(tmp_path / "a"), tmp_path / "new/folder/report.json"
    assert cli.main(["evaluate", str(run), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["tasks"]
    assert cli.main(["evaluate", str(run), "--html", str(tmp_path)]) == 3
    assert "found a folder, expected the file to write" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run), "--published", str(tmp_path / "no.csv")]) == 3
    assert "no.csv, expected a table" in capsys.readouterr().err


def test_a_path_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys) -> None:
    run = run_of(tmp_path / "a")
    (tmp_path / "file").write_text("")
    assert cli.main(["evaluate", str(run), "--json", str(tmp_path / "file/x/report.json")]) == 3
    assert "found that it cannot be read or written" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--jobs", "--seeds"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_none_and_less_of_what_is_counted_is_refused(flag: str, value: str, capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "abmil", "--cohort", "c", "--out", "run", f"{flag}={value}"])
    assert f"found '{value}', expected a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("abmil", "epochs", "0"), ("abmil", "epochs", "-1"), ("abmil", "lr", "nan"),
        ("abmil", "lr", "-1"), ("abmil", "lr", "0"), ("abmil", "lr", "inf"),
        ("abmil", "hidden", "0"), ("abmil", "dropout", "1"), ("abmil", "weight_decay", "-1"),
        ("disentangled", "twin_epochs", "0"), ("ghanet", "heads", "0"),
        ("crossfit", "epochs", "-1"),
        ("mkd", "token", "0"), ("moments", "ridge", "nan"),
    ],
)  # fmt: skip
def test_a_setting_with_which_nothing_is_learned_is_refused(method, name, value) -> None:
    with pytest.raises(TrainingError, match=f"setting {name}: found .*, expected"):
        with_settings(METHODS[method].settings, {name: value})


def test_settings_that_mean_something_are_taken() -> None:
    assert with_settings(METHODS["crossfit"].settings, {"epochs": "0"}).epochs == 0
    assert with_settings(METHODS["disentangled"].settings, {"max_instances": "0"}) is not None
    for method in METHODS.values():  # every default is inside its own range
        given = {name: str(value) for name, value in vars(method.settings).items()
                 if isinstance(value, int | float) and not isinstance(value, bool)}  # fmt: skip
        assert with_settings(method.settings, given) == method.settings


def test_a_fold_without_a_death_or_of_one_class_is_told_and_its_figure_is_undefined(
    tmp_path: Path,
) -> None:
    quiet = OUTCOME.assign(event=OUTCOME.event & (OUTCOME.fold != 2))
    found = evaluate([run_of(tmp_path / "a", quiet)])
    assert any("fold 2 holds no death to compare" in warning for warning in found.warnings)
    (row,) = (row for row in found.tasks[0].rows if row.name.method == "abmil")
    (cell,) = row.cells.values()
    assert np.isnan(cell.value)
    assert [fold for fold, value in cell.folds.items() if np.isnan(value)] == [2]


def test_two_codes_of_one_class_are_refused(tmp_path: Path, capsys) -> None:
    words = ["export", str(tmp_path), "--encoder", "default", "--out", str(tmp_path / "out"),
             "--name", "x", "--class-code", "low=A:B:C", "low=D:E:F"]  # fmt: skip
    assert cli.main(words) == 3
    assert "found two codes of class low" in capsys.readouterr().err


def die(_: int) -> None:
    os._exit(9)


def test_a_process_that_dies_ends_the_command_with_a_sentence() -> None:
    with pytest.raises(TrainingError, match="ended without a word"):
        list(each(die, [1], 1, lambda piece, error: None))
