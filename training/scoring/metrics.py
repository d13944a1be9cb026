"""Figures of merit of risks and class probabilities; scikit-survival and scikit-learn do the work.

Harrell's C needs only the scored patients. Uno's C, the time-dependent AUC and the Brier score are
weighted by the inverse probability of censoring, estimated from the training patients of the fold,
and only answer inside the follow-up: everything later than `horizon` is cut off and said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    recall_score,
    roc_auc_score,
)
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.nonparametric import CensoringDistributionEstimator, kaplan_meier_estimator
from sksurv.util import Surv

from training.errors import TrainingError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TIED_TOLERANCE = 1e-8
"""Risks closer than this are tied; the published tables use the same."""
CENSORING_FLOOR = 0.1
"""Weights 1/G(t) beyond this probability of still being watched would rest on few patients."""
GRID = 50
"""Times at which the Brier score is taken before it is integrated."""
CLASS_FIGURES = (
    "auc", "ap", "accuracy", "balanced_accuracy", "kappa", "f1", "sensitivity", "specificity",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Time in months and whether death was observed (True) or the patient was censored, [P]."""

    time: Floats
    event: Flags

    def __post_init__(self) -> None:
        if self.time.shape != self.event.shape or self.time.ndim != 1:
            raise TrainingError(
                f"found times {self.time.shape} and events {self.event.shape}, "
                "expected two vectors of one length; check the table they were read from"
            )
        if not np.isfinite(self.time).all() or (self.time < 0).any():
            raise TrainingError(
                "found a time that is negative or not a number, expected months >= 0; "
                "drop the patient in the cohort"
            )

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, keep: NDArray[Any]) -> Outcome:
        """The patients of an index or a mask."""
        return Outcome(self.time[keep], self.event[keep])


@dataclass(frozen=True)
class Timed:
    """A figure that depends on follow-up: its value, the months it was taken at, what was cut."""

    value: float
    months: tuple[float, ...]
    note: str = ""


UNDEFINED = float("nan")
_NO_BRIER = "the scored patients share one follow-up time, or no death was observed"


def concordance(outcome: Outcome, risk: Floats) -> float:
    """Harrell's C-index of risk [P], higher is worse; NaN when no two patients can be compared."""
    if not comparable(outcome):
        return UNDEFINED
    found = concordance_index_censored(outcome.event, outcome.time, risk, tied_tol=TIED_TOLERANCE)
    return float(found[0])


def horizon(train: Outcome, floor: float = CENSORING_FLOOR) -> float:
    """Last training time, months, at which at least `floor` of the patients are still watched."""
    watched = CensoringDistributionEstimator().fit(_structured(train))
    times: Floats = np.asarray(watched.unique_time_)
    return float(times[np.asarray(watched.prob_) >= floor].max())


def until(outcome: Outcome, months: float) -> Outcome:
    """The same patients, watched no longer than `months`: later events become censored."""
    return Outcome(np.minimum(outcome.time, months), outcome.event & (outcome.time < months))


def uno(train: Outcome, test: Outcome, risk: Floats, months: float) -> float:
    """Uno's C-index up to `months` (see `horizon`); NaN without comparable pairs before then."""
    if not comparable(until(test, months)):
        return UNDEFINED
    found = concordance_index_ipcw(
        _structured(train), _structured(test), risk, tau=months, tied_tol=TIED_TOLERANCE
    )
    return float(found[0])


def dynamic_auc(
    train: Outcome, test: Outcome, risk: Floats, times: Sequence[float], months: float
) -> Timed:
    """Mean cumulative/dynamic AUC over those of `times` that lie inside the follow-up.

    A time counts when someone has died by then and someone is still watched after it, and when it
    is before `months`.
    """
    watched = until(test, months)
    inside = tuple(
        at
        for at in times
        if at < watched.time.max()
        and (watched.event & (watched.time <= at)).any()
        and (watched.time > at).any()
    )
    note = _left_out(times, inside)
    if not inside:
        return Timed(UNDEFINED, (), note)
    _, mean = cumulative_dynamic_auc(_structured(train), _structured(watched), risk, inside)
    return Timed(float(mean), inside, note)


def brier(
    train: Outcome, test: Outcome, edges: Sequence[float], survival: Floats, months: float
) -> Timed:
    """Integrated Brier score of survival [P, K] at the K bin ends edges[1:]; lower is better.

    Between bin ends the survival is taken as linear, before the first it falls from 1 at month 0.
    Integrated over the follow-up of the scored patients, up to `months`.
    """
    watched = until(test, months)
    grid = _grid(watched)
    if grid is None or not watched.event.any() or not train.event.any():
        return Timed(UNDEFINED, (), _NO_BRIER)
    estimate = survival_at(edges, survival, grid)
    value = integrated_brier_score(_structured(train), _structured(watched), estimate, grid)
    return Timed(float(value), (float(grid[0]), float(grid[-1])))


