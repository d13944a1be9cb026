"""How good the students of a run are at naming a class, and whether their probabilities come true.

Of the predictions of finished units, each of patients that the student had not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.scoring import resample
from training.scoring.metrics import Floats, Ints
from training.scoring.resample import Counts, Interval
from training.scoring.runs import Unit

_LEAST = 1e-6
"""A probability this near to 0 or 1 has no finite logit."""
_WIDE = 1e6
"""Inverse of a penalty that is none."""


@dataclass(frozen=True)
class ClassFigures:
    """How good the students of a run are at naming a class, of patients that they had not seen."""

    balanced_accuracy: Interval
    """Mean over classes of the share of its patients whose most probable class it is."""
    kappa: Interval
    """Cohen's: agreement beyond what the counts of the classes would give by chance."""
    named: Interval
    """Share of patients with a class at and above the floor."""
    right: Interval
    """Share of these whose class it is; NaN where hardly anybody has one."""
    calibration: tuple[float, float] | None
    """Slope and intercept of what came true on the logits of all probabilities, one class against
    the rest; of two classes the second. None where nothing can be fitted."""
    patients: int
    lacking: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Fold -> classes that nobody of it has: its figures are means over the others."""

    def rows(self, floor: float) -> list[tuple[str, Interval]]:
        """Name and value of each figure with an interval around it."""
        percent = f"{100 * floor:g} %"
        found = [
            ("balanced accuracy", self.balanced_accuracy),
            ("Cohen's kappa", self.kappa),
            (f"share of patients with a class of {percent} or more", self.named),
            (f"accuracy where a class has {percent} or more", self.right),
        ]
        return [(name, one) for name, one in found if one.low <= one.value <= one.high]

    def uncertainty(self, data: str, classes: Sequence[str]) -> dict[str, object]:
        """What a manifest says of the probabilities; empty where nothing is known."""
        if self.calibration is None:
            return {}
        slope, intercept = (round(value, 4) for value in self.calibration)
        return {
            "how": "calibration", "slope": slope, "intercept": intercept,
            "data": f"{data}, {calibrated_of(classes)}", "count": self.patients,
        }  # fmt: skip


def calibrated_of(classes: Sequence[str]) -> str:
    """Of which probabilities `calibration` speaks: of two classes the sign of the intercept is the
    other one for the other class."""
    if len(classes) == 2:
        return f"{classes[1]} against {classes[0]}"
    return "one class against the rest"


def figures(units: Sequence[Unit], role: tuple[str, str], floor: float) -> ClassFigures:
    """Of finished units; folds are averaged, patients drawn again inside their fold."""
    found: dict[str, tuple[list[float], list[Floats]]] = {}
    together: list[tuple[Ints, Floats]] = []
    lacking: dict[int, tuple[int, ...]] = {}
    for fold in sorted({unit.fold for unit in units}):
        same = [unit for unit in units if unit.fold == fold]
        said = [unit.predictions[role].probability for unit in same]
        probabilities = np.stack([table for table in said if table is not None])
        label, size = same[0].label, len(same[0].patients)
        if absent := tuple(sorted(set(range(probabilities.shape[2])) - set(label.tolist()))):
            lacking[fold] = absent
        together.append((label, probabilities))
        once = _drawn(label, probabilities, np.ones((1, size), np.float32), floor)
        drawn = _drawn(label, probabilities, resample.draws(size, fold=fold), floor)
        for name in once:
            values, draws = found.setdefault(name, ([], []))
            values.append(float(once[name][0]))
            draws.append(drawn[name])
    every = {n: resample.interval(float(np.mean(v)), draws) for n, (v, draws) in found.items()}
    return ClassFigures(
        **every,
        calibration=calibration(together),
        patients=sum(len(label) for label, _ in together),
        lacking=lacking,
    )


def calibration(said: Sequence[tuple[Ints, Floats]]) -> tuple[float, float] | None:
    """Slope and intercept of what came true on the logit of each probability: labels [P] and
    probabilities [S, P, C] of S models, one class against the rest; of two classes the second. None
    where all of it came true, or none."""
    logits, truth = [], []
    for label, probabilities in said:
        count = probabilities.shape[2]
        for at in [1] if count == 2 else range(count):
            p = np.clip(probabilities[:, :, at], _LEAST, 1 - _LEAST)
            logits.append(np.log(p / (1 - p)).ravel())
            truth.append(np.tile(label == at, len(p)))
    came_true = np.concatenate(truth)
    if came_true.all() or not came_true.any():
        return None
    model = LogisticRegression(C=_WIDE, max_iter=1000)
    model.fit(np.concatenate(logits)[:, None], came_true)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _drawn(label: Ints, probabilities: Floats, counts: Counts, floor: float) -> dict[str, Floats]:
    """Each figure of each draw [B], mean over models."""
    rows = [_of_one(label, table, counts, floor) for table in probabilities]
    return {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}


def _of_one(label: Ints, table: Floats, counts: Counts, floor: float) -> dict[str, Floats]:
    guess, total = table.argmax(axis=1), counts.sum(axis=1, dtype=np.float64)
    named = table.max(axis=1) >= floor
    sure = counts[:, named].sum(axis=1, dtype=np.float64)
    right = counts[:, named & (guess == label)].sum(axis=1, dtype=np.float64)
    return resample.of_all_classes(label, guess, counts, table.shape[1]) | {
        "named": sure / total,
        "right": np.divide(right, sure, out=np.full(len(total), np.nan), where=sure > 0),
    }
