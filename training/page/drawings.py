"""Sections of the HTML report that are drawings, each with what it shows in words."""

from __future__ import annotations

from html import escape

from training.page import figures
from training.page.figures import Mark
from training.page.tables import KIND_NAMES, column_name, display_order, own_twins
from training.scoring.evaluate import TaskReport
from training.scoring.naming import RowName
from training.scoring.resample import LEVEL, REPEATS, Interval

COMPARED = ("student", "twin", "teacher")
"""Roles of the first drawing, in the order of the colors c0, c1, c2."""

NOT_RECALIBRATED = ("coxnet",)
"""Drawn baselines whose percentages are as fitted: a linear model of genes has no inner judge."""


def compared(report: TaskReport, name: str) -> str:
    """Student, twin and teacher by cohort, with intervals."""
    parts = []
    columns = display_order(report.columns)
    for method in dict.fromkeys(
        row.name.method for row in report.rows if row.name.role == "student"
    ):
        rows = []
        for column in columns:
            cells = [
                (color, row.cells.get(("inner", column)))
                for color, role in enumerate(COMPARED)
                for row in report.rows
                if row.name == RowName(method, role)
            ]
            marks = [
                Mark(Interval(cell.value, cell.low, cell.high), color)
                for color, cell in cells
                if cell is not None
            ]
            rows.append((column_name(column, columns), marks))
        key = "".join(
            f'<span><i class="c{at}"></i>{role}</span>' for at, role in enumerate(COMPARED)
        )
        drawn = figures.dots(rows, line_at=0.5, title=f"{name} of {method} by cohort")
        parts.append(
            f'<figure><figcaption><span class="key">{key}</span><br>{escape(method)}: {name} with '
            f"{LEVEL:.0%} bootstrap interval over patients; dashed: chance. Overlapping intervals "
            f"do not mean equal models: see the paired differences.</figcaption>{drawn}</figure>"
        )
    return f"<section><h3>Student, twin and teacher</h3>{''.join(parts)}</section>" if parts else ""


TWINS = {
    "twin": "undistilled twin",
    "self": "twin of equal capacity, which the slide alone has taught",
}
"""Whom a student is drawn against, and what each is."""


def forests(report: TaskReport, name: str) -> str:
    """Student minus twin, and minus its twin of equal capacity, by cohort and on the mean."""
    parts = []
    columns = display_order(report.columns)
    for role, words in TWINS.items():
        twins = own_twins(report.differences, role)
        for method in dict.fromkeys(found.first.method for found in twins):
            rows = [
                (
                    f"mean, {KIND_NAMES[found.kind]}"
                    if found.column is None
                    else column_name(found.column, columns),
                    found.interval,
                    found.column is None,
                )
                for found in twins
                if found.first.method == method
            ]
            title = f"{method}: student minus {words.partition(',')[0]}"
            drawn = figures.forest(rows, title=title, unit="student")
            parts.append(
                f"<figure><figcaption>{escape(method)}: {name} of the student minus its {words}. "
                f"Paired: both are scored on the same {REPEATS:,} redraws of the patients inside "
                f"each fold.</figcaption>{drawn}</figure>"
            )
    return f"<section><h3>Differences</h3>{''.join(parts)}</section>" if parts else ""


def risk_groups(report: TaskReport) -> str:
    """Kaplan-Meier curves of the halves by risk; empty for classes."""
    parts = []
    for found in report.focus:
        if found.groups is None:
            continue
        name = f"{found.row}, {found.cohort.upper()} ({KIND_NAMES[found.kind]})"
        p_value = found.groups.logrank_p
        said = "p &lt; 0.0001" if p_value < 1e-4 else f"p = {p_value:.4f}"
        drawn = figures.kaplan_meier(found.groups, title=name)
        parts.append(
            f"<figure><figcaption>{escape(name)}<br>log-rank {said}</figcaption>{drawn}</figure>"
        )
    if not parts:
        return ""
    return (
        "<section><h3>Risk groups</h3><p>Kaplan-Meier curves of the lower and the higher half by "
        "predicted risk, months, with 95 % log-log bands. The halves are cut at the median of the "
        "scored fold’s own out-of-fold risks (mean over seeds) and then put together; no cut was "
        "chosen by looking at outcomes. Unstratified log-rank test.</p>"
        '<p class="key"><span><i class="c0"></i>low risk</span>'
        f'<span><i class="c1"></i>high risk</span></p><div class="small">{"".join(parts)}</div>'
        "</section>"
    )


def calibration(report: TaskReport) -> str:
    """Predicted against observed; empty without a survival or probabilities."""
    parts = []
    for found in report.focus:
        if found.calibration is None:
            continue
        name = f"{found.row}, {found.cohort.upper()} ({KIND_NAMES[found.kind]})"
        months = found.calibration.months
        at = "" if months is None else f"survival at {months:.0f} months · "
        drawn = figures.calibration(found.calibration, title=name)
        parts.append(
            f"<figure><figcaption>{escape(name)}<br>{at}mean distance "
            f"{found.calibration.error:.3f}</figcaption>{drawn}</figure>"
        )
    if not parts:
        return ""
    how = (
        "Predicted probability against observed frequency in ten equal bins, Wilson intervals; "
        + (
            "of the positive class."
            if len(report.classes) == 2
            else "of the most probable class (top label)."
        )
        + " The mean distance is the expected calibration error."
        if report.classes
        else "Five groups of equal size by predicted survival at the middle bin edge; observed is "
        "Kaplan-Meier with a 95 % interval. Below the diagonal more died than was predicted."
    )
    return (
        f"<section><h3>Calibration</h3><p>{how} {_recalibrated(report)}</p>"
        f'<div class="small">{"".join(parts)}</div></section>'
    )


def _recalibrated(report: TaskReport) -> str:
    words = (
        "Predictions are shown after the recalibration on inner validation patients that an "
        "exported bundle carries; the patients of an outer fold had no part in that of their fold."
    )
    raw = [
        found.row
        for found in report.focus
        if found.calibration is not None and found.row.partition(" (")[0] in NOT_RECALIBRATED
    ]
    if not raw:
        return words
    return f"{words} Those of {escape(', '.join(dict.fromkeys(raw)))} are shown as fitted."
