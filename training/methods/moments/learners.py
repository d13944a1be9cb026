"""What `moments` and `pooled` fit in closed form: labels, and what genes say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from training.errors import TrainingError
from training.learning.bags import Patients
from training.learning.calibrate import CalibratedClasses, Calibration, calibrated, calibrated_score
from training.learning.fitted import Floats, Score
from training.learning.split import Split
from training.methods.moments.network import MomentsStudent, moments

FOLDS = 5
"""Parts of the cross-fitted targets."""
SMALLEST = 1e-4
"""Probability below which log odds say no more."""


@dataclass(frozen=True)
class Targets:
    """Log odds [R, K] that a teacher gives to the patients at `rows` [R], out of fold."""

    rows: NDArray[np.int64]
    log_odds: Floats


def linear_map(
    patients: Patients,
    labels_c: float,
    *,
    cap: float | None = None,
    targets: Targets | None = None,
    ridge: float = 1.0,
) -> MomentsStudent:
    """Logistic regression on the patients' labels, plus a ridge to `targets`: log odds summed."""
    table = moments(patients)
    scaler = StandardScaler().fit(table)
    z = scaler.transform(table)
    if cap is not None:
        z = np.clip(z, -cap, cap)
    weights, bias = _centered(classifier(labels_c).fit(z, patients.label.numpy()))
    if targets is not None:
        shown = Ridge(alpha=ridge).fit(z[targets.rows], targets.log_odds)
        weights, bias = weights + shown.coef_.T, bias + shown.intercept_
    student = MomentsStudent(scaler.mean_, scaler.scale_, weights, bias, cap)
    student.eval()
    return student


def classifier(c: float) -> LogisticRegression:
    """Every class counts as much as any other."""
    return LogisticRegression(C=c, max_iter=2000, class_weight="balanced")


def _centered(model: LogisticRegression) -> tuple[Floats, Floats]:
    """Weights [C, K] and bias [K] whose sum over the classes is 0."""
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return (weights - weights.mean(axis=0)).T, bias - bias.mean()


def log_odds(probability: Floats) -> Floats:
    """Centered log probabilities [P, K]."""
    logs = np.log(np.maximum(probability, SMALLEST))
    found: Floats = logs - logs.mean(axis=1, keepdims=True)
    return found


def out_of_fold(table: Floats, label: NDArray[np.int64], c: float, seed: int) -> Floats:
    """[R, K] log odds by models that did not see the patient.

    Raises TrainingError where a class has fewer patients than there are parts.
    """
    counts = np.bincount(label)
    if counts.min() < FOLDS:
        raise TrainingError(
            f"found {counts.min()} patients with genes in one class, expected at least {FOLDS} to "
            "cross-fit a teacher; use pooled, which needs no genes"
        )
    found = np.zeros((len(label), len(counts)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for rest, held in folds.split(table, label):
        model = classifier(c).fit(table[rest], label[rest])
        found[held] = log_odds(model.predict_proba(table[held]))
    return found


def require_classes(split: Split, method: str) -> None:
    """TrainingError for survival, and where a class is absent from a training part."""
    if split.task.kind != "classification":
        raise TrainingError(
            f"method {method}: found task {split.task.name}, expected one of classes (er, pr, "
            "her2, diagnosis, grading); use crossfit for survival"
        )
    for name, part in (("training", split.train), ("validation", split.valid)):
        absent = set(range(len(split.task.classes))) - set(part.label.tolist())
        if absent:
            raise TrainingError(
                f"cohort {split.cohort}: found no {split.task.classes[min(absent)]} among the "
                f"{len(part)} patients of inner {name}, expected every class; give more patients"
            )


def scored(split: Split, last: MomentsStudent, inner: MomentsStudent) -> Score:
    """The outer fold by `last`, calibrated on what `inner` says of patients it did not see."""
    return calibrated_score(
        split.task, last.each(split.test.bags), inner.each(split.valid.bags), split.valid
    )


def exported(
    split: Split, make: Callable[[Patients], MomentsStudent]
) -> tuple[CalibratedClasses, Calibration, Score]:
    """The student of everybody outside the fold, calibrated, and what it says of the fold.

    `make` fits patients. The scale and shift are those of a student that did not see the inner
    validation patients, on whom they are fitted.
    """
    inner, last = make(split.train), make(split.everyone)
    wrapped, change = calibrated(inner, split.valid, "classification")
    assert isinstance(wrapped, CalibratedClasses)
    wrapped.student = last
    return wrapped.eval(), change, scored(split, last, inner)
