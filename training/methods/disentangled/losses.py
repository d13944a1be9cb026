"""Losses of the disentangled student and the targets that teachers give it (arXiv 2508.16479)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, pad, softplus

from training.cohorts.cohort import Task
from training.learning import survival
from training.learning.bags import Batch
from training.learning.losses import distill_kl


class Targets(NamedTuple):
    """What teachers say of P training patients; the coarse magnification first."""

    logits: Tensor
    """[P, 2, C]"""
    halves: Tensor
    """[P, 2, 2, 128]: per magnification tumor and microenvironment."""
    known: Tensor
    """bool [P]: whether there is a target; there is none without measured genes."""

    def of(self, rows: Tensor) -> Targets:
        """Those of the patients at `rows`."""
        return Targets(self.logits[rows], self.halves[rows], self.known[rows])

    def shuffled(self, seed: int) -> Targets:
        """The known targets dealt out anew among the patients that have one: a control."""
        rows = self.known.nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        moved = torch.arange(len(self.known))
        moved[rows] = rows[order]
        return self.of(moved)


def class_weights(label: Tensor, classes: int) -> Tensor:
    """[C] P / (C * patients of the class), for the cross entropy; label int64 [P]."""
    counts = torch.bincount(label, minlength=classes).clamp(min=1)
    return len(label) / (classes * counts.float())


def task_loss(task: Task, logits: Tensor, batch: Batch, weights: Tensor | None) -> Tensor:
    """Likelihood of the time bin (alpha 0), or cross entropy with class `weights` [C]."""
    if task.kind == "survival":
        return survival.nll(logits, batch.bin, batch.event)
    loss: Tensor = cross_entropy(logits, batch.label, weight=weights)
    return loss


def event_times(logits: Tensor) -> Tensor:
    """[B, K + 1] log probability of dying in each bin and of living past the last.

    Of hazard logits [B, K]. Their softmax would not change where all hazards rise together; this
    distribution does.
    """
    lived = torch.cumsum(-softplus(logits), dim=-1)
    died = pad(lived[:, :-1], (1, 0)) - softplus(-logits)
    return torch.cat([died, lived[:, -1:]], dim=-1)


def distillation(
    logits: Sequence[Tensor],
    regions: Sequence[Tensor],
    targets: Targets,
    *,
    temperature: float,
    times: bool,
) -> tuple[Tensor, Tensor]:
    """Divergence of the logits [B, C] and squared error of the tokens [B, 2, 128], coarse first.

    Summed over the magnifications, averaged over the patients that have a target; 0 where none of
    the batch has. `times`: logits are hazards, compared as event times.
    """
    known = targets.known.nonzero().squeeze(1)
    zero = logits[0].sum() * 0
    divergence, error = zero, zero
    if not len(known):
        return divergence, error
    for at, (student, tokens) in enumerate(zip(logits, regions, strict=True)):
        own, taught = student[known], targets.logits[known, at]
        if times:
            own, taught = event_times(own), event_times(taught)
        divergence = divergence + distill_kl(own, taught, temperature)
        error = error + mse_loss(tokens[known], targets.halves[known, at])
    return divergence, error


def aligned(halves: Tensor, seen: Tensor, reference: Tensor) -> Tensor:
    """[P, 2, 2, 128] halves of one teacher, turned to match those of another.

    Two trainings give two bases of the same space, in which a squared error means nothing. The
    rotation per magnification and subspace is the best one between `seen` and `reference`
    [Q, 2, 2, 128], what both say of the same patients (Schönemann 1966).
    """
    turned = halves.clone()
    for at in np.ndindex(2, 2):
        where = (slice(None), *at)
        turn, _ = orthogonal_procrustes(seen[where].numpy(), reference[where].numpy())
        turned[where] = halves[where] @ torch.from_numpy(turn)
    return turned
