"""Kaplan-Meier curves of risk groups and calibration: does what was predicted happen?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from training.scoring.metrics import Flags, Floats, Ints, Outcome

BINS = 10
"""Equal-width bins of the expected calibration error."""
RISK_GROUPS = 5
"""Groups of equal size, by predicted survival, of the calibration at one time."""
MONTHS_AT_RISK = 5
"""Columns of the number-at-risk table, about."""
YEARS_STEPS = (6.0, 12.0, 24.0, 36.0, 60.0, 120.0)
"""Months between them."""


@dataclass(frozen=True)
class Curve:
    """Kaplan-Meier estimate with a log-log 95 % interval, and the patients still at risk."""

    months: tuple[float, ...]
    survival: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    patients: int
    events: int
    at_months: tuple[float, ...]
    at_risk: tuple[int, ...]


@dataclass(frozen=True)
class RiskGroups:
    """Survival of the lower and the higher half by risk, and the log-rank test between them."""

    low: Curve
    high: Curve
    logrank_p: float


@dataclass(frozen=True)
class Point:
    """One group of a calibration plot: mean prediction, observation and its 95 % interval."""

    patients: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Points of the plot and the mean absolute distance between them, weighted by patients."""

    points: tuple[Point, ...]
    error: float
    months: float | None = None
    """Time of the survival that is compared; None for classes."""


def upper_half(risk: Floats) -> Flags:
    """Whether a patient's risk is above the median of these patients; ties count as low."""
    return np.asarray(risk > np.median(risk))


def risk_groups(outcome: Outcome, high: Flags) -> RiskGroups | None:
    """Curves of the two groups; None when one of them is empty, as with a constant risk."""
    if high.all() or not high.any():
        return None
    _, p_value = compare_survival(Surv.from_arrays(outcome.event, outcome.time), high)
    ends = _round_months(float(outcome.time.max()))
    return RiskGroups(
        low=curve(outcome.rows(~high), ends),
        high=curve(outcome.rows(high), ends),
        logrank_p=float(p_value),
    )


def curve(outcome: Outcome, at_months: tuple[float, ...]) -> Curve:
    """Kaplan-Meier curve, starting with 1 at month 0."""
    months, survival, (low, high) = _estimate(outcome)
    return Curve(
        months=(0.0, *(float(at) for at in months)),
        survival=(1.0, *(float(at) for at in survival)),
        low=(1.0, *(float(at) for at in low)),
        high=(1.0, *(float(at) for at in high)),
        patients=len(outcome),
        events=int(outcome.event.sum()),
        at_months=at_months,
        at_risk=tuple(int((outcome.time >= at).sum()) for at in at_months),
    )


def survival_calibration(
    outcome: Outcome, predicted: Floats, months: float, groups: int = RISK_GROUPS
) -> Calibration:
    """Predicted survival [P] at `months` against Kaplan-Meier, in groups of equal size.

    A group whose last patient is censored before `months` has no observation (NaN) and does not
    count in the error.
    """
    parts = np.array_split(np.argsort(predicted, kind="stable"), groups)
    points = tuple(
        _observed(outcome.rows(part), float(predicted[part].mean()), months)
        for part in parts
        if len(part)
    )
    return Calibration(points=points, error=_distance(points), months=months)


def class_calibration(label: Ints, probability: Floats, bins: int = BINS) -> Calibration:
    """Reliability of probability [P, C] in equal-width bins; the error is the usual ECE.

    Two classes: the probability of class 1 against how often it is true. More: the probability of
    the most probable class against how often it is right (top label).
    """
    if probability.shape[1] == 2:
        score, truth = probability[:, 1], label == 1
    else:
        score, truth = probability.max(axis=1), probability.argmax(axis=1) == label
    which = np.minimum((score * bins).astype(np.int64), bins - 1)
    points = tuple(_reliability(score[which == at], truth[which == at]) for at in np.unique(which))
    return Calibration(points=points, error=_distance(points))


def _reliability(score: Floats, truth: Flags) -> Point:
    hits = int(truth.sum())
    interval = binomtest(hits, len(truth)).proportion_ci(method="wilson")
    return Point(
        patients=len(truth),
        predicted=float(score.mean()),
        observed=hits / len(truth),
        low=float(interval.low),
        high=float(interval.high),
    )


def _observed(outcome: Outcome, predicted: float, months: float) -> Point:
    times, survival, (low, high) = _estimate(outcome)
    if times[-1] < months and survival[-1] > 0:
        return Point(len(outcome), predicted, float("nan"), float("nan"), float("nan"))
    at = int(np.searchsorted(times, months, side="right")) - 1
    if at < 0:
        return Point(len(outcome), predicted, 1.0, 1.0, 1.0)
    return Point(len(outcome), predicted, float(survival[at]), float(low[at]), float(high[at]))


def _estimate(outcome: Outcome) -> tuple[Floats, Floats, Any]:
    if not outcome.event.any():  # the log-log interval of a flat curve is undefined
        times = np.unique(outcome.time)
        flat = np.ones(len(times))
        return times, flat, (flat, flat)
    times, survival, interval = kaplan_meier_estimator(
        outcome.event, outcome.time, conf_type="log-log"
    )
    return times, survival, interval


def _distance(points: tuple[Point, ...]) -> float:
    known = [point for point in points if not np.isnan(point.observed)]
    if not known:
        return float("nan")
    far = [abs(point.predicted - point.observed) for point in known]
    return float(np.average(far, weights=[point.patients for point in known]))


def _round_months(last: float) -> tuple[float, ...]:
    """Four to six round times from 0, whole or half years."""
    step = next((step for step in YEARS_STEPS if last / step <= MONTHS_AT_RISK), YEARS_STEPS[-1])
    return tuple(float(at) for at in np.arange(0.0, last, step))
