"""Simulated slides with simulated outcomes. No patient's outcome is used anywhere.

A simulated slide is a bag of tiles of one source under one stain. Its hazard of death depends, by
the formula in `Cohort`, on its share of tumor and of lymphoid cells. The aggregator therefore
learns a formula that was written down, and nothing about a disease.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TIMES_MONTHS = (12.0, 24.0, 36.0, 60.0)
HAZARD = (
    "hazard per month = ln(2)/60 * exp(3.0 * (tumor share - 0.5) - 2.0 * (lymphoid share - 0.1)); "
    "uniform censoring between 12 and 120 months"
)
_TUMOR, _LYMPHOID = 3.0, 2.0
_MEDIAN_MONTHS = 60.0
_FEWEST, _MOST = 4, 256


@dataclass(frozen=True)
class Library:
    """Encoded tiles of one source: the same T tiles under V stains."""

    source: str
    features: Floats
    """[V, T, D]; the first stain is the original one."""
    fraction: Floats
    """[T] share of tumor."""
    lymphoid: Floats
    """[T] share of lymphoid cells."""


@dataclass(frozen=True)
class Cohort:
    """B simulated slides: features padded with zeros to the longest, and drawn outcomes."""

    features: Floats
    """[B, N, D]."""
    tiles: NDArray[np.int64]
    """[B] number of tiles."""
    tumor: Floats
    """[B] mean share of tumor."""
    lymphoid: Floats
    months: Floats
    """[B] months to death or to the last visit."""
    event: Floats
    """[B] 1 death, 0 censored."""

    def log_hazard(self) -> Floats:
        """[B] the exponent of the formula that drew the outcomes."""
        return _TUMOR * (self.tumor - 0.5) - _LYMPHOID * (self.lymphoid - 0.1)

    def means(self) -> Floats:
        """[B, D] mean feature of each slide."""
        means: Floats = self.features.sum(axis=1) / self.tiles[:, None].astype(np.float32)
        return means


def cohort(libraries: list[Library], count: int, seed: int) -> Cohort:
    """`count` slides, an equal number of each source, with outcomes by the formula."""
    rng = np.random.default_rng(seed)
    features = np.zeros((count, _MOST, libraries[0].features.shape[-1]), np.float32)
    tiles, tumor, lymphoid = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    for at in range(count):
        library = libraries[at % len(libraries)]
        stain = rng.integers(len(library.features))
        members = _members(library, rng)
        features[at, : len(members)] = library.features[stain, members]
        tiles[at] = len(members)
        tumor[at] = library.fraction[members].mean()
        lymphoid[at] = library.lymphoid[members].mean()
    drawn = Cohort(
        features,
        tiles,
        tumor.astype(np.float32),
        lymphoid.astype(np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.float32),
    )
    rate = np.log(2) / _MEDIAN_MONTHS * np.exp(drawn.log_hazard())
    death, visit = rng.exponential(1 / rate), rng.uniform(12, 120, count)
    return Cohort(
        drawn.features,
        drawn.tiles,
        drawn.tumor,
        drawn.lymphoid,
        np.minimum(death, visit).astype(np.float32),
        (death <= visit).astype(np.float32),
    )


def _members(library: Library, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one slide's tiles: 4 to 256, leaning to more or less tumor and lymphoid cells."""
    count = round(_FEWEST * (_MOST / _FEWEST) ** rng.random())
    lean: Floats = rng.uniform(-6, 6) * library.fraction + rng.uniform(-4, 4) * library.lymphoid
    weight = np.exp(lean - lean.max())
    members: NDArray[np.int64] = rng.choice(len(weight), count, p=weight / weight.sum())
    return members
