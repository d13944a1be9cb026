"""What a fitted method hands back: scores of the outer fold, the student, a few facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.learning import survival
from training.learning.bags import Batch, Patients, batches

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What a model says of P patients. What a model does not say is None."""

    risk: Floats | None = None
    """[P], higher is worse."""
    survival: Floats | None = None
    """[P, 4] probability of living past the end of each time bin."""
    probability: Floats | None = None
    """[P, C] of each class."""
    scale: tuple[float, float] | None = None
    """Mean and deviation of the risk among patients outside the fold: what makes it one of several
    without looking at who else is asked."""


@dataclass(frozen=True)
class Fitted:
    """The result of `fit` of a method on one fold with one seed."""

    scores: dict[tuple[str, str], Score]
    """(role, rule) -> scores of the outer fold. Rules: "inner", the epoch chosen on the inner
    validation patients, and "last", the last epoch."""
    student: nn.Module | None = None
    """Evaluation mode; features [N, D] -> a NamedTuple of tensors. None: not exportable."""
    facts: dict[str, float] = field(default_factory=dict)
    is_calibrated: bool = False
    """Whether the student's probabilities were already fitted to patients it had not seen."""
    student_role: str = "student"
    """The role in `scores` that `student` has."""
    taught: Patients | None = None
    """Those of inner training whom `student` learned from; None: all of them."""


def survival_score(logits: Floats) -> Score:
    """Risk and survival from hazard logits [P, 4]."""
    given = torch.from_numpy(logits)
    return Score(risk=survival.risk(given).numpy(), survival=survival.survival_curve(given).numpy())


def class_score(logits: Floats) -> Score:
    """Class probabilities from logits [P, C]."""
    return Score(probability=torch.softmax(torch.from_numpy(logits), dim=1).numpy())


def scale_of(risk: Floats | None) -> tuple[float, float] | None:
    """`Score.scale` of the risks [P] of patients outside the fold."""
    return None if risk is None else (float(np.mean(risk)), max(float(np.std(risk)), 1e-12))


def predict(model: nn.Module, answer: Callable[[Batch], Tensor], patients: Patients) -> Floats:
    """`answer` [B, ...] for all patients in order, `model` in evaluation mode meanwhile."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        found = [answer(batch).double() for batch in batches(patients)]
    model.train(was_training)
    answers: Floats = torch.cat(found).numpy()
    return answers


def risk_correlation(first: Score, second: Score) -> float | None:
    """Pearson correlation of two risks of the same patients; None where one has no risk."""
    if first.risk is None or second.risk is None:
        return None
    if np.std(first.risk) == 0 or np.std(second.risk) == 0:
        return 0.0
    return float(np.corrcoef(first.risk, second.risk)[0, 1])
