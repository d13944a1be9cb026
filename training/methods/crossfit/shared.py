"""Ridges shared by several cohorts: common weights plus a cohort's own, each with its penalty.

    cohort c answers  z (w + w_c)        z [P, D] centered, P its patients
    minimized         sum_c f_c(w + w_c) + strengths on |w|^2 / 2 and |w_c|^2 / 2

f_c is the negative log partial likelihood within the cohort (Cox with one baseline hazard per
cohort, Breslow ties) or half the squared error. What is common is learned from everybody; what one
cohort has of its own costs it the second penalty. Solved by Newton steps whose blocks are
eliminated cohort by cohort, so a step costs one system of D unknowns per cohort, not one of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.learning.fitted import Floats

STEPS = 50
SMALL = 1e-8
"""A step that lowers the sum by less than this share of it is the last."""


class Penalty(NamedTuple):
    """Per death (Cox) or per patient (squares) of whom they hold: all cohorts, or the one."""

    shared: float
    own: float


class Followed(NamedTuple):
    """Patients of one cohort with an outcome."""

    z: Floats
    """[P, D]."""
    time: Floats
    event: NDArray[np.bool_]


class Aimed(NamedTuple):
    """Patients of one cohort with a target."""

    z: Floats
    target: Floats
    """[P]."""


class Terms(NamedTuple):
    """Value, gradient [D] and Hessian [D, D] of one cohort at its weights."""

    value: float
    gradient: Floats
    hessian: Floats


class Weights(NamedTuple):
    """What was found."""

    common: Floats
    """[D]."""
    own: Floats
    """[C, D]; a cohort's weights are `common + own[c]`."""

    def of(self, cohort: int) -> Floats:
        """[D] weights of one cohort."""
        return np.asarray(self.common + self.own[cohort])


def shared_cox(
    cohorts: Sequence[Followed], penalty: Penalty, start: Weights | None = None
) -> Weights:
    """Cox weights of C cohorts; raises TrainingError for a cohort without a death."""
    for at, cohort in enumerate(cohorts):
        if not cohort.event.any():
            raise TrainingError(
                f"found no death among the {len(cohort.time)} patients of cohort {at + 1}, "
                "expected one at least in each; leave the cohort out"
            )
    sorted_ = [_by_time(cohort) for cohort in cohorts]
    deaths = [int(cohort.event.sum()) for cohort in cohorts]
    return _newton([_cox_terms(one) for one in sorted_], deaths, cohorts[0].z.shape[1], penalty,
                   start)  # fmt: skip


def shared_ridge(cohorts: Sequence[Aimed], penalty: Penalty) -> Weights:
    """Weights of C cohorts for squared error; z and targets are centered within each cohort."""
    sizes = [len(cohort.target) for cohort in cohorts]
    return _newton([_square_terms(one) for one in cohorts], sizes, cohorts[0].z.shape[1], penalty,
                   None)  # fmt: skip


def partial_likelihood(risk: Floats, time: Floats, event: NDArray[np.bool_]) -> float:
    """Negative log partial likelihood per death of log hazards [P], Breslow's form for ties."""
    cohort = _by_time(Followed(risk[:, None], time, event))
    return _cox_terms(cohort)(np.ones(1)).value / max(int(event.sum()), 1)


Form = Callable[[Floats], Terms]


def _newton(
    forms: Sequence[Form], sizes: Sequence[int], width: int, penalty: Penalty, start: Weights | None
) -> Weights:
    """Newton's method with halved steps; the sum is convex, so what it ends at is the minimum."""
    shared, own = penalty.shared * sum(sizes), penalty.own * np.array(sizes, dtype=float)
    at = start or Weights(np.zeros(width), np.zeros((len(forms), width)))

    def look(weights: Weights) -> tuple[float, list[Terms]]:
        terms = [form(weights.of(c)) for c, form in enumerate(forms)]
        pull = shared * weights.common @ weights.common / 2
        pull += float(own @ np.square(weights.own).sum(axis=1)) / 2
        return sum(one.value for one in terms) + float(pull), terms

    value, terms = look(at)
    for _ in range(STEPS):
        step = _step(at, terms, shared, own)
        size = 1.0
        while True:
            tried = Weights(at.common + size * step.common, at.own + size * step.own)
            found, new_terms = look(tried)
            if found <= value or size < 1e-6:
                break
            size /= 2
        if found > value:
            break
        gained, at, terms = value - found, tried, new_terms
        value = found
        if gained <= SMALL * max(abs(value), 1.0):
            break
    return at


def _step(at: Weights, terms: Sequence[Terms], shared: float, own: Floats) -> Weights:
    """The Newton step: every cohort's own part eliminated, then the common one, then back."""
    width = len(at.common)
    unit = np.eye(width)
    left = shared * unit
    right = -shared * at.common
    kept = []
    for c, one in enumerate(terms):
        pulled = one.gradient + own[c] * at.own[c]
        both = np.column_stack([one.hessian, pulled])
        solved = np.linalg.solve(one.hessian + own[c] * unit, both)
        inner, back = solved[:, :-1], solved[:, -1]
        left = left + own[c] * inner
        right = right - one.gradient + one.hessian @ back
        kept.append((inner, back))
    common: Floats = np.asarray(np.linalg.solve(left, right), np.float64)
    return Weights(common, np.stack([-(back + inner @ common) for inner, back in kept]))


def _by_time(cohort: Followed) -> Followed:
    """The longest watched first: a risk set is a beginning of the rows."""
    order = np.argsort(-cohort.time, kind="stable")
    return Followed(cohort.z[order], cohort.time[order], cohort.event[order])


def _cox_terms(cohort: Followed) -> Form:
    """Breslow's negative log partial likelihood of rows sorted by falling time."""
    z, time, event = cohort
    died = np.flatnonzero(event)
    # Of those who share a time, the last row closes the risk set of all of them.
    last = np.searchsorted(-time, -time[died], side="right") - 1
    met = z[died].sum(axis=0)

    def terms(weights: Floats) -> Terms:
        risk = z @ weights
        top = risk.max()
        hazard = np.exp(risk - top)
        total = np.cumsum(hazard)[last]
        mean = np.cumsum(hazard[:, None] * z, axis=0)[last] / total[:, None]
        value = float(np.log(total).sum() + len(died) * top - risk[died].sum())
        ends = np.bincount(last, weights=1 / total, minlength=len(z))
        share = hazard * np.cumsum(ends[::-1])[::-1]
        return Terms(value, mean.sum(axis=0) - met, (z * share[:, None]).T @ z - mean.T @ mean)

    return terms


def _square_terms(cohort: Aimed) -> Form:
    z = cohort.z - cohort.z.mean(axis=0)
    target = cohort.target - cohort.target.mean()
    square, product, rest = z.T @ z, z.T @ target, float(target @ target) / 2

    def terms(weights: Floats) -> Terms:
        seen = square @ weights
        return Terms(rest - float(product @ weights) + float(weights @ seen) / 2,
                     seen - product, square)  # fmt: skip

    return terms
