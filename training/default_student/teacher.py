"""The teacher of the tile encoder: it sees the expression of the spot, or that and the tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.errors import TrainingError

Floats = NDArray[np.float64]
STRENGTH = 0.003
"""Inverse penalty of the logistic regression: about 130 columns, 730 spots."""


@dataclass(frozen=True)
class Taught:
    """Logits of tumor of T spots."""

    out_of_fold: Floats
    """[T] of the training spots by a teacher that saw no spot of their section; NaN elsewhere."""
    elsewhere: Floats
    """[T] of all spots by the teacher of all training spots."""


def cross_fitted(
    seen: NDArray[np.floating],
    tumor: NDArray[np.floating],
    section: NDArray[np.str_],
    training: NDArray[np.bool_],
) -> Taught:
    """Soft targets for the training spots, each from a teacher fitted on the other sections.

    `seen` [T, G] is what the teacher sees, `tumor` [T] in 0..1 its weak labels. A teacher's answers
    for its own training spots are over-fitted and hurt the student, hence out of fold.
    Raises TrainingError for fewer than two training sections.
    """
    names = np.unique(section[training])
    if len(names) < 2:
        raise TrainingError(
            f"found {len(names)} training section, expected at least 2 to cross-fit a teacher: "
            "leave one section out less"
        )
    out_of_fold = np.full(len(tumor), np.nan)
    for name in names:
        held = training & (section == name)
        fitting = training & (section != name)
        out_of_fold[held] = _fit(seen[fitting], tumor[fitting]).decision_function(seen[held])
    return Taught(out_of_fold, _fit(seen[training], tumor[training]).decision_function(seen))


def _fit(seen: NDArray[np.floating], tumor: NDArray[np.floating]) -> LogisticRegression:
    """Logistic regression on soft labels: each spot counts as tumor and as not, by its label."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
    rows = np.concatenate([seen, seen])
    label = np.repeat([1, 0], len(seen))
    weight = np.concatenate([tumor, 1 - tumor])
    return model.fit(rows, label, logisticregression__sample_weight=weight)
