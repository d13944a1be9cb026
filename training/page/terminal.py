"""The main table of a report as lines of a terminal."""

from __future__ import annotations

from training.page.tables import FOLD_WORDS, column_name, display_order, number, own_twins
from training.scoring.cells import Cell
from training.scoring.comparisons import Difference
from training.scoring.evaluate import Evaluation, TaskReport
from training.scoring.naming import RowName

RULE = "inner"


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
    table = [["", *(column_name(at, report.columns) for at in columns)]]
    for row in report.rows:
        cells = [row.cells.get((RULE, at)) for at in columns]
        if any(cells):
            table.append([row.name.text, *map(_cell, cells)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return (
        "\n".join(
            [f"{report.task}: {name} of the outer folds ({kinds}), ± deviation over folds", *lines]
            + [
                _twin(found, report, words)
                for role, words in (("twin", "twin"), ("self", "twin of equal capacity"))
                for found in own_twins(report.differences, role)
            ]
        )
        + "\n"
    )


def _twin(found: Difference, report: TaskReport, twin: str) -> str:
    if found.column is None:
        where = f"mean, folds {FOLD_WORDS[found.kind]}"
    else:
        where = column_name(found.column, report.columns)
    at = found.interval
    name = RowName(found.first.method, "student").text
    return f"{name} minus {twin}, {where}: {at.value:+.3f} ({at.low:+.3f} to {at.high:+.3f})"
