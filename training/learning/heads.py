"""What a network's last layer means for a task: its size, loss and inner validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.cohorts.cohort import Task
from training.learning import survival
from training.learning.bags import Batch, Patients
from training.learning.fitted import predict

BINS = 4


class SurvivalOutputs(NamedTuple):
    """What a survival student says of one slide."""

    risk: Tensor
    """[1], in [-4, 0], higher is worse."""
    survival: Tensor
    """[4] probability of living past the end of each time bin."""
    attention: Tensor
    """[N], sums to 1."""
    embedding: Tensor
    """[E]."""


class ClassOutputs(NamedTuple):
    """What a classifying student says of one slide."""

    probability: Tensor
    """[C]."""
    attention: Tensor
    """[N], sums to 1."""
    embedding: Tensor
    """[E]."""


def outputs(task: Task) -> int:
    """Size of the last layer: hazard logits of four bins, or one logit per class."""
    return BINS if task.kind == "survival" else len(task.classes)


def task_loss(task: Task, logits: Tensor, batch: Batch) -> Tensor:
    """Discrete-time negative log likelihood, or cross entropy; the mean over the batch."""
    if task.kind == "survival":
        return survival.nll(logits, batch.bin, batch.event)
    loss: Tensor = cross_entropy(logits, batch.label)
    return loss


def student_outputs(
    task: Task, logits: Tensor, attention: Tensor, embedding: Tensor
) -> SurvivalOutputs | ClassOutputs:
    """The outputs of one slide from logits [K], attention [N] and embedding [E]."""
    if task.kind == "survival":
        risk = survival.risk(logits).reshape(1)
        return SurvivalOutputs(risk, survival.survival_curve(logits), attention, embedding)
    return ClassOutputs(torch.softmax(logits, dim=0), attention, embedding)


def inner_judge(
    task: Task, model: nn.Module, answer: Callable[[Batch], Tensor], valid: Patients
) -> Callable[[], float]:
    """Minus the loss on the inner validation patients.

    A likelihood moves with every patient; the C-index of some fifty patients with a handful of
    deaths jumps, and its best epoch is luck.
    """

    def judge() -> float:
        logits = torch.from_numpy(predict(model, answer, valid))
        return -float(task_loss(task, logits, valid.batch(range(len(valid)))))

    return judge
