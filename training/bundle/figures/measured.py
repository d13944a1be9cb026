"""On how much a figure stands: the units that were finished, not those that the run declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training.learning.split import FOLDS
from training.runs.sites import Sites
from training.scoring.resample import Interval
from training.scoring.runs import Unit


@dataclass(frozen=True)
class Measured:
    """Whom a figure was measured on, and by how many students."""

    patients: int
    folds: int
    """Of five; a run of `--fold 0` has one."""
    fewest_seeds: int
    most_seeds: int
    """Students of a fold; a run may have more of one fold than of another."""

    @classmethod
    def of(cls, units: Sequence[Unit]) -> Measured:
        """Of finished units, one or more. The seeds of a fold score the same patients."""
        seeds = Counter(unit.fold for unit in units)
        sizes = {unit.fold: len(unit.patients) for unit in units}
        return cls(sum(sizes.values()), len(sizes), min(seeds.values()), max(seeds.values()))

    @property
    def of_folds(self) -> str:
        """A remark behind the word "folds" where not all were measured; else empty."""
        return "" if self.folds == FOLDS else f" ({self.folds} of {FOLDS} were measured)"

    @property
    def told(self) -> str:
        """Patients, folds and seeds, a clause of a card."""
        folds = f"all {FOLDS} folds" if self.folds == FOLDS else f"{self.folds} of {FOLDS} folds"
        return f"{self.patients} patients, {folds}, {self._seeds}"

    @property
    def _seeds(self) -> str:
        if self.most_seeds == 1:
            return "one seed"
        if self.fewest_seeds == self.most_seeds:
            return f"mean of {self.most_seeds} seeds"
        return f"mean of {self.fewest_seeds} to {self.most_seeds} seeds a fold"


@dataclass(frozen=True)
class Scored:
    """What the students of a run score on its kind of folds."""

    kind: str
    """"official" or "site"."""
    figure: Interval
    """C-index or AUC, mean over folds."""
    measured: Measured
    sites: Sites
