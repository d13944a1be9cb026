"""Cross-fitted distillation: a slide-only student of a teacher that saw clinic and genes.

    teacher   Cox ridges on the clinic, on components of genes and of alterations, stacked;
              its targets for training patients are out of fold
    student   linear + attention, heads for the own risk (Cox) and for the teacher's risk
    losses    Cox partial likelihood + squared error to the target
    dropped   the teacher and all it saw; nothing but the slide is needed

Not a published method. In-sample teachers were measured to hurt on these cohorts; its penalties and
its 24 steps were chosen on inner splits (LOG.md), so no epoch is chosen here and both rules give
the same scores. The twin is the same student without the teacher's heads. Two controls have all the
heads: "self" is taught by a cross-fitted model of the slide alone (the same capacity, nothing
privileged), the null by the teacher's targets permuted among the training patients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from training.errors import TrainingError
from training.learning import survival
from training.learning.bags import Batch, Patients, concatenated
from training.learning.calibrate import CalibratedSurvival, Calibration, calibrated
from training.learning.fitted import Fitted, Floats, Score, risk_correlation, scale_of
from training.learning.journal import Journal
from training.learning.loop import Schedule, train
from training.learning.split import Split
from training.methods.crossfit.network import (
    CAP,
    AttentionBranch,
    SlideRisk,
    SlideStudent,
    Widths,
)
from training.methods.crossfit.teacher import (
    Teacher,
    block_risks,
    cox_ridge,
    out_of_fold,
    stacked,
)

OWN_PENALTY = 3.0
TEACHER_PENALTY = 0.3


@dataclass(frozen=True)
class Settings:
    """Chosen on inner splits of the five TCGA cohorts, one recipe for all."""

    epochs: int = 24
    """Steps over the whole training part."""
    lr: float = 2e-3
    weight_decay: float = 1e-2
    members: int = 2
    hidden: int = 48
    attention: int = 24
    dropout: float = 0.3
    max_instances: int = 32
    null: bool = True
    """Also train on permuted targets."""
    capacity_twin: bool = True
    """Also train on targets of the slide alone: a twin of equal capacity."""


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Student, twin and null, fitted on everybody outside the fold; and the teacher's own score.

    The inner validation patients serve the calibration alone: a student that has not seen them
    says how its risk turns into probabilities. Raises TrainingError for a task that is not
    survival.
    """
    if split.task.kind != "survival":
        raise TrainingError(
            f"method crossfit: found task {split.task.name}, expected survival (os); use mkd or "
            "disentangled for classes"
        )
    everyone = concatenated(split.train, split.valid)
    blocks = block_risks(everyone, split.test, seed)
    teacher, genomic = stacked(blocks, everyone), stacked(blocks, everyone, clinical=False)
    if teacher is None:
        raise TrainingError(
            f"cohort {split.cohort}: found neither ages, clinical columns nor genes, expected "
            "something for the teacher of method crossfit; use abmil without a teacher"
        )
    targets: dict[str, Floats | None] = {"student": teacher.targets, "twin": None}
    if settings.null:
        targets["null"] = np.random.default_rng(seed).permutation(teacher.targets)
    if settings.capacity_twin:
        targets["self"] = slide_targets(everyone, seed)
    networks = {
        role: student(everyone, target, settings, seed, journal, role)
        for role, target in targets.items()
    }
    scale, change = _calibration(split, settings, seed, journal)
    scale.student = SlideStudent(networks["student"]).eval()
    scores = {
        role: Score(risk=_risk(net, split.test), scale=scale_of(_risk(net, everyone)))
        for role, net in networks.items()
    }
    scores["student"] = _with_survival(scale, scores["student"], split.test)
    scores["teacher"] = Score(risk=teacher.risk)
    if genomic is not None:
        scores["genomic"] = Score(risk=genomic.risk, scale=scale_of(genomic.targets))
    return Fitted(
        {(role, rule): score for role, score in scores.items() for rule in ("inner", "last")},
        student=scale.eval(),
        facts=_facts(everyone, split.test, teacher, genomic, networks["student"])
        | {"inner_loss": change.before, "inner_loss_calibrated": change.after},
        is_calibrated=True,
    )


