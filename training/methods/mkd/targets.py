"""Cross-fitted targets for the MKD student: what T_G says of patients it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.learning.bags import Batch, Patients, has_genes
from training.learning.journal import Journal
from training.learning.loop import Losses, Schedule, train
from training.methods.mkd.networks import GenomicTeacher, Settings


def schedule(settings: Settings, epochs: int) -> Schedule:
    """Balanced windows, AdamW, one cosine over `epochs`, early stop (arXiv 2508.17213)."""
    return Schedule(
        epochs=epochs,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        window=settings.window,
        optimizer="adamw",
        cosine=True,
        drop_last=True,
        patience=settings.patience,
        min_epochs=settings.min_epochs,
    )


def out_of_fold_logits(
    phase: str,
    patients: Patients,
    columns: tuple[Tensor, ...],
    settings: Settings,
    *,
    seed: int,
    journal: Journal,
) -> Tensor:
    """float32 [P, 2]: logits of a T_G trained on the other parts of `patients`; 0 without genes.

    A teacher's logits on its own training patients repeat their labels; these do not. The genes
    (`columns`) were ranked by survival on all of `patients`, which is no label of theirs.
    """
    saved = journal.tensors(f"{phase}/crossfit")
    if saved is not None:
        return saved["logits"]
    rows = has_genes(patients.genes).nonzero().squeeze(1)
    logits = torch.zeros(len(patients), 2)
    parts = StratifiedKFold(settings.crossfit_folds, shuffle=True, random_state=seed)
    for k, (seen, held_out) in enumerate(parts.split(rows, patients.label[rows])):
        teacher = GenomicTeacher(columns, settings)
        train(
            f"{phase}/crossfit{k}",
            teacher,
            partial(_label_loss, teacher),
            patients.subset(rows[seen]),
            replace(schedule(settings, settings.crossfit_epochs), patience=None),
            seed=seed,
            journal=journal,
        )
        teacher.eval()
        with torch.inference_mode():
            logits[rows[held_out]] = teacher(patients.genes[rows[held_out]]).logits
    journal.save(f"{phase}/crossfit", {"logits": logits})
    return logits


def _label_loss(teacher: GenomicTeacher, batch: Batch) -> Losses:
    return {"total": cross_entropy(teacher(batch.genes).logits, batch.label)}
