"""Simulated slides with simulated outcomes. No patient's outcome is used anywhere.

A simulated slide is a bag of tiles of one section (or of the lung tiles, or of the drawn ones)
under one stain. Where the tiles are breast spots, the real expression of the same spots is summed
to the pseudo-bulk of the bag. Its hazard of death depends, by the formula in `HAZARD`, on its
share of tumor and of lymphoid cells and on that pseudo-bulk. The aggregator therefore learns a
formula that was written down, and nothing about a disease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.default_student.expression import PROGRAMS

Floats = NDArray[np.float32]

TIMES_MONTHS = (12.0, 24.0, 36.0, 60.0)
HAZARD = (
    "hazard per month = ln(2)/60 * exp(3.0 * (tumor share - 0.5) - 2.0 * (lymphoid share - 0.1) "
    "+ 4.0 * HER2 amplicon - 1.5 * immune); the last two are logarithms of the pseudo-bulk "
    "expression of the program in the bag over that in its whole section, clipped to 0.5 and 1.2 "
    "either way, and 0 where no expression was measured; uniform censoring between 12 and 120 "
    "months"
)
_TUMOR, _LYMPHOID = 3.0, 2.0
_WEIGHTS = {"HER2 amplicon": 4.0, "immune": -1.5}
_BOUNDS = {"HER2 amplicon": 0.5, "immune": 1.2}
_MEDIAN_MONTHS = 60.0
_FEWEST, _MOST = 4, 256


@dataclass(frozen=True)
class Library:
    """Encoded tiles of one section or source: the same T tiles under V stains."""

    unit: str
    """Name of the section, or of the source."""
    features: Floats
    """[V, T, D]; the first stain is the original one."""
    fraction: Floats
    """[T] share of tumor."""
    lymphoid: Floats
    """[T] share of lymphoid cells."""
    programs: Floats
    """[T, 6] counts of the genes of each program; NaN where there is no expression."""
    total: Floats
    """[T] counts of all genes."""


@dataclass(frozen=True)
class Cohort:
    """B simulated slides: features padded with zeros to the longest, and drawn outcomes."""

    features: Floats
    """[B, N, D]."""
    tiles: NDArray[np.int64]
    """[B] number of tiles."""
    unit: NDArray[np.str_]
    """[B] the library the tiles are from."""
    tumor: Floats
    """[B] mean share of tumor."""
    lymphoid: Floats
    bulk: Floats
    """[B, 6] log ratio of each program in the bag to its section; NaN without expression."""
    months: Floats
    """[B] months to death or to the last visit."""
    event: Floats
    """[B] 1 death, 0 censored."""

    @property
    def paired(self) -> NDArray[np.bool_]:
        """[B] slides whose expression is known."""
        known: NDArray[np.bool_] = ~np.isnan(self.bulk[:, 0])
        return known

    def log_hazard(self) -> Floats:
        """[B] the exponent of the formula that drew the outcomes."""
        exponent = _TUMOR * (self.tumor - 0.5) - _LYMPHOID * (self.lymphoid - 0.1)
        for at, name in enumerate(PROGRAMS):
            if name in _WEIGHTS:
                ratio = np.nan_to_num(self.bulk[:, at]).clip(-_BOUNDS[name], _BOUNDS[name])
                exponent = exponent + _WEIGHTS[name] * ratio
        return exponent.astype(np.float32)

    def means(self) -> Floats:
        """[B, D] mean feature of each slide."""
        means: Floats = self.features.sum(axis=1) / self.tiles[:, None].astype(np.float32)
        return means

    def rows(self, kept: NDArray[np.generic]) -> Cohort:
        """The kept slides, by a mask or by positions."""
        return Cohort(**{name: getattr(self, name)[kept] for name in self.__dataclass_fields__})


def cohort(sources: list[list[Library]], count: int, seed: int) -> Cohort:
    """`count` slides, equally many of each source, with outcomes by the formula.

    A source is a list of libraries (sections); each of its slides is made of one of them.
    """
    rng = np.random.default_rng(seed)
    width = sources[0][0].features.shape[-1]
    drawn = Cohort(
        features=np.zeros((count, _MOST, width), np.float32),
        tiles=np.zeros(count, np.int64),
        unit=np.empty(count, dtype="U16"),
        tumor=np.zeros(count, np.float32),
        lymphoid=np.zeros(count, np.float32),
        bulk=np.full((count, len(PROGRAMS)), np.nan, np.float32),
        months=np.zeros(count, np.float32),
        event=np.zeros(count, np.float32),
    )
    for at in range(count):
        source = sources[at % len(sources)]
        library = source[rng.integers(len(source))]
        stain = rng.integers(len(library.features))
        members = _members(library, rng)
        drawn.features[at, : len(members)] = library.features[stain, members]
        drawn.tiles[at] = len(members)
        drawn.unit[at] = library.unit
        drawn.tumor[at] = library.fraction[members].mean()
        drawn.lymphoid[at] = library.lymphoid[members].mean()
        drawn.bulk[at] = log_ratio(library, members)
    return with_outcomes(drawn, rng)


def with_outcomes(drawn: Cohort, rng: np.random.Generator) -> Cohort:
    """The slides with times and events drawn by the formula."""
    rate = np.log(2) / _MEDIAN_MONTHS * np.exp(drawn.log_hazard().astype(np.float64))
    death, visit = rng.exponential(1 / rate), rng.uniform(12, 120, len(rate))
    return replace(
        drawn,
        months=np.minimum(death, visit).astype(np.float32),
        event=(death <= visit).astype(np.float32),
    )


def log_ratio(library: Library, members: NDArray[np.int64]) -> Floats:
    """[6] logarithm of each program's share of all counts in the bag over that in the section.

    One count is added to each sum: programs can be absent from small bags.
    """
    bag = (library.programs[members].sum(axis=0) + 1) / library.total[members].sum()
    section = (library.programs.sum(axis=0) + 1) / library.total.sum()
    ratio: Floats = np.log(bag / section).astype(np.float32)
    return ratio


def _members(library: Library, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one slide's tiles: 4 to 256, leaning to more or less of what the hazard is of."""
    count = round(_FEWEST * (_MOST / _FEWEST) ** rng.random())
    lean: Floats = rng.uniform(-6, 6) * library.fraction + rng.uniform(-4, 4) * library.lymphoid
    tilt = rng.uniform(-1, 1, library.programs.shape[1])
    share = np.log1p(library.programs / library.total[:, None] * 1e4)
    # Programs lean apart from tumor and from each other, or the bags could not tell them apart.
    lean = lean + np.nan_to_num(share - share.mean(axis=0)) @ tilt
    weight = np.exp(lean - lean.max())
    members: NDArray[np.int64] = rng.choice(len(weight), count, p=weight / weight.sum())
    return members
