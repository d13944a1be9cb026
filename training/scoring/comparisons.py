"""Rows of a report with their means over cohorts, and each student minus every other row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.scoring import resample
from training.scoring.cells import Cell, Series
from training.scoring.metrics import Floats
from training.scoring.naming import RowName, row_names
from training.scoring.places import Column, Place
from training.scoring.resample import Interval

RULES = ("inner", "last")
"""How the epoch was chosen: on inner validation patients, or the last one."""
Draws = Mapping[Place, list[Floats]]
"""Main figure of every fold in every bootstrap draw."""


@dataclass(frozen=True)
class Mean:
    """Mean over the cohorts of one kind of folds; None in a row that lacks one of them."""

    interval: Interval
    cohorts: int


@dataclass(frozen=True)
class Row:
    """One role of one method; what is absent from `cells` or `means` was not run."""

    name: RowName
    cells: Mapping[tuple[str, Column], Cell]
    """(rule, column)."""
    means: Mapping[tuple[str, str], Mean]
    """(rule, kind of folds)."""


@dataclass(frozen=True)
class Difference:
    """First minus second, on the same redrawn patients; `column` None: mean over cohorts."""

    first: RowName
    second: RowName
    rule: str
    kind: str
    column: Column | None
    interval: Interval
    folds: Mapping[int, float]
    """Per fold; per cohort position for a mean."""


def row(
    name: RowName,
    columns: Sequence[Column],
    made: Mapping[Place, Cell],
    main: Draws,
) -> Row:
    """A row with the cells that were run, and its mean where no cohort is missing."""
    found, means = {}, {}
    for rule in RULES:
        for column in columns:
            place = Place(name, rule, column)
            if place in made:
                found[rule, column] = made[place]
        for kind in sorted({column.kind for column in columns}):
            places = [Place(name, rule, at) for at in columns if at.kind == kind]
            if all(place in made for place in places):
                drawn = [resample.mean_over_folds(main[place]) for place in places]
                value = float(np.mean([made[place].value for place in places]))
                interval = resample.percentiles(value, np.mean(drawn, axis=0))
                means[rule, kind] = Mean(interval, len(places))
    return Row(name, found, means)


def differences(
    found: Mapping[Place, Series],
    made: Mapping[Place, Cell],
    main: Draws,
    columns: Sequence[Column],
) -> list[Difference]:
    """Every student minus every other row, per column and on the mean."""
    names = row_names({place.name for place in found})
    result = []
    for first in (name for name in names if name.role == "student"):
        for second in names:
            if second == first:
                continue
            for rule in RULES:
                for kind in sorted({column.kind for column in columns}):
                    at = [column for column in columns if column.kind == kind]
                    result += _compared(found, made, main, (first, second, rule, kind), at)
    return result


def _compared(
    found: Mapping[Place, Series],
    made: Mapping[Place, Cell],
    main: Draws,
    what: tuple[RowName, RowName, str, str],
    columns: Sequence[Column],
) -> list[Difference]:
    first, second, rule, kind = what
    result, drawn = [], []
    for column in columns:
        one, other = Place(first, rule, column), Place(second, rule, column)
        if one not in found or other not in found:
            continue
        if found[one].patients != found[other].patients:  # other folds, or fewer of them
            continue
        folds = {f: made[one].folds[f] - made[other].folds[f] for f in made[one].folds}
        value = float(np.mean(list(folds.values())))
        interval = resample.paired(value, main[one], main[other])
        result.append(Difference(first, second, rule, kind, column, interval, folds))
        drawn.append(resample.mean_over_folds(main[one]) - resample.mean_over_folds(main[other]))
    if len(result) == len(columns) > 1:
        each = [difference.interval.value for difference in result]
        interval = resample.percentiles(float(np.mean(each)), np.mean(drawn, axis=0))
        of_cohort = dict(enumerate(each))
        result.append(Difference(first, second, rule, kind, None, interval, of_cohort))
    return result
