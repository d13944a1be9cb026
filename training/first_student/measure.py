"""Figures with their 95 % bootstrap intervals; groups, not tiles, are drawn again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REPEATS = 1000


def auc(truth: Floats, score: Floats) -> float:
    """Area under the ROC curve: the chance that a positive scores higher, ties count half."""
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    values, start = np.unique(score[order], return_index=True)
    ends = np.append(start[1:], len(score))
    for first, last in zip(start, ends, strict=True):
        ranks[order[first:last]] = (first + last + 1) / 2
    positives = truth > 0.5
    count = positives.sum()
    if len(values) == 0 or count in (0, len(truth)):
        return float("nan")
    return float(
        (ranks[positives].sum() - count * (count + 1) / 2) / (count * (len(truth) - count))
    )


def accuracy(truth: Floats, score: Floats) -> float:
    """Share of tiles on the right side of a probability of 0.5."""
    return float(np.mean((score > 0.5) == (truth > 0.5)))


def correlation(first: Floats, second: Floats) -> float:
    """Spearman rank correlation."""
    ranks = np.array([np.argsort(np.argsort(values)) for values in (first, second)])
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def concordance(risk: Floats, months: Floats, event: Floats) -> float:
    """Harrell's C: of pairs whose order is known, the share where the earlier death risks more."""
    known = (event[:, None] > 0.5) & (months[:, None] < months[None, :])
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float(right[known].mean())


def interval(
    figure: Callable[..., float], groups: NDArray[np.str_], *columns: Floats, seed: int = 0
) -> tuple[float, float, float]:
    """The figure on all rows, and its 2.5th and 97.5th percentile over redrawn groups.

    Raises ValueError when more than half of the redraws leave the figure undefined.
    """
    rng = np.random.default_rng(seed)
    names, which = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(which == at) for at in range(len(names))]
    values = []
    for _ in range(REPEATS):
        rows = np.concatenate([members[at] for at in rng.integers(0, len(names), len(names))])
        values.append(figure(*(column[rows] for column in columns)))
    if np.isnan(values).mean() > 0.5:
        raise ValueError(f"{len(names)} groups are too few for an interval")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return figure(*columns), float(low), float(high)
