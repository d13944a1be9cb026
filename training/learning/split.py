"""One outer fold made ready: inner split, time bins and gene scaling, fitted where they may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from training.cohorts.cohort import Cohort, Task
from training.cohorts.genes import FittedGenes, fit_genes
from training.cohorts.privileged import common_columns
from training.errors import TrainingError
from training.learning import survival
from training.learning.bags import Patients, concatenated, has_genes

Folds = Literal["official", "site"]
INNER_SHARE = 0.15
FOLDS = 5
EVERYBODY = -1
"""The fold of a split that leaves nobody out."""


@dataclass(frozen=True)
class Split:
    """One outer fold. Everything that is fitted was fitted on `train` alone."""

    cohort: str
    kind: Folds
    fold: int
    task: Task
    train: Patients
    """Inner training: 85 % of the patients outside the fold."""
    valid: Patients
    """Inner validation, for every choice: 15 %, stratified by time bin and event, or by class."""
    test: Patients
    """The outer fold. Scored once."""
    edges: tuple[float, ...]
    """5 bin edges in months."""
    genes: FittedGenes

    @property
    def width(self) -> int:
        """D, the width of an instance's features."""
        return self.train.width

    @property
    def everyone(self) -> Patients:
        """All patients outside the fold: for a model without a choice to be made on `valid`."""
        return concatenated(self.train, self.valid)

    def profiled(self) -> Split:
        """The same with those of the training parts alone whose genes were measured.

        All zeros stand for genes that were not measured; a model that trains on them learns who
        was not profiled, and that is an outcome of its own (most glioblastomas here).
        """
        train, valid = (measured(part) for part in (self.train, self.valid))
        if not len(train) or not len(valid):
            raise TrainingError(
                f"cohort {self.cohort}: found {len(train)} and {len(valid)} patients with genes in "
                "the inner parts, expected some in both; give more patients with genes"
            )
        return replace(self, train=train, valid=valid)


def prepare(
    cohort: Cohort,
    kind: Folds,
    fold: int,
    *,
    seed: int = 0,
    without: Collection[str] = frozenset(),
    second: bool = False,
) -> Split:
    """Outer fold `fold` of `cohort`, with the inner split that `seed` draws.

    `second`: with the second magnification where the cohort has one.

    The patients in `without` join no training part, and no scaling or choice of columns either; who
    is in the fold is scored all the same. Raises TrainingError for a fold that does not exist or an
    inner part without deaths.
    """
    numbers = cohort.folds(kind).to_numpy()
    if fold not in numbers:
        raise TrainingError(
            f"cohort {cohort.name}: found {kind} folds {sorted(set(numbers.tolist()))}, asked for "
            f"fold {fold}; choose one of them"
        )
    outer = np.flatnonzero(numbers == fold)
    left = cohort.patients.index.isin(list(without))
    rest = np.flatnonzero((numbers != fold) & ~left)
    inner_train, inner_valid = _inner(cohort, rest, seed)
    cohort = cohort if second else replace(cohort, second=None)
    return _made(cohort, kind, fold, inner_train, inner_valid, outer, without)


def _made(
    cohort: Cohort,
    kind: Folds,
    fold: int,
    inner_train: NDArray[np.int64],
    inner_valid: NDArray[np.int64],
    outer: NDArray[np.int64],
    without: Collection[str] = frozenset(),
) -> Split:
    """The parts by rows, with everything fitted on `inner_train`."""
    known = cohort.patients.iloc[inner_train]
    edges = _edges(known) if cohort.task.kind == "survival" else np.arange(5.0)
    genes = fit_genes(cohort.genes.iloc[inner_train], cohort.signatures)
    columns = {
        name: common_columns(block.iloc[inner_train]) for name, block in cohort.privileged.items()
    }
    train, valid, test = (
        _patients(cohort, rows, edges, genes, columns) for rows in (inner_train, inner_valid, outer)
    )
    if cohort.beside is not None:
        held = outer if fold != EVERYBODY else outer[:0]
        train = concatenated(train, _beside(cohort, kind, held, without, edges, genes, columns))
    cuts = tuple(edges.tolist())
    return Split(cohort.name, kind, fold, cohort.task, train, valid, test, cuts, genes)


def everybody(cohort: Cohort, *, seed: int = 0, second: bool = False) -> Split:
    """All patients of `cohort`, and those beside it, as training parts: nobody is left to score.

    `test` repeats `valid`, since a method scores something: what it says of them is not of patients
    it had never seen, and is no figure of anything.
    """
    rows = np.arange(len(cohort.patients))
    inner_train, inner_valid = _inner(cohort, rows, seed)
    cohort = cohort if second else replace(cohort, second=None)
    return _made(cohort, "official", EVERYBODY, inner_train, inner_valid, inner_valid)


def measured(patients: Patients) -> Patients:
    """Those whose genes were measured."""
    return patients.subset(has_genes(patients.genes).nonzero().squeeze(1))


