"""Series of runs in their place: a row, a rule and a column of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import TrainingError
from training.scoring import cells
from training.scoring.cells import Series
from training.scoring.naming import FLOORS, RowName
from training.scoring.runs import Run, Unit

BESIDE = frozenset(("extended", "pan"))
"""Settings that say who taught beside a cohort's own patients."""


@dataclass(frozen=True, order=True)
class Column:
    """A cohort under official or site-disjoint folds."""

    kind: str
    cohort: str


@dataclass(frozen=True)
class Place:
    """Where a series belongs."""

    name: RowName
    rule: str
    column: Column


def refuse_unlike(read: Sequence[tuple[Run, Sequence[Unit]]]) -> None:
    """TrainingError for runs of one task with other classes, and for runs on cohorts of one name
    whose folds or outcomes differ: one column would hold figures of other patients."""
    known: dict[tuple[Column, int], tuple[Run, Unit]] = {}
    first = read[0][0]
    for run, units in read:
        if run.classes != first.classes:
            raise TrainingError(
                f"{run.path}: found classes {', '.join(run.classes)} of task {run.task}, expected "
                f"{', '.join(first.classes)} as in {first.path}; evaluate the runs apart"
            )
        for unit in units:
            other, before = known.setdefault((Column(run.kind, run.cohort), unit.fold), (run, unit))
            if before.patients != unit.patients or not _same_truth(before, unit):
                raise TrainingError(
                    f"{run.path}: found other patients or outcomes in fold {unit.fold} of "
                    f"{run.cohort} ({run.kind} folds) than in {other.path}, expected one cohort of "
                    "that name; evaluate the runs apart, or build one of the cohorts under another "
                    "--name and fit it again"
                )


def _same_truth(first: Unit, second: Unit) -> bool:
    if first.predictions and next(iter(first.predictions.values())).probability is not None:
        return bool(np.array_equal(first.label, second.label))
    one, other = first.outcome, second.outcome
    return bool(np.array_equal(one.event, other.event) and np.allclose(one.time, other.time))


def gather(read: list[tuple[Run, tuple[Unit, ...]]]) -> dict[Place, Series]:
    """Every series of a task; floors that several runs share appear once."""
    refuse_unlike(read)
    found: dict[Place, Series] = {}
    labels = method_labels([run for run, _ in read])
    for run, units in read:
        column = Column(run.kind, run.cohort)
        pairs = sorted({pair for unit in units for pair in unit.predictions})
        for role, rule in pairs:
            given = cells.series(units, len(run.classes), role, rule)
            place = Place(RowName(labels[run.path], role), rule, column)
            if place in found:
                raise TrainingError(
                    f"{run.path}: found a second run of {labels[run.path]} on {run.cohort} "
                    f"({run.kind} folds, same settings), expected one; leave one of them out"
                )
            assert given is not None  # the pair comes from these units
            found[place] = given
    return share_floors(found)


def method_labels(read: Sequence[Run]) -> dict[Path, str]:
    """A run's method, and the settings that tell it from other runs of that method in the report.

    Runs of one label are one row, and their mean over cohorts is that of one method. Who taught
    beside a cohort may differ from cohort to cohort of a row: it tells runs on one cohort apart.
    """
    labels = {}
    for run in read:
        kin = [other for other in read if other.method == run.method]
        same = [other for other in kin if (other.cohort, other.kind) == (run.cohort, run.kind)]
        differ = sorted((_differ(kin) - BESIDE) | (_differ(same) & BESIDE))
        words = ", ".join(f"{key}={run.settings.get(key)}" for key in differ)
        labels[run.path] = f"{run.method} ({words})" if words else run.method
    return labels


def mixed_rows(read: Sequence[Run]) -> list[str]:
    """A sentence for whatever is unlike between the cohorts of a row under one kind of folds."""
    labels = method_labels(read)
    found = []
    for label, kind in sorted({(labels[run.path], run.kind) for run in read}):
        row = [run for run in read if (labels[run.path], run.kind) == (label, kind)]
        for words, told in _UNLIKE.items():
            groups: dict[str, list[str]] = {}
            for run in sorted(row, key=lambda one: one.cohort):
                if said := told(run):
                    groups.setdefault(said, []).append(run.cohort)
            if len(groups) > 1:
                each = "; ".join(f"{said} on {', '.join(at)}" for said, at in groups.items())
                found.append(
                    f"{label} ({row[0].task}, {kind} folds): {words} differ between the cohorts of "
                    f"the row ({each}); a mean over cohorts mixes them"
                )
    return found


_UNLIKE: Mapping[str, Callable[[Run], str | None]] = {
    "patients beside the cohort who taught": lambda run: (
        "some" if run.settings.get("extended") else "none"
    ),
    "the cohorts that taught together": lambda run: str(run.settings.get("pan", "one alone")),
    "encoders": lambda run: " and ".join(run.features),
    "second magnifications": lambda run: run.second,
}
"""What need not be the same for a row, in words -> what a run says of it; nothing: not known."""


def _differ(read: Sequence[Run]) -> set[str]:
    """Settings that are not the same in all of these runs."""
    first = read[0].settings
    return {
        key
        for run in read
        for key in {*first, *run.settings}
        if run.settings.get(key) != first.get(key)
    }


def share_floors(found: Mapping[Place, Series]) -> dict[Place, Series]:
    """Age alone and genes alone are the same beside every method: kept once where they are.

    A floor of a method that differs, as where the method trains its own on genes, keeps its name.
    Of equal ones the series with the most units stays.
    """
    kept: dict[Place, Series] = {}
    for place, given in found.items():
        shared = Place(RowName("", place.name.role), place.rule, place.column)
        if place.name.role not in FLOORS:
            kept[place] = given
        elif shared not in kept or _same(kept[shared], given):
            if shared not in kept or _units(given) > _units(kept[shared]):
                kept[shared] = given
        else:
            kept[place] = given
    return kept


def _same(first: Series, second: Series) -> bool:
    """Whether two series agree wherever both have a fold and seed."""
    one = {(at.unit.fold, at.unit.seed): at for scored in first.folds.values() for at in scored}
    for scored in second.folds.values():
        for at in scored:
            twin = one.get((at.unit.fold, at.unit.seed))
            if twin is None:
                continue
            name = "probability" if second.classes else "risk"
            a, b = getattr(twin.prediction, name), getattr(at.prediction, name)
            if twin.unit.patients != at.unit.patients or not np.allclose(a, b, atol=1e-6):
                return False
    return True


def _units(given: Series) -> int:
    return sum(len(scored) for scored in given.folds.values())
