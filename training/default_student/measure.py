"""Figures with their 95 % bootstrap intervals; groups, not tiles, are drawn again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

Floats = NDArray[np.float64]
Figure = Callable[..., float]
"""From columns [N] to a number."""
REPEATS = 1000


def auc(truth: Floats, score: Floats) -> float:
    """Area under the ROC curve; NaN where only one class is there."""
    positive = truth > 0.5
    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, score))


def accuracy(truth: Floats, score: Floats) -> float:
    """Share of tiles on the right side of a probability of 0.5."""
    return float(np.mean((score > 0.5) == (truth > 0.5)))


def share(right: Floats) -> float:
    """Share of ones among zeros."""
    return float(np.mean(right))


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(first, second).statistic)


def calibration(truth: Floats, score: Floats) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of `truth` [N] on the logit of `score` [N].

    1 and 0 are perfect. An intercept below 0 says that a score of 0.5 is too high, and at a slope
    of 1 that all are.
    """
    near = score.clip(1e-6, 1 - 1e-6)
    logit = np.log(near / (1 - near))[:, None]
    fitted = LogisticRegression(C=1e6).fit(logit, truth > 0.5)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def interval(
    figure: Figure, groups: NDArray[np.str_], *columns: Floats, seed: int = 0
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
