"""MKD: ER, PR or HER2 from H&E, a student taught online by a genomic and a multimodal teacher.

MKD (MICCAI 2025, arXiv 2508.17213), from the equations of its released successor GMKDN ("Online
Teaching: Distilling Decomposed Multimodal Knowledge"). Three networks (mkd_networks.py) are
trained together from scratch; at inference the student is alone. `published()` holds the released
hyperparameters; `adapted()` what inner validation chose for bags of some forty region features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.errors import TrainingError
from training.learning.bags import Batch, Patients, has_genes
from training.learning.fitted import Fitted, Floats, Score, predict
from training.learning.gene_ranking import ranked_columns
from training.learning.journal import Journal
from training.learning.loop import Losses, train
from training.learning.losses import coral, distill_kl, orthogonality, similarity_preserving
from training.learning.split import Split
from training.learning.trained import both_rules
from training.methods.mkd.networks import (
    Answer,
    GenomicTeacher,
    MultimodalTeacher,
    Settings,
    SlideStudent,
    Student,
    adapted,
    published,
)
from training.methods.mkd.targets import out_of_fold_logits, schedule

__all__ = ["Settings", "adapted", "fit", "published", "window_losses"]


@dataclass(frozen=True)
class _Fold:
    """What every phase of one fit shares."""

    split: Split
    patients: Patients
    """Inner-training patients the phase may learn from."""
    columns: tuple[Tensor, ...]
    """Per omic, the ranked genes."""
    settings: Settings
    seed: int
    journal: Journal


class _Networks(nn.Module):
    """The student, with both teachers or alone."""

    def __init__(self, fold: _Fold, *, taught: bool) -> None:
        super().__init__()
        settings, width = fold.settings, fold.split.width
        self.student = Student(width, settings)
        if settings.standardize:
            self.student.standardize(fold.patients)
        self.genomic = GenomicTeacher(fold.columns, settings) if taught else None
        self.multimodal = MultimodalTeacher(width, fold.columns, settings) if taught else None

    def answer(self, role: str, batch: Batch) -> Tensor:
        """Logits [B, 2] of the student ("twin" where it is alone), "genomic" or "teacher"."""
        if role == "genomic" and self.genomic is not None:
            logits: Tensor = self.genomic(batch.genes).logits
        elif role == "teacher" and self.multimodal is not None:
            bags = self.student.scaled(batch.bags)
            logits = self.multimodal(bags, batch.mask, batch.genes).logits
        else:
            logits = self.student(batch.bags, batch.mask)[0].logits
        return logits


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Trains the three networks together, then the twin and, where asked, the null.

    All three networks are kept at one epoch, the student's best on inner validation. Roles:
    student S, teacher T_M, genomic T_G, twin (S alone, cross entropy only), null (S taught with
    the genes of another training patient).
    """
    _require_marker(split)
    torch.manual_seed(seed)
    profiled = has_genes(split.train.genes)
    patients = split.train
    if not settings.incomplete:
        patients = patients.subset(profiled.nonzero().squeeze(1))
    columns = tuple(
        ranked_columns(
            patients, split.genes.columns, omic, token=settings.token, limit=settings.genes
        )
        for omic in settings.omics.split("+")
    )
    fold = _Fold(split, patients, columns, settings, seed, journal)
    scores: dict[tuple[str, str], Score] = {}
    trio = _train(fold, "mkd", ("student", "teacher", "genomic"), scores)
    _train(fold, "twin", ("twin",), scores)
    if settings.null:
        draw = torch.randperm(len(patients), generator=torch.Generator().manual_seed(seed))
        permuted = replace(patients, genes=patients.genes[draw])
        _train(replace(fold, patients=permuted), "null", ("null",), scores)
    facts = _facts(fold, trio, profiled)
    return Fitted(scores, SlideStudent(trio.student).eval(), facts, taught=patients)


