"""How good a student is, by the unit that a node will show it: one slide, or all slides of a case.

Where patients have several slides both are known, each on patients it had not seen; one stands for
the student, and the card says what one slide costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.bundle.figures.measured import Measured
from training.errors import TrainingError
from training.runs.units import ONE_SLIDE
from training.scoring import resample, runs
from training.scoring.resample import Interval

UnitOfUse = Literal["slide", "case"]
Role = tuple[str, str]
"""Who predicts, and by which rule."""


@dataclass(frozen=True)
class Use:
    """What a node will show the student, and how good it is so."""

    unit: UnitOfUse
    role: Role
    """Whose predictions are those of this unit."""
    figure: Interval
    """C-index or AUC over all finished units of the run, mean over folds."""
    measured: Measured
    """On whom, by how many of them."""
    other: Interval | None = None
    """The same shown the other unit; None where every patient has one slide."""
    cost: Interval | None = None
    """All slides of a patient minus the first alone, paired; None as above."""

    @property
    def has_several(self) -> bool:
        """Whether patients of the cohort have several slides, so that both units were scored."""
        return self.other is not None

    @property
    def of_each(self) -> str:
        """What of each patient was shown, a clause that follows others; empty with one slide."""
        if not self.has_several:
            return ""
        said = {"slide": ", the first slide of each alone", "case": ", all slides of each"}
        return said[self.unit]

    @property
    def limits(self) -> tuple[str, ...]:
        """What the report of a node has to say of the unit."""
        if self.unit == "case" and not self.has_several:
            return ("Trained and measured on one slide a patient: nothing is known of several.",)
        if self.unit == "slide" and self.has_several:
            return ("Trained and calibrated on all slides of a patient together, shown one here.",)
        return ()


def with_first_slides(units: Sequence[runs.Unit], role: str) -> tuple[runs.Unit, ...]:
    """The units of a run, all with what is said of first slides where one of them has it.

    A unit leaves it out where nobody it knew has several slides, as one that a patient was kept
    from: the first slide of each is then all that was shown.
    """
    whole, alone = (role, "inner"), (ONE_SLIDE, "inner")
    if not any(alone in one.predictions for one in units):
        return tuple(units)
    return tuple(
        replace(one, predictions={alone: one.predictions[whole], **one.predictions})
        for one in units
    )


def use_of(units: Sequence[runs.Unit], role: str, unit: UnitOfUse) -> Use:
    """How the student of `role` is used. `units` are those of one run, `with_first_slides`."""
    whole, alone = (role, "inner"), (ONE_SLIDE, "inner")
    measured = Measured.of(units)
    if not any(alone in one.predictions for one in units):
        return Use(unit, whole, figure(units, whole), measured)
    (all_value, all_drawn), (one_value, one_drawn) = (_drawn(units, r) for r in (whole, alone))
    of_all = resample.interval(all_value, all_drawn)
    of_one = resample.interval(one_value, one_drawn)
    cost = resample.paired(all_value - one_value, all_drawn, one_drawn)
    for one in (of_all, of_one, cost):
        _known(one, units)
    if unit == "case":
        return Use(unit, whole, of_all, measured, of_one, cost)
    return Use(unit, alone, of_one, measured, of_all, cost)


def _known(found: Interval, units: Sequence[runs.Unit]) -> Interval:
    """The figure; raises TrainingError where folds are so small that a draw compares nobody."""
    if not np.isfinite([found.value, found.low, found.high]).all():
        smallest = min(len(unit.patients) for unit in units)
        raise TrainingError(
            f"found folds of {smallest} patients and more, too few for the interval of a figure: "
            "patients drawn again may hold no two to compare; expected more patients; build a "
            "larger cohort"
        )
    return found


def figure(units: Sequence[runs.Unit], role: Role) -> Interval:
    """C-index, or AUC one against rest, with its 95 % interval over patients within folds."""
    return _known(resample.interval(*_drawn(units, role)), units)


def scores_of(
    units: Sequence[runs.Unit], role: Role, tensors: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Score tensor (`risk`, or one of each class in order) -> [P] of all patients of `units`.

    Raises TrainingError where there are not as many probabilities as tensors.
    """
    said = [unit.predictions[role] for unit in units]
    risks = [one.risk for one in said if one.risk is not None]
    if risks:
        return {"risk": np.concatenate(risks)}
    chances = np.concatenate([one.probability for one in said if one.probability is not None])
    if chances.shape[1] != len(tensors):
        raise TrainingError(
            f"found {chances.shape[1]} probabilities of {role[0]}, expected those of "
            f"{', '.join(tensors)}; fit the run again"
        )
    return {tensor: chances[:, at] for at, tensor in enumerate(tensors)}


def _drawn(units: Sequence[runs.Unit], role: Role) -> tuple[float, list[NDArray[np.float64]]]:
    """The mean over folds, and the draws [B] of each fold."""
    values, drawn = [], []
    for fold in sorted({unit.fold for unit in units}):
        same = [unit for unit in units if unit.fold == fold]
        found = [unit.predictions[role] for unit in same]
        risks = [one.risk for one in found if one.risk is not None]
        if risks:
            pairs = resample.survival_pairs(same[0].outcome, np.stack(risks))
        else:
            classes = [one.probability for one in found if one.probability is not None]
            pairs = resample.class_pairs(same[0].label, np.stack(classes))
        size = len(same[0].patients)
        once = np.ones((1, size), np.float32)
        values.append(float(resample.pair_figure(pairs, once)[0]))
        drawn.append(resample.pair_figure(pairs, resample.draws(size, fold=fold)))
    return float(np.mean(values)), drawn