def brier_of_training_curve(train: Outcome, test: Outcome, months: float) -> Timed:
    """What a Kaplan-Meier curve of the training patients, the same for all, scores: the floor."""
    watched = until(test, months)
    grid = _grid(watched)
    if grid is None or not watched.event.any() or not train.event.any():
        return Timed(UNDEFINED, (), _NO_BRIER)
    times, curve = kaplan_meier_estimator(train.event, train.time)
    steps = np.append(1.0, curve)[np.searchsorted(times, grid, side="right")]
    estimate = np.tile(steps, (len(watched), 1))
    value = integrated_brier_score(_structured(train), _structured(watched), estimate, grid)
    return Timed(float(value), (float(grid[0]), float(grid[-1])))


def survival_at(edges: Sequence[float], survival: Floats, months: Floats) -> Floats:
    """Survival [P, T] at `months` [T] from survival [P, K] at the bin ends edges[1:], linear."""
    if len(edges) != survival.shape[1] + 1:
        raise TrainingError(
            f"found {len(edges)} bin edges for {survival.shape[1]} bins, "
            f"expected {survival.shape[1] + 1}; write edges_months of the fold"
        )
    ends = np.concatenate([[0.0], np.asarray(edges, dtype=np.float64)[1:]])
    padded = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    return np.stack([np.interp(months, ends, row) for row in padded])


def class_figures(label: Ints, probability: Floats) -> dict[str, float]:
    """AUC, AP, accuracy, balanced accuracy, kappa, F1, sensitivity and specificity of probability
    [P, C].

    Two classes: AUC, AP, F1, sensitivity and specificity are of class 1. More: the mean over
    classes, one against the rest, of those for which the figure is defined in these patients. The
    predicted class is the most probable one. Accuracy, balanced accuracy (mean recall of the
    classes that these patients are of) and Cohen's kappa are of all classes together.
    """
    guess = probability.argmax(axis=1)
    classes = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    rows = [_one_class(label == at, guess == at, probability[:, at]) for at in classes]
    found = {name: _mean([row[name] for row in rows]) for name in rows[0]}
    found["accuracy"] = float(np.mean(guess == label))
    there = np.unique(label)
    found["balanced_accuracy"] = float(recall_score(label, guess, labels=there, average="macro"))
    is_one = len(there) == 1 and np.all(guess == label)  # all would agree by chance as well
    found["kappa"] = UNDEFINED if is_one else float(cohen_kappa_score(label, guess))
    return {name: found[name] for name in CLASS_FIGURES}


def _one_class(truth: Flags, guess: Flags, score: Floats) -> dict[str, float]:
    both = truth.any() and not truth.all()
    hits = int((truth & guess).sum())
    return {
        "auc": float(roc_auc_score(truth, score)) if both else UNDEFINED,
        "ap": float(average_precision_score(truth, score)) if truth.any() else UNDEFINED,
        "f1": 2 * hits / int(truth.sum() + guess.sum()) if truth.any() else UNDEFINED,
        "sensitivity": hits / int(truth.sum()) if truth.any() else UNDEFINED,
        "specificity": float(np.mean(~guess[~truth])) if not truth.all() else UNDEFINED,
    }


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else UNDEFINED


def _structured(outcome: Outcome) -> Any:  # numpy's structured arrays have no static type
    return Surv.from_arrays(outcome.event, outcome.time)


def comparable(outcome: Outcome) -> bool:
    """Whether anyone died before someone else's last contact, or at it if that was censored."""
    if len(outcome) < 2 or not outcome.event.any():
        return False
    first = outcome.time[outcome.event].min()
    return bool((outcome.time > first).any() or (~outcome.event & (outcome.time == first)).any())


def _grid(watched: Outcome) -> Floats | None:
    """Times inside [first, last) follow-up, as scikit-survival demands."""
    low, high = float(watched.time.min()), float(watched.time.max())
    if low >= high:
        return None
    return np.asarray(np.linspace(low, high, GRID, endpoint=False), dtype=np.float64)


def _left_out(asked: Sequence[float], inside: Sequence[float]) -> str:
    out = [f"{at:.1f}" for at in asked if at not in inside]
    return f"outside the follow-up: month {', '.join(out)}" if out else ""
