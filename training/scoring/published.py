"""Rows of other people's tables, and how far they may be compared with ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from training.cohorts.given.reading import read_words
from training.errors import TrainingError

_COLUMNS = (
    "method", "modality_at_inference", "dataset", "task", "metric", "value", "std", "source",
)  # fmt: skip
_TASKS = {
    "os": "OS survival",
    "diagnosis": "glioma diagnosis WHO-2021 (4 classes)",
    "grading": "glioma grading (3 classes)",
    "er": "ER status",
    "pr": "PR status",
    "her2": "HER2 status",
}
_METRICS = {"C-index", "AUC", "AUC macro OvR"}
_PHANTOMS = ("Patch-GCN results/5foldcv",)
"""Sources whose tables count patients without features as dead at month 0 with risk 0."""
LAST_EPOCH = "last epoch"
PHANTOMS = "last epoch, skipped patients scored"
UNKNOWN = "choice of epoch unknown"
REGIMES = {
    LAST_EPOCH: "read from the authors' files: official folds, last epoch, ResNet-50 features",
    PHANTOMS: (
        "as above, but patients without features were scored as dead at month 0 with risk 0, "
        "which raises the value; recomputed without them these rows are lower"
    ),
    UNKNOWN: (
        "as printed by the authors or by others: other features, often other patients, and the "
        "epoch may have been picked on the reported fold"
    ),
}
"""Regime -> what it means. Compare within one regime only."""


@dataclass(frozen=True)
class PublishedRow:
    """A published model on some of the cohorts: value and spread by cohort."""

    method: str
    inference: str
    """What it needs at inference: WSI, WSI (KD), genomic, WSI+genomic."""
    regime: str
    source: str
    values: dict[str, tuple[float, float | None]]
    """Cohort -> (value, standard deviation over folds or None)."""


def published_rows(table: Path | None, task: str, cohorts: list[str]) -> tuple[PublishedRow, ...]:
    """Rows for `task` on `cohorts` (names such as "blca"), WSI-only ones first.

    Raises TrainingError for a table that lacks a column. None gives no rows.
    """
    if table is None or task not in _TASKS:
        return ()
    rows = read_words(table, ("method", "source"))
    if lacking := [name for name in _COLUMNS if name not in rows]:
        raise TrainingError(f"{table}: found no column {lacking[0]}, expected {_COLUMNS}")
    rows = rows[rows["task"].eq(_TASKS[task]) & rows["metric"].isin(_METRICS)]
    rows = rows.assign(cohort=[_cohort(name, cohorts) for name in rows["dataset"]])
    rows = rows[rows["cohort"].notna()]
    keys = ["method", "modality_at_inference", "source"]
    found = [_row(key, part) for key, part in rows.groupby(keys, sort=False)]
    order = ["WSI", "WSI (KD)", "genomic", "WSI+genomic"]
    return tuple(
        sorted(found, key=lambda row: order.index(row.inference) if row.inference in order else 9)
    )


def _row(key: tuple[str, str, str], part: pd.DataFrame) -> PublishedRow:
    method, inference, source = key
    values = {
        str(cohort): (_share(value), None if pd.isna(std) else _share(std, value))
        for cohort, value, std in zip(part["cohort"], part["value"], part["std"], strict=True)
    }
    return PublishedRow(method, inference, _regime(source), source, values)


def _regime(source: str) -> str:
    if any(name in source for name in _PHANTOMS):
        return PHANTOMS
    return LAST_EPOCH if source.startswith("P1") and "last epoch" in source else UNKNOWN


def _cohort(dataset: str, cohorts: list[str]) -> str | None:
    """The cohort that a data set of the table is; glioma tables pool it with another set."""
    if dataset.startswith("TCGA GBM-LGG"):
        dataset = "TCGA-GBMLGG"
    for cohort in cohorts:
        if dataset == f"TCGA-{cohort.upper()}":
            return cohort
    return None


def _share(number: float, beside: float | None = None) -> float:
    """As a share of 1; some tables are in percent."""
    return number / 100 if (number if beside is None else beside) > 1 else number
