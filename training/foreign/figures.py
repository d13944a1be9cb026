"""The figures of a score: AUROC, false alarms and hits over sources, with 95 % intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from engines.manifest.foreign import ForeignSlidesTold

Floats = NDArray[np.float64]
REPEATS = 2000


@dataclass(frozen=True)
class Area:
    """AUROC with its percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Count:
    """Some of all sources, with the interval of Clopper and Pearson (1934) of their share."""

    some: int
    all: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.some} of {self.all} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Figures:
    """What a score is worth."""

    auroc: Area
    false_alarms: Count
    hits: Count

    @property
    def measured(self) -> ForeignSlidesTold:
        """In the words of the manifest."""
        return ForeignSlidesTold(
            auroc=round(self.auroc.value, 4),
            false_alarms=self.false_alarms.some,
            ordinary_count=self.false_alarms.all,
            hits=self.hits.some,
            foreign_count=self.hits.all,
        )

    def content(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "meets_the_bar": self.measured.is_enough}


def figures(ordinary: Floats, foreign: Floats, seed: int = 0) -> Figures:
    """Of scores over their limits, one a source: above 1 a source is flagged."""
    return Figures(area(ordinary, foreign, seed), flagged(ordinary), flagged(foreign))


def area(ordinary: Floats, foreign: Floats, seed: int = 0) -> Area:
    """Sources are drawn again within each kind, so that both are in every draw.

    A score that parts all sources has the interval 1 to 1: few sources can do no better, and their
    number, not the interval, says so.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        _auroc(rng.choice(ordinary, len(ordinary)), rng.choice(foreign, len(foreign)))
        for _ in range(REPEATS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Area(_auroc(ordinary, foreign), float(low), float(high))


def flagged(scores: Floats) -> Count:
    """How many are above 1."""
    some, count = int((scores > 1).sum()), len(scores)
    low = float(beta.ppf(0.025, some, count - some + 1)) if some else 0.0
    high = float(beta.ppf(0.975, some + 1, count - some)) if some < count else 1.0
    return Count(some, count, low, high)


def _auroc(ordinary: Floats, foreign: Floats) -> float:
    above = (foreign[:, None] > ordinary) + 0.5 * (foreign[:, None] == ordinary)
    return float(above.mean())
