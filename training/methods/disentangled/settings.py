"""The choices of the disentangled method: our defaults and the published ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Every choice.

    The defaults of the twin and the teacher were made on inner validation patients of glioma
    survival; diagnosis and grading take them over, and the weights of stage 2 are untuned.
    """

    epochs: int = 8
    """Of stage 2, of the student and of its twin."""
    twin_epochs: int = 10
    """Of stage 1, which both share."""
    teacher_epochs: int = 6
    twin_lr: float = 5e-4
    teacher_lr: float = 5e-4
    distill_lr: float = 3e-4
    weight_decay: float = 1.0
    """Of the student."""
    teacher_weight_decay: float = 0.1
    window: int = 16
    """Patients per step."""
    side: int = 8
    """Tokens along one side of the square; even, at least 8."""
    cluster_ratio: float = 0.02
    token_order: str = "probe"
    merge: str = "mean"
    dropout: float = 0.5
    """Before the student's classifier."""
    max_instances: int = 16
    """Instances drawn anew for every step of the student; 0 takes all."""
    gene_lists: str = "signatures"
    gene_dropout: float = 0.1
    gene_absence: float = 0.2
    """Share of a teacher's training patients whose genes are hidden, so that it can answer for a
    patient without genes. All zeros, the means, stand for genes that were not measured."""
    consistency: float = 1.0
    """Weight of the inter-magnification consistency of the teacher."""
    student_consistency: float = 0.0
    """Weight of that of the student in stage 1; the release has 1000 or none."""
    cgc_mode: str = "projection"
    """"projection", "release" (a reflection) or "off"."""
    cross_fit: int = 5
    """Folds of the teachers that make the targets; 0 or 1: the teacher's own training patients."""
    logit_weight: float = 0.5
    feature_weight: float = 0.1
    temperature: float = 2.0
    time_targets: bool = True
    """Survival: distill the distribution of the time of death, not a softmax of hazard logits."""
    weighted: bool = True
    """Class weights of the inner-training patients in the cross entropy."""
    null: bool = True
    """Also a control: stage 2 under targets that were shuffled among the training patients."""
    unused: bool = False
    """Allocate the student's layers that the release never calls."""


def published(task: str = "diagnosis") -> Settings:
    """The original's choices for "diagnosis", "grading" or "os"."""
    decay = 0.01 if task == "diagnosis" else 0.1
    return Settings(
        epochs=10,
        twin_epochs=10,
        teacher_epochs=10,
        twin_lr=5e-5 if task == "diagnosis" else 2e-4,
        teacher_lr=2e-4,
        distill_lr=1e-4,
        weight_decay=decay,
        teacher_weight_decay=decay,
        window=8,
        side=50,
        cluster_ratio=0.0008,
        token_order="density",
        merge="confidence",
        dropout=0.0,
        max_instances=0,
        gene_dropout=0.01 if task == "os" else 0.1,
        gene_absence=0.0,
        cross_fit=0,
        logit_weight=0.01,
        feature_weight=0.01,
        time_targets=False,
        unused=True,
    )