def student(
    patients: Patients,
    target: Floats | None,
    settings: Settings,
    seed: int,
    journal: Journal,
    phase: str,
) -> SlideRisk:
    """A network fitted on `patients`; `target` [P] is the teacher's risk, None for the twin."""
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
    network = _with_linear(branch, patients, target)
    network.eval()
    network.fit_scales(patients)
    return network


def _with_linear(branch: AttentionBranch, patients: Patients, target: Floats | None) -> SlideRisk:
    """Adds the branch on the mean instance: a Cox ridge, and a ridge regression to the target."""
    z, mean, std = _standardized_means(patients)
    own = cox_ridge(z, patients, OWN_PENALTY)
    unit = np.eye(z.shape[1])
    columns = [own(unit) - own(np.zeros_like(unit))]
    if target is not None:
        columns.append(Ridge(alpha=TEACHER_PENALTY * len(z)).fit(z, target).coef_)
    linear = torch.from_numpy(np.stack(columns, axis=1)).float()
    return SlideRisk(branch, linear, mean.float(), std.float())


def slide_targets(patients: Patients, seed: int) -> Floats:
    """[P] out-of-fold risks by a Cox ridge on the mean instance: a teacher that knows no more."""
    z, _, _ = _standardized_means(patients)
    return out_of_fold(
        lambda rows: cox_ridge(z[rows], patients.subset(rows.tolist()), OWN_PENALTY),
        z,
        patients,
        seed,
    )


def _standardized_means(patients: Patients) -> tuple[Floats, Tensor, Tensor]:
    """Mean instance [P, D] of each patient, standardized and cut; with mean and deviation [D]."""
    pooled = torch.stack([bag.mean(dim=0) for bag in patients.bags]).double()
    mean, std = pooled.mean(dim=0), pooled.std(dim=0, correction=0) + 1e-6
    return ((pooled - mean) / std).clamp(-CAP, CAP).numpy(), mean, std


def _calibration(
    split: Split, settings: Settings, seed: int, journal: Journal
) -> tuple[CalibratedSurvival, Calibration]:
    """Scale and shift by the inner validation patients, of a student that did not see them."""
    teacher = stacked(block_risks(split.train, split.valid, seed), split.train)
    if teacher is None:
        raise TrainingError(
            f"cohort {split.cohort}: found nothing for the teacher among the inner training "
            "patients, expected ages, clinical columns or genes; use abmil without a teacher"
        )
    inner = student(split.train, teacher.targets, settings, seed, journal, "inner student")
    wrapped, change = calibrated(SlideStudent(inner).eval(), split.valid, "survival")
    assert isinstance(wrapped, CalibratedSurvival)
    return wrapped, change


def _risk(network: SlideRisk, patients: Patients) -> Floats:
    risk: Floats = network.risks(network.each(patients.bags)).double().numpy()
    return risk


def _with_survival(student: CalibratedSurvival, score: Score, patients: Patients) -> Score:
    with torch.inference_mode():
        curves = torch.stack([student(bag).survival for bag in patients.bags])
    return replace(score, survival=curves.double().numpy())


def _facts(
    everyone: Patients,
    test: Patients,
    teacher: Teacher,
    genomic: Teacher | None,
    network: SlideRisk,
) -> dict[str, float]:
    """How much of the teacher, and of the genes alone, the slide shows on the outer fold."""
    heads = network.log_hazards(network.each(test.bags))
    pairs = {"teacher_correlation": (heads[:, :, -1].sum(dim=1), teacher.risk)}
    if genomic is not None:
        linear = _with_linear(network.attention, everyone, genomic.targets).eval()
        pairs["genomic_correlation"] = (linear.each(test.bags)[0, :, 1], genomic.risk)
    found = {
        name: risk_correlation(Score(risk=shown.double().numpy()), Score(risk=true))
        for name, (shown, true) in pairs.items()
    }
    return {name: value for name, value in found.items() if value is not None}
