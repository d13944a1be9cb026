"""The sections of one task in the HTML report: what it comes to, tables, floors."""

from __future__ import annotations

import math
from html import escape

from training.page.drawings import calibration, compared, forests, risk_groups
from training.page.published import published_lines, regimes_in_words, sources_in_words
from training.page.tables import (
    FOLD_WORDS,
    column_name,
    difference_table,
    display_order,
    facts_table,
    figure_table,
    kinds_of,
    list_table,
    main_table,
    own_twins,
    seed_table,
    signed,
    table,
)
from training.scoring.evaluate import TaskReport
from training.scoring.resample import LEVEL

TASK_TITLES = {
    "os": "Overall survival",
    "diagnosis": "Glioma diagnosis",
    "grading": "Glioma grading",
    "er": "Estrogen receptor",
    "pr": "Progesterone receptor",
    "her2": "HER2",
}
OTHER_FIGURES = {
    "uno": ("Uno’s C-index", "Harrell’s C weighted for censoring; higher is better."),
    "auc_t": (
        "Time-dependent AUC",
        "Mean over the fold’s three inner bin edges; higher is better.",
    ),
    "brier": (
        "Integrated Brier score",
        "Squared error of the survival curve; lower is better. The last row gives everybody the "
        "Kaplan-Meier curve of the training patients: a model above it is worse than knowing "
        "nothing of the patient.",
    ),
    "ap": ("Average precision", "Higher is better; no skill scores the share of the class."),
    "accuracy": ("Accuracy", "The most probable class counts."),
    "balanced_accuracy": (
        "Balanced accuracy",
        "Mean over the classes that a fold holds of the share of a class’s patients whose most "
        "probable class it is. No skill scores 1 over their number, however rare one is.",
    ),
    "kappa": (
        "Cohen’s kappa",
        "Agreement of the most probable class with the truth beyond what the counts of the classes "
        "would give by chance; 0 is no skill.",
    ),
    "f1": ("F1", "The most probable class counts."),
    "sensitivity": ("Sensitivity", "The most probable class counts."),
    "specificity": ("Specificity", "The most probable class counts."),
}


def task_sections(report: TaskReport) -> str:
    """Everything about a task, what it comes to first."""
    title = TASK_TITLES.get(report.task, report.task)
    name = "AUC" if report.classes else "C-index"
    parts = [
        f"<section><h2>{escape(title)}: {name}</h2>{_verdict(report)}",
        main_table(report, "inner", _main_caption(report, name)),
        "</section>",
        compared(report, name),
        forests(report, name),
        _differences(report, name),
        risk_groups(report),
        calibration(report),
        _more_tables(report, name),
    ]
    return "\n".join(parts)


def _main_caption(report: TaskReport, name: str) -> str:
    macro = (
        " The AUC is that of the positive class."
        if len(report.classes) == 2
        else " The AUC is the mean over the classes that a fold holds, each against the rest."
        if report.classes
        else ""
    )
    marks = f" Published rows: {regimes_in_words()}." if report.published else ""
    return (
        f"{name} of the outer folds at the epoch chosen on inner validation patients. Mean over "
        "folds (of the mean over seeds), ± standard deviation over folds (population); the mean "
        f"over cohorts with its {LEVEL:.0%} bootstrap interval over patients.{macro}{marks}"
    )


def _verdict(report: TaskReport) -> str:
    twins = own_twins(report.differences)
    of_all = {
        (found.first, found.kind)
        for found in twins
        if found.column is None and not math.isnan(found.interval.value)
    }
    lines = []
    for found in twins:
        if found.column is not None and (found.first, found.kind) in of_all:
            continue  # the mean over cohorts stands for it
        low, high = found.interval.low, found.interval.high
        if math.isnan(low):
            meaning = "there is no interval"
        elif low > 0:
            meaning = "the interval excludes 0: on these patients distillation helped"
        elif high < 0:
            meaning = "the interval excludes 0: on these patients distillation hurt"
        else:
            meaning = "the interval contains 0: no effect of distillation is shown"
        where = found.column.cohort.upper() if found.column else "the mean over cohorts"
        lines.append(
            f"<li><b>{escape(found.first.method)}</b>, folds {FOLD_WORDS[found.kind]}, {where}: "
            f"student minus its undistilled twin {signed(found.interval)}; {meaning}.</li>".replace(
                "-0.", "−0."
            )
        )
    if not lines:
        return "<p>No student stands beside an undistilled twin in these runs.</p>"
    return f'<ul class="lead">{"".join(lines)}</ul>'


