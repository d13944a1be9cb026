"""What a clinician asks of a model: do its risk groups differ, and do its numbers come true?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.scoring import cells, curves, metrics
from training.scoring.cells import Scored, Series
from training.scoring.curves import Calibration, RiskGroups
from training.scoring.metrics import Floats, Outcome


@dataclass(frozen=True)
class Focus:
    """One row on one cohort, looked at closely. Predictions are means over seeds, out of fold."""

    row: str
    kind: str
    cohort: str
    groups: RiskGroups | None
    """Halves by the median of the fold's own out-of-fold risks, all folds together; None for
    classes and for a constant risk. The median is that of the scored fold: risks of two folds share
    no scale, and the risks of training patients are over-fitted."""
    calibration: Calibration | None
    """None for a role that gives a risk but no survival."""


def focus(row: str, kind: str, cohort: str, given: Series) -> Focus:
    """Risk groups and calibration of a series."""
    if given.classes:
        calibration = _of_classes(given)
        return Focus(row, kind, cohort, None, calibration)
    outcome = _together(cells.outcomes(given))
    high = np.concatenate([curves.upper_half(_risk(scored)) for scored in given.folds.values()])
    return Focus(row, kind, cohort, curves.risk_groups(outcome, high), _of_survival(given, outcome))


def _risk(scored: Sequence[Scored]) -> Floats:
    risk = cells.mean_prediction(scored, "risk")
    assert risk is not None  # refused in runs.read
    return risk


def _of_survival(given: Series, outcome: Outcome) -> Calibration | None:
    """At the median over folds of the middle bin edge: half of the deaths come before it."""
    units = [one.unit for scored in given.folds.values() for one in scored]
    months = float(np.median([unit.edges[len(unit.edges) // 2] for unit in units]))
    parts = [_survival_at(scored, months) for scored in given.folds.values()]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return curves.survival_calibration(outcome, np.concatenate(known), months)


def _survival_at(scored: Sequence[Scored], months: float) -> Floats | None:
    """[P], mean over seeds; every seed has bin edges of its own."""
    rows = []
    for one in scored:
        if one.prediction.survival is None:
            return None
        found = metrics.survival_at(one.unit.edges, one.prediction.survival, np.array([months]))
        rows.append(found[:, 0])
    return np.asarray(np.mean(rows, axis=0))


def _of_classes(given: Series) -> Calibration:
    tables = [cells.mean_prediction(scored, "probability") for scored in given.folds.values()]
    label = np.concatenate([scored[0].unit.label for scored in given.folds.values()])
    return curves.class_calibration(
        label, np.concatenate([table for table in tables if table is not None])
    )


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        np.concatenate([outcome.time for outcome in outcomes]),
        np.concatenate([outcome.event for outcome in outcomes]),
    )
