"""Expression, copy-number and mutation tables of any orientation, as one frame by patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from training.cohorts.folds import patient_of
from training.cohorts.genes import SUFFIXES, gene_of
from training.errors import TrainingError

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
        frame, repeated = _one(path, suffix, patients)
        if log_expression and suffix == "_rnaseq":
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


def _one(path: Path, suffix: str, patients: set[str]) -> tuple[pd.DataFrame, int]:
    """One table by patient (only those in `patients`), and how many further samples it had."""
    if not path.is_file():
        raise TrainingError(f"found no {path}, expected a gene table: name an existing file")
    tabs = any(ending in (".tsv", ".txt") for ending in path.suffixes)
    table = pd.read_csv(path, sep="\t" if tabs else ",", index_col=0, low_memory=False)
    if not any(patient_of(str(row)) in patients for row in table.index):
        table = table.T
    table.index = table.index.map(str)
    table = table[[patient_of(sample) in patients for sample in table.index]]
    if table.empty:
        raise TrainingError(
            f"found none of the patients among the rows or columns of {path}, expected their ids "
            "or sample barcodes: check that the tables use the same ids"
        )
    table = table.iloc[np.argsort([_order(sample) for sample in table.index], kind="stable")]
    owners = table.index.map(patient_of)
    table.index = owners
    first = table[~owners.duplicated()]
    return _numbers(_suffixed(first, suffix, path), path), int(owners.duplicated().sum())


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
        return table.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise TrainingError(
            f"found a gene value that is no number in {path} ({error}), expected numbers or "
            "blanks: correct the table"
        ) from error


def _log(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if (frame < 0).to_numpy().any():
        raise TrainingError(
            f"found negative expression in {path}, expected raw values >= 0 to take log2(x + 1) "
            "of: leave the logarithm out for a table that has it already"
        )
    return pd.DataFrame(np.log2(frame.to_numpy() + 1), index=frame.index, columns=frame.columns)
