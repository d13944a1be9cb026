"""Gene columns: functional groups, the scaler of one fold, G-HANet's selection.

A column is `<GENE>_rnaseq`, `<GENE>_cnv` or `<GENE>_mut`. Everything here is fitted on the
training patients of one fold and applied to the others.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from training.errors import TrainingError

GROUPS = (
    "Tumor Suppressor Genes",
    "Oncogenes",
    "Protein Kinases",
    "Cell Differentiation Markers",
    "Transcription Factors",
    "Cytokines and Growth Factors",
)
SUFFIXES = ("_rnaseq", "_cnv", "_mut")
CLIP = 10.0  # z-scores: raw expression reaches 14,000, one outlier must not rule a layer

HIGH, LOW, NEITHER = 1, 0, -1

Signatures = dict[str, tuple[str, ...]]


def gene_of(column: str) -> str | None:
    """The gene of a column by its suffix; None for a column that is no gene's."""
    for suffix in SUFFIXES:
        if column.endswith(suffix) and len(column) > len(suffix):
            return column.removesuffix(suffix)
    return None


def read_signatures(path: Path) -> Signatures:
    """The genes of the six functional groups: a CSV with one column per group, ragged.

    Raises TrainingError where a group of GROUPS has no column.
    """
    table = pd.read_csv(path, dtype=str)
    absent = [group for group in GROUPS if group not in table]
    if absent:
        raise TrainingError(
            f"found no column {', '.join(absent)} in {path}, expected one column of gene names "
            "per functional group: give the signatures table with these headers"
        )
    return {group: tuple(sorted(set(table[group].dropna().str.strip()))) for group in GROUPS}


@dataclass(frozen=True)
class FittedGenes:
    """The gene columns of one fold and their scale, as measured on its training patients."""

    columns: tuple[str, ...]
    """G names, in the order of `transform`."""
    mean: NDArray[np.float32]
    """[G]."""
    std: NDArray[np.float32]
    """[G], population standard deviation, never 0."""
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    """Functional groups with at least one column, in the order of GROUPS: name, positions."""
    constant: tuple[str, ...] = ()
    """Columns left out: one value only (or none) among the training patients."""

    def transform(self, frame: pd.DataFrame) -> Tensor:
        """float32 [P, G] z-scores within [-10, 10]; a missing value becomes 0, the mean.

        Raises TrainingError naming the columns that `frame` lacks.
        """
        known = set(frame.columns)
        absent = [column for column in self.columns if column not in known]
        if absent:
            raise TrainingError(
                f"found no gene column {', '.join(absent[:5])} ({len(absent)} of "
                f"{len(self.columns)} missing), expected the columns of the training patients: "
                "add them or fit on a cohort without them"
            )
        values = frame.loc[:, list(self.columns)].to_numpy(np.float32)
        scores = np.clip((values - self.mean) / self.std, -CLIP, CLIP)
        return torch.from_numpy(np.nan_to_num(scores, nan=0.0))


def digest_of_signatures(signatures: Signatures) -> str:
    """sha256 (hex) of the groups in their order, which the digest of a cohort leaves out."""
    return hashlib.sha256(json.dumps(signatures).encode()).hexdigest()


def fit_genes(frame_train: pd.DataFrame, signatures: Signatures) -> FittedGenes:
    """Scale and groups of the gene columns of `frame_train` (rows: training patients).

    Columns that do not vary among these patients are left out and listed in `constant`.
    Raises TrainingError for infinite values and for a column with no gene suffix.
    """
    foreign = [name for name in frame_train.columns if gene_of(str(name)) is None]
    if foreign:
        raise TrainingError(
            f"found {foreign[0]!r} among the gene columns, expected names ending in "
            f"{', '.join(SUFFIXES)}: select gene columns by suffix"
        )
    values = frame_train.to_numpy(np.float64)
    if np.isinf(values).any():
        at = int(np.argwhere(np.isinf(values))[0, 1])
        raise TrainingError(
            f"found an infinite value in gene column {frame_train.columns[at]}, expected finite "
            "numbers or blanks: correct the table"
        )
    varying = _varying(values)
    kept = values[:, varying]
    columns = tuple(frame_train.columns[varying])
    return FittedGenes(
        columns,
        np.nanmean(kept, axis=0).astype(np.float32) if kept.size else np.zeros(0, np.float32),
        np.nanstd(kept, axis=0).astype(np.float32) if kept.size else np.ones(0, np.float32),
        group_positions(columns, signatures),
        tuple(frame_train.columns[~varying]),
    )


def _varying(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [G]: columns with at least two different values (float32 is what is kept)."""
    if not values.size:
        return np.zeros(values.shape[1], bool)
    small = values.astype(np.float32)
    lowest = np.fmin.reduce(small, axis=0)
    varying: NDArray[np.bool_] = np.fmax.reduce(small, axis=0) > lowest
    return varying


def group_positions(
    columns: tuple[str, ...], signatures: Signatures
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Positions of each group's columns, groups without any left out.

    A gene contributes every column it has, and counts in every group that lists it.
    """
    genes = [gene_of(column) for column in columns]
    found = []
    for group, members in signatures.items():
        listed = set(members)
        positions = tuple(at for at, gene in enumerate(genes) if gene in listed)
        if positions:
            found.append((group, positions))
    return tuple(found)


def high_low(event: Any, bin: Any) -> NDArray[np.int8]:
    """int8 [P]: 1 high risk, 0 low risk, -1 neither.

    High: death observed in time bin 0 or 1. Low: bin 2 or 3, whether or not observed. Censored in
    bin 0 or 1: unknown, neither. Arrays or tensors, [P] each.
    """
    died, late = np.asarray(event) > 0, np.asarray(bin) >= 2
    return np.where(late, LOW, np.where(died, HIGH, NEITHER)).astype(np.int8)


def welch(genes: Any, event: Any, bin: Any) -> NDArray[np.float64]:
    """float64 [G]: two-sided p of Welch's test, high against low risk; 1 where undefined.

    `genes` [P, G], one row per patient. Raises TrainingError with fewer than 2 patients per side.
    """
    values, side = np.asarray(genes, np.float64), high_low(event, bin)
    high, low = values[side == HIGH], values[side == LOW]
    if len(high) < 2 or len(low) < 2:
        raise TrainingError(
            f"found {len(high)} high-risk and {len(low)} low-risk patients, expected at least 2 of "
            "each to test genes: use more patients or other time bins"
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # two constant sides: p is nan, then 1
        p = stats.ttest_ind(low, high, axis=0, equal_var=False, nan_policy="propagate").pvalue
    return np.nan_to_num(np.asarray(p, np.float64), nan=1.0)


def select(
    genes: Any, event: Any, bin: Any, columns: Any, p: float = 0.05, at_least: int = 8
) -> NDArray[np.int64]:
    """The positions among `columns` that differ between high and low risk, ascending.

    `genes` [P, G] of unique training patients (never a resampled loader: duplicates inflate
    significance), `columns` the positions of one functional group. Welch p < `p`, uncorrected; the
    `at_least` smallest p where fewer survive (or all columns, where the group is smaller). Raises
    TrainingError for a group without columns.
    """
    positions = np.asarray(columns, np.int64)
    if not positions.size:
        raise TrainingError(
            "found a functional group without gene columns, expected at least one: leave the "
            "group out or add its genes"
        )
    tested = welch(np.asarray(genes)[:, positions], event, bin)
    kept = np.flatnonzero(tested < p)
    if len(kept) < at_least:
        kept = np.argsort(tested, kind="stable")[:at_least]
    return np.sort(positions[kept])
