"""Fits a student of `crossfit`: ridges in closed form, the attention branch by gradient."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from training.learning import survival
from training.learning.bags import Batch, Patients
from training.learning.fitted import Floats
from training.learning.journal import Journal
from training.learning.loop import Schedule, train
from training.methods.crossfit.network import CAP, AttentionBranch, SlideRisk, Widths
from training.methods.crossfit.settings import OWN_PENALTY, TEACHER_PENALTY, Settings
from training.methods.crossfit.teacher import cox_ridge, out_of_fold


def student(
    patients: Patients,
    target: Floats | None,
    settings: Settings,
    seed: int,
    journal: Journal,
    phase: str,
    added: Floats | None = None,
) -> SlideRisk:
    """A network fitted on `patients`; `target` [P] is the teacher's risk, None for the twin.

    `added` [D, H] are weights of pan-cancer heads, which join the linear ones.
    """
    goal, spread = None, 1.0
    if target is not None:
        spread = float(target.std()) + 1e-9
        goal = torch.from_numpy((target - target.mean()) / spread).float()
    torch.manual_seed(seed)
    widths = Widths(settings.members, settings.hidden, settings.attention, settings.dropout)
    branch = AttentionBranch(torch.cat(patients.bags), 1 if goal is None else 2, widths)

    def losses(batch: Batch) -> dict[str, Tensor]:
        heads, _, _ = branch(batch.bags, batch.mask)
        own = torch.stack([survival.cox(risk, batch.time, batch.event) for risk in heads[..., 0]])
        found = {"cox": own.mean()}
        if goal is not None:
            found["teacher"] = (heads[..., 1] - goal[batch.rows]).square().mean()
        return {"total": torch.stack(list(found.values())).sum() * len(heads), **found}

    if settings.epochs == 0:
        branch.silence()
        return _scaled(with_linear(branch, patients, target, added), patients)
    train(
        phase,
        branch,
        losses,
        patients,
        Schedule(
            settings.epochs,
            settings.lr,
            settings.weight_decay,
            window=len(patients),
            optimizer="adamw",
            warmup_epochs=max(1, settings.epochs // 5),
            cosine=True,
            sampling="shuffle",
            max_instances=settings.max_instances,
        ),
        seed=seed,
        journal=journal,
    )
    with torch.no_grad():
        branch.heads[..., 1:] *= spread  # learned in standard deviations; back to log hazards
    return _scaled(with_linear(branch, patients, target, added), patients)


def _scaled(network: SlideRisk, patients: Patients) -> SlideRisk:
    network.eval()
    network.fit_scales(patients)
    return network


def with_linear(
    branch: AttentionBranch,
    patients: Patients,
    target: Floats | None,
    added: Floats | None = None,
) -> SlideRisk:
    """Adds the branch on the mean instance: a Cox ridge, and a ridge regression to the target.

    Pan-cancer weights `added` are of the same standardized mean, so they are summed with these.
    """
    z, mean, std = standardized_means(patients)
    own = cox_ridge(z, patients, OWN_PENALTY)
    unit = np.eye(z.shape[1])
    columns = [own(unit) - own(np.zeros_like(unit))]
    if target is not None:
        columns.append(Ridge(alpha=TEACHER_PENALTY * len(z)).fit(z, target).coef_)
    weights = np.stack(columns, axis=1)
    if added is not None:
        weights = weights + added
    estimates = 1 + (added is not None) + (not branch.is_silent)
    linear = torch.from_numpy(weights).float()
    return SlideRisk(branch, linear, mean.float(), std.float(), estimates)


def slide_targets(patients: Patients, seed: int) -> Floats:
    """[P] out-of-fold risks by a Cox ridge on the mean instance: a teacher that knows no more."""
    z, _, _ = standardized_means(patients)
    return out_of_fold(
        lambda rows: cox_ridge(z[rows], patients.subset(rows.tolist()), OWN_PENALTY),
        z,
        patients,
        seed,
    )


def standardized_means(patients: Patients) -> tuple[Floats, Tensor, Tensor]:
    """Mean instance [P, D] of each patient, standardized and cut; with mean and deviation [D]."""
    pooled = torch.stack([bag.mean(dim=0) for bag in patients.bags]).double()
    mean, std = pooled.mean(dim=0), pooled.std(dim=0, correction=0) + 1e-6
    return ((pooled - mean) / std).clamp(-CAP, CAP).numpy(), mean, std
