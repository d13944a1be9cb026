"""One cell of a table: what a role of a method scores on the outer folds of a cohort.

A cell is the mean over folds of the mean over seeds, with the spread over folds (population) and
the bootstrap interval over patients. Its draws are kept, so that two cells can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.errors import TrainingError
from training.scoring import metrics, resample
from training.scoring.metrics import CLASS_FIGURES, Floats, Outcome
from training.scoring.runs import Prediction, Unit

SURVIVAL_FIGURES = ("c_index", "uno", "auc_t", "brier")


@dataclass(frozen=True)
class Scored:
    """One unit as one role and rule sees it."""

    unit: Unit
    prediction: Prediction


@dataclass(frozen=True)
class Series:
    """A role and rule of one run over its finished units: fold -> seeds, in order."""

    classes: int
    """0 for survival."""
    folds: Mapping[int, tuple[Scored, ...]]

    @property
    def main(self) -> str:
        """The figure that the tables and the bootstrap are about."""
        return "auc" if self.classes else "c_index"

    @cached_property
    def patients(self) -> dict[int, tuple[str, ...]]:
        """Patients of each fold, by id."""
        return {fold: scored[0].unit.patients for fold, scored in self.folds.items()}


@dataclass(frozen=True)
class UnitFigures:
    """Every figure of one fold and seed."""

    fold: int
    seed: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """The figures of a series. `folds` and `seeds` belong to the main figure."""

    value: float
    sd: float
    low: float
    high: float
    """95 % bootstrap interval of `value`."""
    pooled: float
    """Main figure of all patients together, mean over seeds; folds have no common scale."""
    folds: Mapping[int, float]
    seeds: Mapping[int, float]
    """Mean over folds for each seed; folds that lack the seed do not enter."""
    figures: Mapping[str, tuple[float, float]]
    """Every figure -> mean and standard deviation over folds."""
    intervals: Mapping[str, tuple[float, float]]
    """Bootstrap intervals of the figures that have one."""
    patients: int
    events: int
    """Deaths observed; 0 for classes."""
    units: tuple[UnitFigures, ...] = ()
    notes: tuple[str, ...] = ()
    """What lies outside the follow-up and was left out."""


def series(units: Sequence[Unit], classes: int, role: str, rule: str) -> Series | None:
    """The units that hold `role` by `rule`; None where no unit does."""
    found: dict[int, list[Scored]] = {}
    for unit in units:
        prediction = unit.predictions.get((role, rule))
        if prediction is not None:
            found.setdefault(unit.fold, []).append(Scored(unit, prediction))
    for fold, scored in found.items():
        if any(at.unit.patients != scored[0].unit.patients for at in scored):
            raise TrainingError(
                f"fold {fold}: found other patients for seed {scored[-1].unit.seed} than for seed "
                f"{scored[0].unit.seed}, expected the same outer fold; fit the run again"
            )
    if not found:
        return None
    return Series(classes, {fold: tuple(found[fold]) for fold in sorted(found)})


def unit_figures(classes: int, scored: Scored) -> tuple[dict[str, float], tuple[str, ...]]:
    """Every figure of one unit, and what had to be left out of the follow-up."""
    unit, prediction = scored.unit, scored.prediction
    if classes:
        assert prediction.probability is not None  # refused in runs.read
        return metrics.class_figures(unit.label, prediction.probability), ()
    assert prediction.risk is not None
    months = unit.horizon
    auc = metrics.dynamic_auc(unit.train, unit.outcome, prediction.risk, unit.edges[1:-1], months)
    notes = [auc.note] if auc.note else []
    brier = metrics.UNDEFINED  # a risk alone has no survival to be wrong about
    if prediction.survival is not None:
        found = metrics.brier(unit.train, unit.outcome, unit.edges, prediction.survival, months)
        brier = found.value
        notes += [found.note] if found.note else []
    figures = {
        "c_index": metrics.concordance(unit.outcome, prediction.risk),
        "uno": metrics.uno(unit.train, unit.outcome, prediction.risk, months),
        "auc_t": auc.value,
        "brier": brier,
    }
    return figures, tuple(notes)


def draws(given: Series) -> dict[int, dict[str, Floats]]:
    """Fold -> figure -> its value in every bootstrap draw, mean over seeds."""
    return {fold: _fold_draws(given, fold, scored) for fold, scored in given.folds.items()}


def cell(given: Series, drawn: Mapping[int, Mapping[str, Floats]]) -> Cell:
    """All figures of a series; `drawn` comes from `draws`."""
    names = CLASS_FIGURES if given.classes else SURVIVAL_FIGURES
    by_seed: dict[int, list[float]] = {}
    means: dict[str, list[float]] = {name: [] for name in names}
    notes: set[str] = set()
    units = []
    for fold, scored in given.folds.items():
        rows = []
        for one in scored:
            figures, left_out = unit_figures(given.classes, one)
            rows.append(figures)
            units.append(UnitFigures(fold, one.unit.seed, figures))
            by_seed.setdefault(one.unit.seed, []).append(figures[given.main])
            notes |= {f"fold {fold}: {note}" for note in left_out}
        for name in names:
            means[name].append(_mean([figures[name] for figures in rows]))
    intervals = _intervals(means, drawn)
    return Cell(
        value=_mean(means[given.main]),
        sd=_sd(means[given.main]),
        low=intervals[given.main][0],
        high=intervals[given.main][1],
        pooled=_pooled(given),
        folds=dict(zip(given.folds, means[given.main], strict=True)),
        seeds={seed: _mean(values) for seed, values in sorted(by_seed.items())},
        figures={name: (_mean(values), _sd(values)) for name, values in means.items()},
        intervals=intervals,
        patients=sum(len(ids) for ids in given.patients.values()),
        events=0 if given.classes else sum(int(o.event.sum()) for o in outcomes(given)),
        units=tuple(units),
        notes=tuple(sorted(notes)),
    )


def outcomes(given: Series) -> list[Outcome]:
    """Outcome of each fold."""
    return [scored[0].unit.outcome for scored in given.folds.values()]


def mean_prediction(scored: Sequence[Scored], name: str) -> Floats | None:
    """Mean over seeds of "risk" [P] or "probability" [P, C]; None where a seed lacks it."""
    values = [getattr(one.prediction, name) for one in scored]
    if any(value is None for value in values):
        return None
    return np.asarray(np.mean(values, axis=0))


def training_curve_brier(given: Series) -> tuple[float, float]:
    """Mean and sd over folds of the Brier score of the training patients' Kaplan-Meier curve."""
    values = []
    for scored in given.folds.values():
        unit = scored[0].unit
        found = metrics.brier_of_training_curve(unit.train, unit.outcome, unit.horizon)
        values.append(found.value)
    return _mean(values), _sd(values)