def _inner(
    cohort: Cohort, rows: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Patients outside the fold, cut 85 to 15 with equal shares of every stratum."""
    if not len(rows):
        raise TrainingError(
            f"cohort {cohort.name}: found nobody to learn from outside the fold, where patients "
            "beside it who share a site with somebody scored are left out, too; expected some: "
            "leave the cohort out, or give patients of other sites"
        )
    table = cohort.patients.iloc[rows]
    size = round(INNER_SHARE * len(rows))
    for strata in _strata(cohort, table):
        _, counts = np.unique(strata, return_counts=True)
        if counts.min() >= 2 and len(counts) <= size:
            break
    else:
        raise TrainingError(
            f"cohort {cohort.name}: found {len(rows)} patients outside the fold, expected enough "
            f"for {INNER_SHARE:.0%} of them to hold every class or a death; give more patients"
        )
    cut = StratifiedShuffleSplit(1, test_size=size, random_state=seed)
    train, valid = next(cut.split(rows, strata))
    if cohort.task.kind == "survival":
        _require_deaths(cohort, table.iloc[train], table.iloc[valid])
    else:
        _require_classes(cohort, table.iloc[train])
    return np.sort(rows[train]), np.sort(rows[valid])


def _require_deaths(cohort: Cohort, train: pd.DataFrame, valid: pd.DataFrame) -> None:
    """Refuse an inner part that can neither teach nor judge."""
    for name, part in (("training", train), ("validation", valid)):
        if not (part["event"] > 0).any():
            raise TrainingError(
                f"cohort {cohort.name}: found no death among the {len(part)} patients of inner "
                f"{name}, expected one at least; give more patients"
            )


def _require_classes(cohort: Cohort, part: pd.DataFrame) -> None:
    """Refuse an inner training part that lacks a class: nothing learns what it never saw."""
    for at, name in enumerate(cohort.task.classes):
        if not (part["label"] == at).any():
            raise TrainingError(
                f"cohort {cohort.name}: found no {name} among the {len(part)} patients of inner "
                "training, expected every class; give more patients"
            )


def _strata(cohort: Cohort, table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """What the cut should balance, the finest first; bins that are trained on come later."""
    if cohort.task.kind != "survival":
        return [table["label"].to_numpy(np.int64)]
    event = table["event"].to_numpy(np.int64)
    return [survival.to_bins(table["time_months"], _edges(table)) * 2 + event, event]


def _beside(
    cohort: Cohort,
    kind: Folds,
    outer: NDArray[np.int64],
    without: Collection[str],
    edges: NDArray[np.float64],
    genes: FittedGenes,
    columns: dict[str, list[str]],
) -> Patients:
    """The patients beside the cohort; for site folds without those of a site in the outer fold."""
    more = cohort.beside
    assert more is not None
    kept = ~more.patients.index.isin(list(without))
    if kind == "site":
        held = set(cohort.patients["site"].iloc[outer])
        kept &= ~more.patients["site"].isin(held).to_numpy()
    rows = np.flatnonzero(kept)
    return _patients(more, rows, edges, genes, columns)


def _edges(table: pd.DataFrame) -> NDArray[np.float64]:
    """Bin edges by the patients whose outcome is known; a label task has others beside them."""
    followed = table[np.isfinite(table["time_months"])]
    return survival.bin_edges(followed["time_months"], followed["event"])


def _patients(
    cohort: Cohort,
    rows: NDArray[np.int64],
    edges: NDArray[np.float64],
    genes: FittedGenes,
    columns: dict[str, list[str]],
) -> Patients:
    table = cohort.patients.iloc[rows]
    # Without follow-up (label tasks only) a patient is censored at 0 and says nothing of survival.
    time = np.nan_to_num(table["time_months"].to_numpy(np.float64), nan=0.0)
    return Patients(
        ids=tuple(table.index),
        bags=tuple(torch.from_numpy(cohort.bags[patient]) for patient in table.index),
        genes=genes.transform(cohort.genes.iloc[rows]),
        time=torch.from_numpy(time.astype(np.float32)),
        event=torch.from_numpy(table["event"].to_numpy(np.float32, copy=True)),
        bin=torch.from_numpy(survival.to_bins(time, edges)),
        label=torch.from_numpy(table["label"].to_numpy(np.int64, copy=True)),
        age=torch.from_numpy(table["age"].to_numpy(np.float32, copy=True)),
        privileged={
            name: torch.from_numpy(block.iloc[rows][columns[name]].to_numpy(np.float32, copy=True))
            for name, block in cohort.privileged.items()
        },
        slides=_slides(cohort, table.index, "instances"),
        coarse=_second(cohort, table.index),
        coarse_slides=()
        if cohort.second is None
        else _slides(cohort, table.index, "coarse_instances"),
    )


def _second(cohort: Cohort, patients: pd.Index[str]) -> tuple[torch.Tensor, ...] | None:
    if cohort.second is None:
        return None
    return tuple(torch.from_numpy(cohort.second.bags[patient]) for patient in patients)


def _slides(cohort: Cohort, patients: pd.Index[str], column: str) -> tuple[tuple[int, ...], ...]:
    """Instances of each slide of each patient, in the order of the bag."""
    listed = cohort.slides.sort_values("slide", kind="stable").groupby("patient")[column]
    counts = {str(patient): tuple(int(n) for n in group) for patient, group in listed}
    return tuple(counts[str(patient)] for patient in patients)
