"""Where a score stands in the cohort that its percentiles were taken from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rank_of(score: float, percentiles: Sequence[float]) -> float:
    """How many of 100 of the cohort have a lower score, in [0, 100]; those of the same are not
    below it. Below 100 unless the score is above all of them.

    `percentiles` [101], ascending: the score at percentiles 0..100 of the cohort.
    """
    # scores of a graph are float32: what is the same there is one value
    table, value = np.asarray(percentiles, np.float32), np.float32(score)
    first = int(np.searchsorted(table, value, side="left"))
    behind = int(np.searchsorted(table, value, side="right"))
    if first == len(table):
        return 100.0
    if behind - first > 1:
        return float(first)
    rank = float(np.interp(score, percentiles, np.arange(101)))
    return min(rank, float(np.nextafter(100.0, 0.0)))