def _more_tables(report: TaskReport, name: str) -> str:
    parts = [
        "<section><h3>At the last epoch</h3>",
        main_table(report, "last", f"{name} as above, at the last epoch instead."),
        "</section><section><h3>Every seed</h3>",
        *(_seeds(report, kind, name) for kind in kinds_of(report.columns)),
        "</section>",
    ]
    names = [row for row in report.rows if row.cells]
    shown = next(iter(names[0].cells.values())).figures if names else {}
    for figure, (title, words) in OTHER_FIGURES.items():
        if figure in shown:
            parts.append(
                f"<section><h3>{title}</h3>{figure_table(report, figure, words)}</section>"
            )
    parts += [_facts(report), _noise(report), _published(report)]
    return "\n".join(parts)


def _differences(report: TaskReport, name: str) -> str:
    parts = []
    columns = display_order(report.columns)
    for kind in kinds_of(columns):
        at = [column for column in columns if column.kind == kind]
        inner = [d for d in report.differences if d.rule == "inner" and d.kind == kind]
        words = (
            f"{name} of the student minus every other row, folds {FOLD_WORDS[kind]}, with "
            f"{LEVEL:.0%} paired bootstrap interval. None is corrected for the others. "
            "No pair: one of the two was not run on all of the same patients."
        )
        parts.append(difference_table(inner, at, words))
    return "".join(parts) if report.differences else ""


def _seeds(report: TaskReport, kind: str, name: str) -> str:
    columns = [column for column in display_order(report.columns) if column.kind == kind]
    words = (
        f"{name} by seed (mean over folds {FOLD_WORDS[kind]}), and below it of all patients "
        "pooled (mean over seeds)."
    )
    return seed_table(report, columns, words)


def _facts(report: TaskReport) -> str:
    found = [fact for fact in report.facts if "correlation" in fact.name]
    if not found:
        return ""
    words = (
        "Correlation of what the slide model predicts of the genes with the truth, on the outer "
        "folds, mean ± sd over folds. Where it is low, the slide does not show what the genes say "
        "and there is little to distill."
    )
    rest = facts_table(found, report.columns, words)
    return f"<section><h3>Predicted and true genomic risk</h3>{rest}</section>"


def _noise(report: TaskReport) -> str:
    if not report.noise:
        return ""
    rows = [
        [
            column_name(column, report.columns),
            f"{floor.sd_of_one_fold:.3f}",
            f"{floor.highest_of_mean:.3f}",
            f"{floor.best_of_epochs:.3f}",
        ]
        for column, floor in ((at, report.noise[at]) for at in display_order(report.columns))
    ]
    head = ("", "sd of one fold", "97.5 % of the mean over folds", "best of 20 epochs per fold")
    words = (
        "C-index of random risks on the outcomes of these folds. A mean below the third column is "
        "not distinguishable from noise; a table that picks its epoch on the reported fold gets "
        "the last column from noise alone. No figure in this report was picked so."
    )
    return f"<section><h3>Noise floor</h3>{list_table(head, rows, words)}</section>"


def _published(report: TaskReport) -> str:
    if not report.published:
        return (
            "<section><h3>Published results</h3><p>No table of published results was given "
            "(<code>--published</code>), or it has no row for this task.</p></section>"
        )
    cohorts = sorted({column.cohort for column in report.columns})
    head, body = published_lines(report.published, cohorts)
    said = f"Read in: {sources_in_words(report.published)}"
    rest = table(head, body, f"Compare within one regime only. {regimes_in_words()}. {said}")
    return f"<section><h3>Published results</h3>{rest}</section>"
