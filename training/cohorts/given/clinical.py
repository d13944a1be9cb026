"""The clinic's table of a built cohort: numbers that a teacher may see, and no outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.checks import refuse_conflicts
from training.cohorts.outcome import read_table, refuse_outcomes
from training.errors import TrainingError


def read_clinical(
    path: Path, patients: pd.Index[str], label: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """float32, one row per patient of the table, NaN where unknown; and what was noted.

    Raises TrainingError for columns that tell the outcome (or are the `label`), for words, infinite
    numbers, rows of one patient that disagree, and a table that knows none of `patients`.
    """
    rows = read_table(path)
    refuse_outcomes(rows.columns, path, {label} - {""})
    words = [name for name in rows if not pd.api.types.is_numeric_dtype(rows[name])]
    if words:
        raise TrainingError(
            f"found words in column {words[0]} of {path}, expected numbers: code it as numbers"
        )
    refuse_conflicts(rows, list(rows))
    block = rows.groupby(level=0, sort=True).first().astype(np.float32)
    beyond = np.isinf(block.to_numpy())
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        raise TrainingError(
            f"found an infinite {block.columns[column]} for {block.index[row]} in {path}, expected "
            "finite numbers or blanks: correct the table"
        )
    absent = len(patients.difference(block.index))
    if absent == len(patients):
        raise TrainingError(
            f"found {block.index[0]} and others in {path} and none of the patients, such as "
            f"{patients[0]}, expected their ids: check that the tables use the same ids"
        )
    notes = [f"{path.name}: no row for {absent} of {len(patients)} patients"] if absent else []
    return block, notes
