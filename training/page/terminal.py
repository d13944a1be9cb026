"""The main table of a report as lines of a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from training.page.tables import (
    FOLD_WORDS,
    column_name,
    display_order,
    number,
    own_twins,
    signed,
)
from training.scoring.cells import Cell
from training.scoring.comparisons import Difference
from training.scoring.evaluate import Evaluation, TaskReport
from training.scoring.naming import RowName
from training.scoring.resample import LEVEL

RULE = "inner"
OF_CLASSES = {"balanced_accuracy": "balanced accuracy", "kappa": "Cohen's kappa"}


def text(evaluation: Evaluation) -> str:
    """Every task: rows by role, columns by cohort, mean over folds and its deviation; then the runs
    whose second magnification is derived."""
    derived = [run.path for run, _ in evaluation.runs if run.second == "derived"]
    lines = [f"{path}: its second magnification is derived from the first" for path in derived]
    return "\n".join([*(_task(report) for report in evaluation.tasks), *lines])


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    spread = f"±{number(cell.sd)}" if len(cell.folds) > 1 else "one fold"
    return f"{number(cell.value)} {spread}"


def _task(report: TaskReport) -> str:
    name = "AUC" if report.classes else "C-index"
    columns = display_order(report.columns)
    kinds = ", ".join(FOLD_WORDS[kind] for kind in sorted({at.kind for at in columns}))
    lines = _lines(report, _cell)
    return (
        "\n".join(
            [f"{report.task}: {name} of the outer folds ({kinds}), ± deviation over folds", *lines]
            + _of_classes(report)
            + [
                _twin(found, report, words)
                for role, words in (("twin", "twin"), ("self", "twin of equal capacity"))
                for found in own_twins(report.differences, role)
            ]
        )
        + "\n"
    )


def _of_classes(report: TaskReport) -> list[str]:
    """Tables of figures that take all classes together, with their intervals; none of survival."""
    found = []
    for figure, name in OF_CLASSES.items() if report.classes else ():
        found.append(f"{name}, with its {LEVEL:.0%} bootstrap interval over patients")
        found += _lines(report, partial(_figure, name=figure))
    return found


def _lines(report: TaskReport, told: Callable[[Cell | None], str]) -> list[str]:
    """Rows by role, columns by cohort; what `told` says of each cell."""
    columns = display_order(report.columns)
    table = [["", *(column_name(at, report.columns) for at in columns)]]
    for row in report.rows:
        cells = [row.cells.get((RULE, at)) for at in columns]
        if any(cells):
            table.append([row.name.text, *map(told, cells)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def _figure(cell: Cell | None, name: str) -> str:
    if cell is None:
        return "not run"
    low, high = cell.intervals[name]
    if math.isnan(low):
        return f"{number(cell.figures[name][0])} no interval"
    return f"{number(cell.figures[name][0])} ({low:.3f} to {high:.3f})"


def _twin(found: Difference, report: TaskReport, twin: str) -> str:
    if found.column is None:
        where = f"mean, folds {FOLD_WORDS[found.kind]}"
    else:
        where = column_name(found.column, report.columns)
    name = RowName(found.first.method, "student").text
    return f"{name} minus {twin}, {where}: {signed(found.interval)}"
