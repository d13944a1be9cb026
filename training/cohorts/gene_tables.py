"""Expression, copy-number and mutation tables of any orientation, as one frame by patient."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.folds import patient_of
from training.cohorts.genes import SUFFIXES, gene_of
from training.cohorts.given.reading import read_words
from training.cohorts.outcome import refuse_outcomes
from training.errors import TrainingError

_SAMPLE_TYPE = re.compile(r"\d{2}[A-Z]?")
_DATE = re.compile(
    r"\d{1,2}[-.](Mar|Sept?|Oct|Nov|Dec|Feb|Apr)|(Mar|Sept?|Oct|Nov|Dec|Feb|Apr)-\d{1,4}|"
    r"\d{4}-\d{2}-\d{2}.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}",
    re.IGNORECASE,
)
_LARGEST_LOGARITHM = 30.0  # 2 to the 30th: no reading is that large, and no raw table that small
PRIMARY = "01"  # sample type of a primary solid tumor in a TCGA barcode


def read_genes(
    tables: dict[str, Path], patients: set[str], *, log_expression: bool
) -> tuple[pd.DataFrame, list[str]]:
    """float32 [patients in any table, columns with suffix], and what was noted.

    `tables`: suffix (`_rnaseq`, `_cnv`, `_mut`) -> CSV or TSV, patients as rows or as columns,
    named by patient or by sample barcode. `log_expression` takes log2(x + 1) of expression.
    """
    frames, notes = [], []
    for suffix, path in tables.items():
        frame, repeated, odd = _one(path, suffix, patients)
        notes += odd
        if log_expression and suffix == "_rnaseq":
            notes += _logged_before(frame, path)
            frame = _log(frame, path)
        if repeated:
            notes.append(f"{path.name}: {repeated} further samples of a patient left out")
        absent = len(patients - set(frame.index))
        if absent:
            notes.append(f"{path.name}: no row for {absent} of {len(patients)} patients")
        frames.append(frame)
    if not frames:
        return pd.DataFrame(index=pd.Index([], dtype=str)), notes
    return pd.concat(frames, axis=1).astype(np.float32).sort_index(), notes


def require_genes(genes: pd.DataFrame, wanted: tuple[str, ...]) -> None:
    """TrainingError naming the columns of `wanted` that the tables do not have."""
    absent = [column for column in wanted if column not in genes]
    if absent:
        raise TrainingError(
            f"found no gene column {', '.join(absent[:5])} ({len(absent)} of {len(wanted)} "
            "missing), expected it in the gene tables: add it or do not ask for it"
        )


def _one(path: Path, suffix: str, patients: set[str]) -> tuple[pd.DataFrame, int, list[str]]:
    """One table by patient (only those in `patients`), how many further samples it had, and notes
    of its genes."""
    table = read_words(path, 0)
    table = table.set_index(table.columns[0])
    if not any(_owner(row, patients) for row in table.index):
        table = table.T
    table.index = table.index.map(str)
    table = table[[_owner(sample, patients) is not None for sample in table.index]]
    if table.empty:
        raise TrainingError(
            f"found none of the patients among the rows or columns of {path}, expected their ids "
            "or sample barcodes in the first column or row: check that the tables use the same ids"
        )
    table = table.iloc[np.argsort([_order(sample) for sample in table.index], kind="stable")]
    found = _numbers(_suffixed(table, suffix, path), path)
    _refuse_two_answers(found, path)
    owners = pd.Index([_owner(sample, patients) for sample in found.index])
    found.index = owners
    return found[~owners.duplicated()], int(owners.duplicated().sum()), _odd_genes(found, path)


def _owner(sample: str, patients: set[str]) -> str | None:
    """The patient of an id or of a sample barcode; None where it is nobody's here."""
    if sample in patients:
        return sample
    parts = sample.split("-")
    is_barcode = len(parts) > 3 and _SAMPLE_TYPE.fullmatch(parts[3])
    owner = patient_of(sample)
    return owner if is_barcode and owner in patients else None


def _refuse_two_answers(found: pd.DataFrame, path: Path) -> None:
    """TrainingError where one and the same sample stands there twice, with other values."""
    twice = found[found.index.duplicated(keep=False)]
    for sample, rows in twice.groupby(level=0):
        first, rest = rows.to_numpy()[:1], rows.to_numpy()[1:]
        if not np.array_equal(np.broadcast_to(first, rest.shape), rest, equal_nan=True):
            raise TrainingError(
                f"found {sample} twice in {path} with other values, expected one row each: keep "
                "the one that is meant"
            )


def _odd_genes(found: pd.DataFrame, path: Path) -> list[str]:
    """Names that a spreadsheet has made dates of: they are no longer in any group of genes."""
    dates = [name for name in map(gene_of, found.columns) if name and _DATE.fullmatch(name)]
    if not dates:
        return []
    return [
        f"{path.name}: {len(dates)} genes are called by a date ({dates[0]}), as a spreadsheet does "
        "to MARCHF1 or SEPTIN2; they are in no functional group"
    ]


def _order(sample: str) -> str:
    """Sorts the primary tumor of a patient before the other samples, then by barcode."""
    kind = sample.split("-")[3][:2] if sample.count("-") >= 3 else PRIMARY
    return f"{kind != PRIMARY:d}{sample}"


def _suffixed(table: pd.DataFrame, suffix: str, path: Path) -> pd.DataFrame:
    names = [str(name) for name in table.columns]
    named = [name for name in names if name.endswith(suffix)]
    if named:  # a combined table: take its columns of this kind, by suffix
        kept = table.loc[:, [name in set(named) for name in names]]
        kept.columns = pd.Index(named)
    else:
        other = [name for name in names if gene_of(name) is not None]
        if other:
            raise TrainingError(
                f"found column {other[0]} and none ending in {suffix} in {path}, expected gene "
                f"names or names ending in one of {', '.join(SUFFIXES)}: choose the right table"
            )
        refuse_outcomes(names, path)
        kept = table.copy()
        kept.columns = pd.Index([name + suffix for name in names])
    twice = kept.columns[kept.columns.duplicated()]
    if len(twice):
        raise TrainingError(
            f"found gene {gene_of(twice[0])} twice in {path}, expected once: merge its rows"
        )
    return kept


def _numbers(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    try:
        with np.errstate(over="ignore"):  # refused below
            numbers = table.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise TrainingError(
            f"found a gene value that is no number in {path} ({error}), expected numbers or "
            "blanks: correct the table"
        ) from error
    beyond = np.isinf(numbers.to_numpy())
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        raise TrainingError(
            f"found {table.iloc[row, column]} of gene {gene_of(table.columns[column])} for "
            f"{table.index[row]} in {path}, expected finite numbers or blanks: correct the table"
        )
    return numbers


def _logged_before(frame: pd.DataFrame, path: Path) -> list[str]:
    largest = float(np.nanmax(frame.to_numpy())) if frame.size else 0.0
    if largest > _LARGEST_LOGARITHM:
        return []
    return [
        f"{path.name}: the largest expression is {largest:.1f}, as of logarithms; another one was "
        "taken, leave --log-expression out where the table has them already"
    ]


def _log(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if (frame < 0).to_numpy().any():
        raise TrainingError(
            f"found negative expression in {path}, expected raw values >= 0 to take log2(x + 1) "
            "of: leave the logarithm out for a table that has it already"
        )
    return pd.DataFrame(np.log2(frame.to_numpy() + 1), index=frame.index, columns=frame.columns)
