"""Scores of how far a bag of tiles is from the reference: the higher, the more foreign.

Letters: N tiles of a bag, T tiles of the reference, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.covariance import LedoitWolf

Floats = NDArray[np.float64]
NEIGHBOR = 5
"""The distance of a tile is that to its fifth neighbor: one odd training tile decides nothing."""
_OWN = 95
"""Percentile of the reference tiles' own distances beyond which a tile counts as far."""
_SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class Bag:
    """A source as the student sees it."""

    features: Floats
    """[N, D]"""
    attention: Floats | None
    """[N], sums to 1; None where the student has none."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A bag beside a reference."""

    scaled: Floats
    """[N, D] features, standardized by the reference tiles."""
    distances: Floats
    """[N] distance to the reference tiles, in units of what is usual at most (`own`)."""
    precision: Floats
    """[D, D] of the reference tiles."""
    attention: Floats | None

    def part(self, rows: NDArray[np.intp]) -> Seen:
        """Some of its tiles, the attention shared among them."""
        kept = None if self.attention is None else self.attention[rows]
        if kept is not None:
            kept = kept / max(kept.sum(), _SMALLEST)
        return Seen(self.scaled[rows], self.distances[rows], self.precision, kept)


class Reference:
    """What the reference bags have in common."""

    def __init__(self, bags: Sequence[Bag]) -> None:
        tiles = np.concatenate([bag.features for bag in bags])
        self._center = tiles.mean(axis=0)
        self._spread = np.maximum(tiles.std(axis=0), _SMALLEST)
        self._precision = LedoitWolf().fit((tiles - self._center) / self._spread).precision_
        scaled = (tiles - self._center) / self._spread
        self._neighbors = cKDTree(scaled)
        owners = np.repeat(np.arange(len(bags)), [len(bag.features) for bag in bags])
        self.own = max(float(np.percentile(self._own_distances(scaled, owners), _OWN)), _SMALLEST)
        """Distance of reference tiles to tiles of other bags, 95th percentile."""

    def _own_distances(self, scaled: Floats, owners: NDArray[np.intp]) -> Floats:
        """[T] distance of every tile to the fifth of the other bags (of all, if there is one)."""
        if len(set(owners.tolist())) == 1:
            return _distances(self._neighbors, scaled, NEIGHBOR + 1)
        parts = []
        for owner in range(int(owners.max()) + 1):
            others = cKDTree(scaled[owners != owner])
            parts.append(_distances(others, scaled[owners == owner], NEIGHBOR))
        return np.concatenate(parts)

    def seen(self, bag: Bag) -> Seen:
        """The bag beside this reference."""
        scaled = (bag.features - self._center) / self._spread
        distances = _distances(self._neighbors, scaled, NEIGHBOR) / self.own
        return Seen(scaled, distances, self._precision, bag.attention)


def _distances(tiles: cKDTree, of: Floats, neighbor: int) -> Floats:
    """Distance of each row to the n-th nearest tile, or to the last of fewer."""
    found: Floats = tiles.query(of, [min(neighbor, tiles.n)])[0][:, 0]
    return found


def pooled(bag: Seen) -> float:
    """Root mean square over D of the standardized mean feature."""
    return _length(bag.scaled.mean(axis=0))


def mahalanobis(bag: Seen) -> float:
    """The same, with the tiles' covariance (shrunk, Ledoit and Wolf 2004)."""
    mean = bag.scaled.mean(axis=0)
    return float(np.sqrt(mean @ bag.precision @ mean / len(mean)))


def attended(bag: Seen) -> float:
    """`pooled`, tiles weighted by the student's attention."""
    if bag.attention is None:
        raise ValueError("found a student without attention, expected one that has it")
    return _length(bag.attention @ bag.scaled)


def far_share(bag: Seen) -> float:
    """Share of tiles farther from the reference tiles than 95 % of these are among bags."""
    return float((bag.distances > 1).mean())


def far(bag: Seen) -> float:
    """Median over tiles of the distance to the reference tiles."""
    return float(np.median(bag.distances))


def _length(offset: Floats) -> float:
    return float(np.sqrt(np.mean(offset**2)))


SCORES: dict[str, Callable[[Seen], float]] = {
    "pooled, diagonal": pooled,
    "pooled, shrunk Mahalanobis": mahalanobis,
    "pooled by attention, diagonal": attended,
    "share of far tiles (k-NN)": far_share,
    "median distance of tiles (k-NN)": far,
}
NEEDS_ATTENTION = "pooled by attention, diagonal"


def shares(attention: Floats) -> Floats:
    """Weights that sum to 1 from a student's attention [N].

    Some students give them as they are, exported ones as w / (1 + w) of w, the multiple of the
    uniform weight.
    """
    if abs(attention.sum() - 1) > 1e-3:
        attention = attention / np.maximum(1 - attention, _SMALLEST)
    found: Floats = attention / max(attention.sum(), _SMALLEST)
    return found
