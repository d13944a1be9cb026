"""Simulated slides: bags of tiles, so that a slide can be compared with what was trained on.

A simulated slide is a bag of tiles of one section (or of the lung tiles, or of the drawn ones)
under one stain. It has no patient and no outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

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
    """B simulated slides: features padded with zeros to the longest."""

    features: Floats
    """[B, N, D]."""
    tiles: NDArray[np.int64]
    """[B] number of tiles."""
    unit: NDArray[np.str_]
    """[B] the library the tiles are from."""

    def means(self) -> Floats:
        """[B, D] mean feature of each slide."""
        means: Floats = self.features.sum(axis=1) / self.tiles[:, None].astype(np.float32)
        return means


def cohort(sources: list[list[Library]], count: int, seed: int) -> Cohort:
    """`count` slides, equally many of each source.

    A source is a list of libraries (sections); each of its slides is made of one of them.
    """
    rng = np.random.default_rng(seed)
    width = sources[0][0].features.shape[-1]
    drawn = Cohort(
        features=np.zeros((count, _MOST, width), np.float32),
        tiles=np.zeros(count, np.int64),
        unit=np.empty(count, dtype="U16"),
    )
    for at in range(count):
        source = sources[at % len(sources)]
        library = source[rng.integers(len(source))]
        stain = rng.integers(len(library.features))
        members = _members(library, rng)
        drawn.features[at, : len(members)] = library.features[stain, members]
        drawn.tiles[at] = len(members)
        drawn.unit[at] = library.unit
    return drawn


def _members(library: Library, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of one slide's tiles: 4 to 256, leaning to more or less of what the hazard is of."""
    count = round(_FEWEST * (_MOST / _FEWEST) ** rng.random())
    lean: Floats = rng.uniform(-6, 6) * library.fraction + rng.uniform(-4, 4) * library.lymphoid
    tilt = rng.uniform(-1, 1, library.programs.shape[1])
    share = np.log1p(library.programs / library.total[:, None] * 1e4)
    lean = lean + np.nan_to_num(share - share.mean(axis=0)) @ tilt
    weight = np.exp(lean - lean.max())
    members: NDArray[np.int64] = rng.choice(len(weight), count, p=weight / weight.sum())
    return members