def _fold_draws(given: Series, fold: int, scored: Sequence[Scored]) -> dict[str, Floats]:
    unit = scored[0].unit
    counts = resample.draws(len(unit.patients), fold=fold)
    if given.classes:
        stacked = np.stack([_given(one.prediction.probability) for one in scored])
        return resample.class_draws(unit.label, stacked, counts)
    risks = np.stack([_given(one.prediction.risk) for one in scored])
    pairs = resample.survival_pairs(unit.outcome, risks)
    return {"c_index": resample.pair_figure(pairs, counts)}


def _pooled(given: Series) -> float:
    """Over the seeds that every fold has."""
    shared = set.intersection(
        *({one.unit.seed for one in scored} for scored in given.folds.values())
    )
    values = []
    for seed in sorted(shared):
        ones = [one for scored in given.folds.values() for one in scored if one.unit.seed == seed]
        label = np.concatenate([one.unit.label for one in ones])
        if given.classes:
            table = np.concatenate([_given(one.prediction.probability) for one in ones])
            values.append(metrics.class_figures(label, table)["auc"])
            continue
        outcome = Outcome(
            np.concatenate([one.unit.outcome.time for one in ones]),
            np.concatenate([one.unit.outcome.event for one in ones]),
        )
        risk = np.concatenate([_given(one.prediction.risk) for one in ones])
        values.append(metrics.concordance(outcome, risk))
    return _mean(values)


def _given(values: Floats | None) -> Floats:
    assert values is not None  # refused in runs.read
    return values


def _intervals(
    means: Mapping[str, list[float]], drawn: Mapping[int, Mapping[str, Floats]]
) -> dict[str, tuple[float, float]]:
    found = {}
    for name in next(iter(drawn.values())):
        ends = resample.interval(_mean(means[name]), [fold[name] for fold in drawn.values()])
        found[name] = (ends.low, ends.high)
    return found


def _mean(values: Sequence[float]) -> float:
    """NaN where any is: a figure that one fold does not have is not a mean over folds."""
    return float(np.mean(values)) if values else metrics.UNDEFINED


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values))
