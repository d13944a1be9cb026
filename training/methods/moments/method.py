"""Classes from the moments of a bag: labels, and what genes say of them, in one linear map.

    teacher   logistic regression on the genes; its log odds for training patients are out of fold
    student   logistic regression on mean and deviation of the instances, plus a ridge from the same
              numbers to the teacher's log odds; log odds are summed, so it is one linear map
    dropped   the genes

Not a published method: what inner splits of receptor tasks preferred (LOG.md, 2026-11-28). The twin
is taught by labels alone. Two controls have all there is: "self" is taught by the out-of-fold log
odds of the slide (the same capacity, nothing privileged), the null by the teacher's targets
permuted. No epoch is chosen: both rules give the same scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from training.errors import TrainingError
from training.learning.bags import Patients, has_genes
from training.learning.fitted import Fitted, Floats, Score
from training.learning.journal import Journal
from training.learning.split import Split
from training.methods.moments.learners import (
    Targets,
    classifier,
    exported,
    linear_map,
    log_odds,
    out_of_fold,
    require_classes,
    scored,
)
from training.methods.moments.network import MomentsStudent, moments

CAP = 5.0
"""Standard deviations at which a column is cut."""


@dataclass(frozen=True)
class Settings:
    """Chosen on inner splits of er, pr and her2."""

    epochs: int = 0
    """Not used: a linear model has no epochs."""
    labels_c: float = 0.003
    """Inverse penalty of the logistic regression on labels."""
    genes_c: float = 0.001
    """The same of the teacher's."""
    ridge: float = 300.0
    """Penalty of the map to the teacher's log odds."""
    capacity_twin: bool = True
    null: bool = True


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Student, twin, "self", null, and the teacher's own scores.

    Raises TrainingError for survival, and without genes of enough patients of each class.
    """
    require_classes(split, "moments")
    if not _genes(split.everyone).shape[1]:
        raise TrainingError(
            f"cohort {split.cohort}: found no gene columns, expected some for the teacher of "
            "method moments; use pooled, which needs no genes"
        )
    student, change, score = exported(split, partial(_taught, settings, seed, "student"))
    scores = {"student": score}
    roles = ["twin", *["self"] * settings.capacity_twin, *["null"] * settings.null]
    for role in roles:
        make = partial(_taught, settings, seed, role)
        scores[role] = scored(split, make(split.everyone), make(split.train))
    scores["teacher"] = _teacher(split, settings)
    network = student.student
    assert isinstance(network, MomentsStudent)
    return Fitted(
        {(role, rule): score for role, score in scores.items() for rule in ("inner", "last")},
        student=student,
        facts={
            "parameters": float(network.weights.numel() + network.bias.numel()),
            "inner_loss": change.before,
            "inner_loss_calibrated": change.after,
            "teacher_correlation": _correlation(split, network, scores["teacher"]),
        },
        is_calibrated=True,
    )


def _taught(settings: Settings, seed: int, role: str, patients: Patients) -> MomentsStudent:
    """The linear map of `role`, fitted on `patients`."""
    make = partial(linear_map, patients, settings.labels_c, cap=CAP, ridge=settings.ridge)
    if role == "twin":
        return make()
    rows = has_genes(patients.genes).numpy().nonzero()[0]
    known = patients.subset(rows.tolist())
    label = known.label.numpy()
    if role == "self":
        table = _standardized(moments(known))
        return make(targets=Targets(rows, out_of_fold(table, label, settings.labels_c, seed)))
    targets = out_of_fold(_genes(known), label, settings.genes_c, seed)
    if role == "null":
        targets = np.random.default_rng(seed).permutation(targets)
    return make(targets=Targets(rows, targets))


def _teacher(split: Split, settings: Settings) -> Score:
    """What the genes say of the outer fold, fitted on everybody outside it who has some."""
    everyone = split.everyone
    known = everyone.subset(has_genes(everyone.genes).nonzero().squeeze(1))
    model = classifier(settings.genes_c).fit(_genes(known), known.label.numpy())
    return Score(probability=model.predict_proba(_genes(split.test)))


def _genes(patients: Patients) -> Floats:
    table: Floats = patients.genes.double().clamp(-CAP, CAP).numpy()
    return table


def _standardized(table: Floats) -> Floats:
    scaled: Floats = np.clip((table - table.mean(axis=0)) / (table.std(axis=0) + 1e-9), -CAP, CAP)
    return scaled


def _correlation(split: Split, network: MomentsStudent, teacher: Score) -> float:
    """Of the student's and the teacher's log odds on the outer fold, patients with genes."""
    known = has_genes(split.test.genes).numpy()
    assert teacher.probability is not None
    pair = network.each(split.test.bags)[known], log_odds(teacher.probability)[known]
    if min(np.std(one) for one in pair) == 0:
        return 0.0
    return float(np.corrcoef(*(one.ravel() for one in pair))[0, 1])