def window_losses(
    student: Answer,
    genomic: Answer,
    multimodal: Answer,
    label: Tensor,
    complete: Tensor,
    settings: Settings,
) -> dict[str, Tensor]:
    """The losses of a window of b patients (arXiv 2508.17213), and log |f| of the three.

    `complete` bool [b] marks the c patients with genes; the teachers' answers are theirs alone.
    Neither side of the similarity is detached: the teachers move too.
    """
    with_genes = label[complete]
    known = Answer(student.logits[complete], student.embedding[complete])
    found = {"ce": cross_entropy(student.logits, label)}
    for teacher in (genomic, multimodal):
        found["ce"] = found["ce"] + cross_entropy(teacher.logits, with_genes)
    features = (known.embedding, genomic.embedding, multimodal.embedding)
    f_s, f_g, f_m = features
    similarity = similarity_preserving(f_s, f_m) + similarity_preserving(f_s, f_g)
    found["sp"] = len(f_s) * similarity
    found["kl"] = sum(
        (
            distill_kl(one.logits, other.logits, settings.temperature)
            for teacher in (genomic, multimodal)
            for one, other in ((known, teacher), (teacher, known))
        ),
        start=label.new_zeros((), dtype=f_s.dtype),
    )
    found["da"] = coral(f_s, f_g) + coral(f_s, f_m) + coral(f_g, f_m)
    found["or"] = orthogonality(features, per_sample=settings.per_sample_orthogonality)
    found["total"] = (
        found["ce"]
        + settings.sp * found["sp"]
        + settings.kl * found["kl"]
        + settings.da * found["da"]
        + settings.orthogonal * found["or"]
    )
    for name, feature in zip("SGM", features, strict=True):
        found[f"log_norm_{name}"] = feature.detach().norm(dim=1).clamp(min=1e-12).log().mean()
    return found


def _train(
    fold: _Fold, phase: str, roles: tuple[str, ...], scores: dict[tuple[str, str], Score]
) -> _Networks:
    """One training of S, with its teachers unless `phase` is "twin"; adds the scores of `roles`."""
    settings = fold.settings
    networks = _Networks(fold, taught=phase != "twin")
    targets = None
    if settings.crossfit > 0 and phase != "twin":
        targets = out_of_fold_logits(
            phase, fold.patients, fold.columns, settings, seed=fold.seed, journal=fold.journal
        )

    def losses(batch: Batch) -> Losses:
        student, _ = networks.student(batch.bags, batch.mask)
        if networks.genomic is None or networks.multimodal is None:
            return {"total": cross_entropy(student.logits, batch.label)}
        here = has_genes(batch.genes)
        bags, genes = networks.student.scaled(batch.bags[here]), batch.genes[here]
        multimodal = networks.multimodal(bags, batch.mask[here], genes)
        genomic = networks.genomic(genes)
        found = window_losses(student, genomic, multimodal, batch.label, here, settings)
        if targets is not None:
            found["crossfit"] = distill_kl(
                student.logits[here], targets[batch.rows[here]], settings.crossfit_temperature
            )
            found["total"] = found["total"] + settings.crossfit * found["crossfit"]
        return found

    def student_auc() -> float:
        logits = predict(networks, lambda batch: networks.answer("student", batch), valid)
        return float(roc_auc_score(valid.label.numpy(), logits[:, 1] - logits[:, 0]))

    valid = fold.split.valid
    states = train(
        phase,
        networks,
        losses,
        fold.patients,
        schedule(settings, settings.epochs),
        seed=fold.seed,
        journal=fold.journal,
        judge=student_auc,
    )
    for role in roles:
        scores |= both_rules(role, networks, states, partial(networks.answer, role), fold.split)
    return networks


def _facts(fold: _Fold, trio: _Networks, profiled: Tensor) -> dict[str, float]:
    """Sizes, and how well the genomic teacher's log odds are seen in H&E on the test fold."""
    test = fold.split.test

    def log_odds(role: str) -> Floats:
        logits = predict(trio, partial(trio.answer, role), test)
        found: Floats = (logits[:, 1] - logits[:, 0])[has_genes(test.genes).numpy()]
        return found

    parts = {"student": trio.student, "genomic": trio.genomic, "multimodal": trio.multimodal}
    facts = {
        f"parameters_{name}": float(sum(p.numel() for p in part.parameters()))
        for name, part in parts.items()
        if part is not None
    }
    facts["parameters"] = facts["parameters_student"]
    facts["genes"] = float(sum(len(positions) for positions in fold.columns))
    facts["training_without_genes"] = float((~profiled).sum())
    facts["test_without_genes"] = float((~has_genes(test.genes)).sum())
    facts["genomic_correlation"] = float(
        np.corrcoef(log_odds("student"), log_odds("genomic"))[0, 1]
    )
    return facts


def _require_marker(split: Split) -> None:
    if split.task.kind != "classification" or len(split.task.classes) != 2:
        raise TrainingError(
            f"found task {split.task.name} with classes {split.task.classes}, expected a marker "
            "with two classes; use er, pr or her2"
        )
