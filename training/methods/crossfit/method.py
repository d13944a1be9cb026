"""Cross-fitted distillation: a slide-only student of a teacher that saw clinic and genes.

    teacher   Cox ridges on the clinic, on components of genes and of alterations, stacked;
              its targets for training patients are out of fold
    student   linear + attention, heads for the own risk (Cox) and for the teacher's risk
    pan       with several cohorts: the same two heads once more, shared by all of them (pan.py)
    losses    Cox partial likelihood + squared error to the target
    dropped   the teacher and all it saw; nothing but the slide is needed

Not a published method. In-sample teachers were measured to hurt on these cohorts; its penalties and
its 24 steps were chosen on inner splits (LOG.md), so no epoch is chosen here and both rules give
the same scores. The twin is the same student without the teacher's heads. Two controls have all the
heads: "self" is taught by a cross-fitted model of the slide alone (the same capacity, nothing
privileged), the null by the teacher's targets permuted among the training patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from training.errors import TrainingError
from training.learning.bags import Patients, concatenated
from training.learning.calibrate import CalibratedSurvival, Calibration, calibrated
from training.learning.fitted import Fitted, Floats, Score, risk_correlation, scale_of
from training.learning.journal import Journal
from training.learning.split import Split
from training.methods.crossfit.network import SlideRisk, SlideStudent
from training.methods.crossfit.settings import Settings
from training.methods.crossfit.student import slide_targets, student, with_linear
from training.methods.crossfit.teacher import Teacher, block_risks, stacked

__all__ = ["Added", "Settings", "Taught", "fit", "fit_taught", "taught"]


@dataclass(frozen=True)
class Taught:
    """The teachers of one fold, and what they teach."""

    everyone: Patients
    """Everybody outside the fold."""
    teacher: Teacher
    genomic: Teacher | None
    inner: Teacher
    """Of the inner training patients, for the student that the calibration asks."""
    targets: Mapping[str, Floats | None]
    """Role -> [P] risks to learn; None for the twin."""


@dataclass(frozen=True)
class Added:
    """Weights of pan-cancer heads for one cohort: role -> [D, H]."""

    everyone: Mapping[str, Floats]
    """Fitted on everybody outside the fold."""
    inner: Floats
    """The student's, fitted without the inner validation patients."""


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Student, twin and null, fitted on everybody outside the fold; and the teacher's own score.

    The inner validation patients serve the calibration alone: a student that has not seen them
    says how its risk turns into probabilities. Raises TrainingError for a task that is not
    survival.
    """
    return fit_taught(split, taught(split, settings, seed), settings, seed, journal)


def taught(split: Split, settings: Settings, seed: int) -> Taught:
    """Fits the teachers; raises TrainingError as `fit` does."""
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
    inner = stacked(block_risks(split.train, split.valid, seed), split.train)
    if inner is None:
        raise TrainingError(
            f"cohort {split.cohort}: found nothing for the teacher among the inner training "
            "patients, expected ages, clinical columns or genes; use abmil without a teacher"
        )
    targets: dict[str, Floats | None] = {"student": teacher.targets, "twin": None}
    if settings.null:
        targets["null"] = np.random.default_rng(seed).permutation(teacher.targets)
    if settings.capacity_twin:
        targets["self"] = slide_targets(everyone, seed)
    return Taught(everyone, teacher, genomic, inner, targets)


def fit_taught(
    split: Split,
    given: Taught,
    settings: Settings,
    seed: int,
    journal: Journal,
    added: Added | None = None,
) -> Fitted:
    """The students of teachers that are there already, with pan-cancer heads where some are."""
    everyone, teacher, genomic = given.everyone, given.teacher, given.genomic
    networks = {
        role: student(everyone, target, settings, seed, journal, role,
                      None if added is None else added.everyone[role])
        for role, target in given.targets.items()
    }  # fmt: skip
    scale, change = _calibration(split, given, settings, seed, journal, added)
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


def _calibration(
    split: Split,
    given: Taught,
    settings: Settings,
    seed: int,
    journal: Journal,
    added: Added | None,
) -> tuple[CalibratedSurvival, Calibration]:
    """Scale and shift by the inner validation patients, of a student that did not see them."""
    pan = None if added is None else added.inner
    inner = student(split.train, given.inner.targets, settings, seed, journal, "inner student", pan)
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
        linear = with_linear(network.attention, everyone, genomic.targets).eval()
        pairs["genomic_correlation"] = (linear.each(test.bags)[0, :, 1], genomic.risk)
    found = {
        name: risk_correlation(Score(risk=shown.double().numpy()), Score(risk=true))
        for name, (shown, true) in pairs.items()
    }
    return {name: value for name, value in found.items() if value is not None}
