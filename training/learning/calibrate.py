"""Percentages that may be shown: survival and class probabilities recalibrated on inner validation.

Balanced sampling distorts base rates, so hazards and probabilities as trained are not percentages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.cohorts.material import Task
from training.learning import survival
from training.learning.bags import Patients
from training.learning.fitted import Floats, Score, class_score, scale_of, survival_score
from training.learning.heads import ClassOutputs, SurvivalOutputs

_STEPS = 200
_SMALLEST = 1e-6


class Calibration(NamedTuple):
    """Loss on the inner validation patients before and after."""

    before: float
    after: float


class CalibratedSurvival(nn.Module):
    """A survival student whose hazard logits pass z -> scale * z + shift of the bin.

    The order of the patients, `risk`, stays as trained.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.zeros(4))

    def calibrated(self, logits: Tensor) -> Tensor:
        """Hazard logits [..., 4] to hazard logits."""
        return self.log_scale.exp() * logits + self.shift

    def forward(self, *features: Tensor) -> SurvivalOutputs:
        """Features [N, D] of one slide, and [M, D] of its second magnification if it takes one."""
        found = self.student(*features)
        curve = survival.survival_curve(self.calibrated(hazard_logits(found.survival)))
        return found._replace(survival=curve)  # type: ignore[no-any-return]


class CalibratedClasses(nn.Module):
    """A classifying student whose log probabilities pass l -> scale * l + shift of the class."""

    def __init__(self, student: nn.Module, classes: int) -> None:
        super().__init__()
        self.student = student
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.zeros(classes))

    def calibrated(self, logits: Tensor) -> Tensor:
        """Class logits [..., C] to class logits."""
        return self.log_scale.exp() * logits + self.shift

    def forward(self, *features: Tensor) -> ClassOutputs:
        """Features [N, D] of one slide, and [M, D] of its second magnification if it takes one."""
        found = self.student(*features)
        logits = self.calibrated(found.probability.clamp(min=_SMALLEST).log())
        return found._replace(probability=torch.softmax(logits, dim=-1))  # type: ignore[no-any-return]


Calibrated = CalibratedSurvival | CalibratedClasses


def hazard_logits(curve: Tensor) -> Tensor:
    """Logits [..., 4] of the hazards of a survival curve [..., 4]."""
    before = torch.cat([torch.ones_like(curve[..., :1]), curve[..., :-1]], dim=-1)
    hazard = (1 - curve / before.clamp(min=_SMALLEST)).clamp(_SMALLEST, 1 - _SMALLEST)
    return torch.log(hazard) - torch.log1p(-hazard)


def calibrated(student: nn.Module, valid: Patients, kind: str) -> tuple[Calibrated, Calibration]:
    """`student` with scale and shift fitted by maximum likelihood on the inner validation patients.

    They are unsampled: every patient once. A weak pull to scale 1 and shift 0 keeps the few
    patients of a rare bin from running away with it.
    """
    logits = raw_logits(student, valid, kind)
    return calibrated_by(student, logits, _target(valid, kind), valid.event, kind)


def bare(student: nn.Module) -> nn.Module:
    """The student under its calibration."""
    inside = (
        student.student if isinstance(student, CalibratedSurvival | CalibratedClasses) else student
    )
    assert isinstance(inside, nn.Module)
    return inside


def raw_logits(student: nn.Module, patients: Patients, kind: str) -> Tensor:
    """What a bare student says of each patient before any calibration: hazard logits [P, 4] or log
    probabilities [P, C]."""
    with torch.inference_mode():
        found = [student(*shown) for shown in patients.shown]
    if kind == "survival":
        return torch.stack([hazard_logits(one.survival) for one in found]).clone()
    return torch.stack([one.probability for one in found]).clamp(min=_SMALLEST).log().clone()


def calibrated_by(
    student: nn.Module, logits: Tensor, target: Tensor, event: Tensor, kind: str
) -> tuple[Calibrated, Calibration]:
    """`student` with scale and shift fitted to raw `logits` [P, K] that others said of patients.

    `target` int64 [P] is each patient's time bin or class, `event` float32 [P].
    """
    wrapped: Calibrated = (
        CalibratedSurvival(student)
        if kind == "survival"
        else CalibratedClasses(student, logits.shape[1])
    )
    return wrapped.eval(), _fit(wrapped, logits, target, event, kind)


def calibrated_score(task: Task, logits: Floats, inner: Floats, valid: Patients) -> Score:
    """What logits [P, K] say once scale and shift are fitted to `inner` [V, K], those of `valid`.

    The same that `calibrated` does to the student that is exported, for any network: a table
    compares percentages that were treated alike. Risks stay as trained.
    """
    asked, known = torch.from_numpy(logits).float(), torch.from_numpy(inner).float()
    if task.kind == "survival":
        wrapped: Calibrated = CalibratedSurvival(nn.Identity())
        asked, known = (hazard_logits(survival.survival_curve(x)) for x in (asked, known))
    else:
        wrapped = CalibratedClasses(nn.Identity(), logits.shape[1])
        asked, known = (_log_probability(x) for x in (asked, known))
    _fit(wrapped, known, _target(valid, task.kind), valid.event, task.kind)
    with torch.inference_mode():
        said = wrapped.calibrated(asked).double().numpy()
    if task.kind != "survival":
        return class_score(said)
    risk = survival_score(logits).risk
    scale = scale_of(survival_score(inner).risk)
    return Score(risk=risk, survival=survival_score(said).survival, scale=scale)


def _log_probability(logits: Tensor) -> Tensor:
    return torch.softmax(logits, dim=-1).clamp(min=_SMALLEST).log()


def _target(patients: Patients, kind: str) -> Tensor:
    return patients.bin if kind == "survival" else patients.label


def _fit(
    wrapped: Calibrated, logits: Tensor, target: Tensor, event: Tensor, kind: str
) -> Calibration:
    """Sets scale and shift of `wrapped` by what was said of patients nobody had seen."""

    def loss() -> Tensor:
        given = wrapped.calibrated(logits)
        if kind == "survival":
            return survival.nll(given, target, event)
        value: Tensor = cross_entropy(given, target)
        return value

    before = float(loss().detach())
    _maximize(wrapped, loss, len(target))
    return Calibration(before, float(loss().detach()))


def _maximize(wrapped: Calibrated, loss: Callable[[], Tensor], patients: int) -> None:
    """Full steps; where they run away (classes that the inner patients separate), a line search."""
    parameters = (wrapped.log_scale, wrapped.shift)
    for search in (None, "strong_wolfe"):
        optimizer = torch.optim.LBFGS(parameters, max_iter=_STEPS, line_search_fn=search)

        def closure(optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            pull = wrapped.log_scale.square() + wrapped.shift.square().sum()
            total: Tensor = loss() + pull / patients
            total.backward()
            return total

        optimizer.step(closure)
        if all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            break
        with torch.no_grad():
            for parameter in parameters:
                parameter.zero_()
    for parameter in parameters:
        parameter.requires_grad_(False)
