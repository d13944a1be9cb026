"""What stands beside every student: age, the clinic, genes, and the mean of slide and genes."""

from __future__ import annotations

from dataclasses import replace

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from training.learning import survival
from training.learning.bags import Batch, Patients
from training.learning.fitted import Fitted, Score, predict, scale_of
from training.learning.journal import Journal
from training.learning.loop import Schedule, train
from training.learning.split import Split, measured
from training.methods.baselines.linear import age_score, clinical_score
from training.methods.baselines.multimodal import fuse

_SCHEDULE = Schedule(
    epochs=30, lr=1e-3, weight_decay=1e-3, window=128, optimizer="adamw", sampling="shuffle"
)


def references(
    split: Split, fitted: Fitted, seed: int, journal: Journal
) -> dict[tuple[str, str], Score]:
    """Roles age, genomic and late_fusion of the outer fold, where `fitted` lacks them.

    Age and clinic are there where they are known, genes where the cohort has some. Late fusion
    takes the twin; a method without one has none.
    """
    found: dict[tuple[str, str], Score] = {}
    for role, score in (("age", age_score(split)), ("clinical", clinical_score(split))):
        if score is not None:
            found |= {(role, rule): score for rule in ("inner", "last")}
    if split.train.genes.shape[1] == 0:
        return found
    own = fitted.scores.get(("genomic", "last"))
    genomic = genomic_score(split, seed, journal) if own is None else own
    if genomic is None:
        return found
    for rule in ("inner", "last"):
        genes = fitted.scores.get(("genomic", rule), genomic)
        found["genomic", rule] = genes
        slide = _slide_score(fitted, rule)
        if slide is not None:
            found["late_fusion", rule] = fuse(slide, genes)
    return found


def genomic_score(split: Split, seed: int, journal: Journal) -> Score | None:
    """Cox network on all genes, 30 epochs; for classes a logistic regression.

    Fitted on everybody outside the fold whose genes were measured; None where they are too few to
    tell outcomes apart.
    """
    patients = measured(split.everyone)
    if not _tells(split, patients):
        return None
    if split.task.kind != "survival":
        model = LogisticRegression(C=1e-3, max_iter=2000, class_weight="balanced")
        model.fit(patients.genes.numpy(), patients.label.numpy())
        return Score(probability=model.predict_proba(split.test.genes.numpy()))
    network = cox_network(split.train.genes.shape[1], seed)

    def answer(batch: Batch) -> Tensor:
        risk: Tensor = network(batch.genes)[:, 0]
        return risk

    train(
        "genomic",
        network,
        lambda batch: {"total": survival.cox(answer(batch), batch.time, batch.event)},
        replace(patients, bags=tuple(bag[:1] for bag in patients.bags), coarse=None),
        _SCHEDULE,
        seed=seed,
        journal=journal,
    )
    scale = scale_of(predict(network, answer, patients))
    return Score(risk=predict(network, answer, split.test), scale=scale)


def _tells(split: Split, patients: Patients) -> bool:
    """Whether there is a death and another patient, or every class."""
    if split.task.kind != "survival":
        return len(patients.label.unique()) == len(split.task.classes)
    return len(patients) > 1 and bool((patients.event > 0).any())


def cox_network(genes: int, seed: int) -> nn.Sequential:
    """Genes [B, G] to a log hazard [B, 1]: two hidden layers of 256 and 128."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Dropout(0.25),
        nn.Linear(genes, 256), nn.ELU(), nn.Dropout(0.5),
        nn.Linear(256, 128), nn.ELU(), nn.Dropout(0.5),
        nn.Linear(128, 1),
    )  # fmt: skip


def _slide_score(fitted: Fitted, rule: str) -> Score | None:
    return fitted.scores.get(("twin", rule))
