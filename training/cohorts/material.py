"""The nouns: a task, a drop, tables and bags as they were read, and the cohort made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.cohorts.genes import Signatures
from training.cohorts.privileged import Blocks
from training.cohorts.second_grid import SecondGrid
from training.errors import TrainingError

NO_FOLD = -1
Bag = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What is predicted: survival time, or one of `classes`."""

    name: str
    kind: Literal["survival", "classification"]
    classes: tuple[str, ...] = ()


TASKS = {
    task.name: task
    for task in (
        Task("os", "survival"),
        Task("diagnosis", "classification", ("glioblastoma", "astrocytoma", "oligodendroglioma")),
        Task("grading", "classification", ("G2", "G3", "G4")),
        Task("er", "classification", ("negative", "positive")),
        Task("pr", "classification", ("negative", "positive")),
        Task("her2", "classification", ("negative", "positive")),
    )
}


def known_task(name: str) -> Task:
    """The task of that name; TrainingError where there is none."""
    if name not in TASKS:
        raise TrainingError(
            f"found task {name!r}, expected one of {', '.join(TASKS)}: choose one of these"
        )
    return TASKS[name]


@dataclass(frozen=True)
class Drop:
    """One patient left out, and why."""

    patient: str
    reason: str


@dataclass(frozen=True)
class Material:
    """Tables and bags of a cohort as read: no patient dropped silently, no fold made yet."""

    name: str
    task: Task
    patients: pd.DataFrame
    """Index patient id, unique; time_months, event (0/1), age, site, label (class or NaN); where
    already known also fold_official and fold_site (0-4 or NaN)."""
    genes: pd.DataFrame
    """Index patient id (some patients may be absent); gene columns by suffix."""
    slides: pd.DataFrame
    """patient, slide, file, maybe coarse (the file of the second magnification); one row per slide
    that has features."""
    bags: dict[str, Bag]
    """Slide id -> float32 [n, D]."""
    signatures: Signatures = field(default_factory=dict)
    dropped: tuple[Drop, ...] = ()
    notes: tuple[str, ...] = ()
    """Counted findings that drop nobody."""
    privileged: Blocks = field(default_factory=dict)
    """Name -> table of what only a teacher may see; patients may be absent."""
    second: SecondGrid | None = None
    """The second magnification, by slide."""


@dataclass(frozen=True)
class Cohort:
    """P patients, everyone with features, in the order of their id."""

    name: str
    task: Task
    digest: str
    """sha256 over patients, genes, slides and features; the same wherever the files lie."""
    patients: pd.DataFrame
    """Index patient id; time_months, event (0/1), age (NaN unknown), site, label (int; 0 for
    survival), fold_official and fold_site (0-4; fold_site -1 with fewer than 5 sites), has_genes.
    For a label task time_months may be NaN (event 0)."""
    genes: pd.DataFrame
    """Same index, float32; NaN where unknown (a whole row without has_genes)."""
    bags: dict[str, Bag]
    """Patient -> float32 [N, D], slides one after the other in the order of their id."""
    slides: pd.DataFrame
    """patient, slide, file, instances; with a second magnification coarse, coarse_instances."""
    dropped: tuple[Drop, ...]
    signatures: Signatures = field(default_factory=dict)
    """Functional group -> genes, for `fit_genes`; empty where none were given."""
    notes: tuple[str, ...] = ()
    """Counted findings that dropped nobody."""
    privileged: Blocks = field(default_factory=dict)
    """Name -> float32 table of what only a teacher may see, same index; NaN where unknown."""
    second: SecondGrid | None = None
    """The second magnification, by patient."""
    beside: Cohort | None = None
    """Patients outside the folds who may join any training part; they are never scored."""

    @property
    def width(self) -> int:
        """D, the width of the features."""
        return int(next(iter(self.bags.values())).shape[1])

    def folds(self, kind: str) -> pd.Series[int]:
        """Fold 0-4 by patient for kind "official" or "site"; TrainingError where there are none."""
        if kind not in ("official", "site"):
            raise TrainingError(f"found folds {kind!r}, expected official or site: choose one")
        folds: pd.Series[int] = self.patients[f"fold_{kind}"]
        if (folds == NO_FOLD).any():
            raise TrainingError(
                f"found {self.patients['site'].nunique()} sites in {self.name}, expected at least "
                "5 for site folds: use the official folds"
            )
        return folds
