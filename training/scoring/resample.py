"""Patient-level bootstrap of the figures of several folds, vectorized over the draws.

A draw is a count per patient, so a figure of a draw is a weighted figure. Patients are drawn again
inside their fold and the figure is the mean over folds, as in the tables: folds have models of
their own and risks of two folds share no scale. Two models are compared on the same draws (paired).
The interval says how far other patients of the same kind would move the figure; it does not know of
other training runs, which the spread over seeds shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.scoring.metrics import TIED_TOLERANCE, UNDEFINED, Floats, Ints, Outcome

Counts = NDArray[np.float32]
REPEATS = 1000
LEVEL = 0.95
MOST_UNDEFINED = 0.05
"""Beyond this share of draws without an answer there is no interval."""
BEST_OF_EPOCHS = 20


@dataclass(frozen=True)
class Pairs:
    """Pairs that a rank figure counts, [K, P, P]: who is comparable with whom, and won how often.

    K figures are averaged: one for the C-index, one per class for the AUC. `wins` is the mean over
    the S models that scored these patients, which is exact because all compare the same pairs.
    """

    comparable: Counts
    wins: Counts


@dataclass(frozen=True)
class Interval:
    """A figure with the 2.5 % and 97.5 % points of its draws; NaN where there is no answer."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=64)
def draws(patients: int, *, fold: int, seed: int = 0, repeats: int = REPEATS) -> Counts:
    """How often each of P patients occurs in each draw, [B, P]; the same for every model."""
    rng = np.random.default_rng([seed, fold, patients])
    counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=repeats)
    found = np.asarray(counts, dtype=np.float32)
    found.flags.writeable = False  # the cache hands the same array to every caller
    return found


def survival_pairs(outcome: Outcome, risks: Floats) -> Pairs:
    """Pairs of Harrell's C for risks [S, P] of S models.

    A patient who died is compared with those watched longer, and with those censored at the same
    time (as in scikit-survival).
    """
    return _won(_comparable(outcome)[None], np.asarray(risks)[None], TIED_TOLERANCE)


def class_pairs(label: Ints, probabilities: Floats) -> Pairs:
    """Pairs of the one-against-rest AUC for probabilities [S, P, C]; class 1 alone when C = 2."""
    classes = [1] if probabilities.shape[2] == 2 else list(range(probabilities.shape[2]))
    inside = np.stack([label == at for at in classes])
    comparable = inside[:, :, None] & ~inside[:, None, :]
    return _won(comparable, np.stack([probabilities[:, :, at] for at in classes]), 0.0)


def pair_figure(pairs: Pairs, counts: Counts) -> Floats:
    """The figure of each draw, [B]; NaN for a draw without comparable pairs."""
    rows = []
    for comparable, wins in zip(pairs.comparable, pairs.wins, strict=True):
        all_pairs = _quadratic(counts, comparable)
        won = _quadratic(counts, wins)
        rows.append(np.divide(won, all_pairs, out=_nan(all_pairs), where=all_pairs > 0))
    return _mean_of_defined(np.stack(rows))


def class_draws(label: Ints, probabilities: Floats, counts: Counts) -> dict[str, Floats]:
    """Every class figure of each draw, [B], as in `metrics.class_figures`, mean over S models."""
    found = [_one_model(label, probability, counts) for probability in probabilities]
    figures = {name: np.mean([row[name] for row in found], axis=0) for name in found[0]}
    return {"auc": pair_figure(class_pairs(label, probabilities), counts)} | figures


def interval(value: float, folds: Sequence[Floats]) -> Interval:
    """Interval of the mean over folds from the draws [B] of each fold."""
    return _percentiles(value, mean_over_folds(folds))


def mean_over_folds(folds: Sequence[Floats]) -> Floats:
    """The mean over folds of each draw, [B]; NaN where a fold has no answer."""
    return np.asarray(np.mean(np.stack(folds), axis=0))


def paired(value: float, first: Sequence[Floats], second: Sequence[Floats]) -> Interval:
    """Interval of the mean over folds of first minus second, drawn on the same patients."""
    return _percentiles(value, mean_over_folds(first) - mean_over_folds(second))


def percentiles(value: float, found: Floats) -> Interval:
    """Interval from draws of the figure itself, such as a mean over cohorts."""
    return _percentiles(value, found)


@dataclass(frozen=True)
class NoiseFloor:
    """C-index of risks that know nothing, on the folds of a cohort ."""

    sd_of_one_fold: float
    """Spread of one evaluation of one fold around 0.5."""
    highest_of_mean: float
    """97.5 % point of the mean over folds of one evaluation."""
    best_of_epochs: float
    """Mean over folds of the best of 20 independent epochs, each fold taking its own best."""


def noise_floor(folds: Sequence[Outcome], *, repeats: int = 400, seed: int = 0) -> NoiseFloor:
    """What pure noise scores on these folds; the outcomes are real, the risks drawn."""
    rng = np.random.default_rng(seed)
    scores = np.stack([_noise(outcome, rng, repeats) for outcome in folds])
    epochs = scores[:, : repeats // BEST_OF_EPOCHS * BEST_OF_EPOCHS]
    best = epochs.reshape(len(folds), -1, BEST_OF_EPOCHS).max(axis=2)
    return NoiseFloor(
        sd_of_one_fold=float(scores.std(axis=1).mean()),
        highest_of_mean=float(np.quantile(scores.mean(axis=0), 0.975)),
        best_of_epochs=float(best.mean()),
    )


def _noise(outcome: Outcome, rng: np.random.Generator, repeats: int) -> Floats:
    earlier, later = np.nonzero(_comparable(outcome))
    if not len(earlier):
        return np.full(repeats, np.nan)
    risks = rng.random((repeats, len(outcome)))
    return np.asarray((risks[:, earlier] > risks[:, later]).mean(axis=1), dtype=np.float64)


def _comparable(outcome: Outcome) -> NDArray[np.bool_]:
    later = outcome.time[:, None] < outcome.time[None, :]
    same = (outcome.time[:, None] == outcome.time[None, :]) & ~outcome.event[None, :]
    return np.asarray(outcome.event[:, None] & (later | same))


def _won(comparable: NDArray[np.bool_], scores: Floats, tolerance: float) -> Pairs:
    """comparable [K, P, P], scores [K, S, P]; scores no further apart than `tolerance` tie."""
    wins = np.zeros(comparable.shape, dtype=np.float64)
    for model in range(scores.shape[1]):
        above = scores[:, model, :, None] - scores[:, model, None, :]
        wins += np.where(np.abs(above) <= tolerance, 0.5, above > 0)
    share = np.where(comparable, wins / scores.shape[1], 0.0)
    return Pairs(comparable=comparable.astype(np.float32), wins=share.astype(np.float32))


def _quadratic(counts: Counts, matrix: Counts) -> Floats:
    """Sum over i, j of counts_i matrix_ij counts_j, for each draw."""
    found = np.einsum("bp,bp->b", counts @ matrix, counts, dtype=np.float64)
    return np.asarray(found, dtype=np.float64)


def _one_model(label: Ints, probability: Floats, counts: Counts) -> dict[str, Floats]:
    guess = probability.argmax(axis=1)
    classes = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    total = counts.sum(axis=1, dtype=np.float64)
    rows: dict[str, list[Floats]] = {"ap": [], "f1": [], "sensitivity": [], "specificity": []}
    for at in classes:
        truth, called = label == at, guess == at
        positives, hits = _sum(counts, truth), _sum(counts, truth & called)
        rows["ap"].append(_average_precision(truth, probability[:, at], counts))
        rows["f1"].append(_ratio(2 * hits, positives + _sum(counts, called), positives > 0))
        rows["sensitivity"].append(_ratio(hits, positives, positives > 0))
        spared = _sum(counts, ~truth & ~called)
        rows["specificity"].append(_ratio(spared, total - positives, positives < total))
    found = {name: _mean_of_defined(np.stack(values)) for name, values in rows.items()}
    whole = of_all_classes(label, guess, counts, probability.shape[1])
    return found | {"accuracy": _sum(counts, guess == label) / total} | whole


def of_all_classes(label: Ints, guess: Ints, counts: Counts, classes: int) -> dict[str, Floats]:
    """Balanced accuracy and Cohen's kappa of each draw, [B]; a class that is not drawn has no
    recall, and where all are of one class and called so there is no kappa."""
    total = counts.sum(axis=1, dtype=np.float64)
    recalls, chance = [], np.zeros(len(counts))
    for at in range(classes):
        own, called = _sum(counts, label == at), _sum(counts, guess == at)
        chance += own * called / total**2
        recalls.append(_ratio(_sum(counts, (label == at) & (guess == at)), own, own > 0))
    agreed = _sum(counts, guess == label) / total - chance
    return {
        "balanced_accuracy": _mean_of_defined(np.stack(recalls)),
        "kappa": _ratio(agreed, 1 - chance, chance < 1),
    }


def _average_precision(truth: NDArray[np.bool_], score: Floats, counts: Counts) -> Floats:
    """Sum of precision times the step of recall at each distinct score, as in scikit-learn."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits = np.cumsum(counts[:, order] * truth[order], axis=1, dtype=np.float64)[:, last]
    called = np.cumsum(counts[:, order], axis=1, dtype=np.float64)[:, last]
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    steps = np.diff(hits, axis=1, prepend=0.0)
    return _ratio((precision * steps).sum(axis=1), hits[:, -1], hits[:, -1] > 0)


def _sum(counts: Counts, members: NDArray[np.bool_]) -> Floats:
    return np.asarray(counts[:, members].sum(axis=1, dtype=np.float64))


def _ratio(above: Floats, below: Floats, defined: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.divide(above, below, out=_nan(above), where=defined))


def _nan(like: Floats) -> Floats:
    return np.full(like.shape, UNDEFINED)


def _mean_of_defined(rows: Floats) -> Floats:
    """Mean over the first axis of what is not NaN."""
    defined = ~np.isnan(rows)
    number = defined.sum(axis=0)
    return _ratio(np.where(defined, rows, 0.0).sum(axis=0), number.astype(np.float64), number > 0)


def _percentiles(value: float, found: Floats) -> Interval:
    known = found[~np.isnan(found)]
    if len(known) < (1 - MOST_UNDEFINED) * len(found):
        return Interval(value, UNDEFINED, UNDEFINED)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
