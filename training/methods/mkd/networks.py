"""The three networks of MKD and their hyperparameters: teachers T_G and T_M, student S.

Widths are the published ones by default: at 1024-d features and two omics of 8192 genes, S has
328,835 parameters and T_M 10,035,076. T_G has 5,017,923, with a gate per omic
(`shared_gate=False`) 5,083,844: the released T_G allocates the second gate and never uses it.
Nothing here is allocated and unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning.attention import GatedAttention
from training.learning.bags import Patients
from training.learning.heads import ClassOutputs
from training.methods.mkd.bilinear_fusion import (
    BilinearFusion,
    OmicsEncoder,
    initialize,
    pooled,
)


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; the defaults are the published ones."""

    epochs: int = 50
    lr: float = 2e-4
    weight_decay: float = 1e-5
    window: int = 32
    patience: int = 10
    min_epochs: int = 5
    width: int = 256
    attention: int = 128
    fusion: int = 32
    dropout: float = 0.25
    omics: str = "rna"
    """"rna", or "rna+cnv" as in the successor."""
    token: int = 512
    genes: int = 8192
    """Most genes per omic."""
    shared_gate: bool = True
    """T_G: one gated attention for both omics, as the released code computes."""
    temperature: float = 4.0
    sp: float = 1.0
    kl: float = 1.0
    da: float = 1.0
    orthogonal: float = 1.0
    per_sample_orthogonality: bool = False
    """Absolute value before the batch mean: signs no longer cancel."""
    standardize: bool = False
    """Features and moments standardized by the training patients."""
    pooling: str = "attention"
    """"attention+moments" adds a linear map of the bag's mean and deviation to f_S."""
    incomplete: bool = False
    """Patients without genes teach the student by their label; published: left out."""
    crossfit: float = 0.0
    """Weight of T_G's out-of-fold logits as a target for the student."""
    crossfit_temperature: float = 1.0
    crossfit_epochs: int = 15
    crossfit_folds: int = 5
    null: bool = False
    """Also train with the genes permuted among the training patients."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise TrainingError(
                f"found a window of {self.window}, expected at least 2: similarity is 0 and CORAL "
                "undefined for one patient; set a larger window"
            )
        if self.omics not in {"rna", "rna+cnv"}:
            raise TrainingError(f"found omics {self.omics!r}, expected rna or rna+cnv; set one")
        if self.pooling not in {"attention", "attention+moments"}:
            raise TrainingError(
                f"found pooling {self.pooling!r}, expected attention or attention+moments; set one"
            )


def published() -> Settings:
    """The released hyperparameters."""
    return Settings()


def adapted() -> Settings:
    """What inner validation chose for bags of some forty 192-d region features."""
    return Settings(
        weight_decay=10.0,
        width=64,
        attention=32,
        fusion=16,
        standardize=True,
        pooling="attention+moments",
        incomplete=True,
        crossfit=3.0,
        crossfit_temperature=2.0,
    )


class Answer(NamedTuple):
    """What one network says of a window."""

    logits: Tensor
    """[B, 2]."""
    embedding: Tensor
    """[B, width]: f_S, f_G or f_M."""


class GenomicTeacher(nn.Module):
    """T_G: the omics' vectors, by bilinear fusion where there are two."""

    def __init__(self, columns: tuple[Tensor, ...], settings: Settings) -> None:
        super().__init__()
        self.omics = _omics_encoder(columns, settings, shared_gate=settings.shared_gate)
        self.fusion = _fusion(settings) if len(columns) == 2 else None
        self.head = nn.Linear(settings.width, 2)
        initialize(self)

    def forward(self, genes: Tensor) -> Answer:
        """Genes [B, G] -> logits and f_G."""
        vectors = self.omics(genes)
        fused = vectors[0] if self.fusion is None else self.fusion(vectors[1], vectors[0])
        return Answer(self.head(fused), fused)


class MultimodalTeacher(nn.Module):
    """T_M: own omics' vectors and an own attention-pooled bag, joined by bilinear fusions."""

    def __init__(self, bag_width: int, columns: tuple[Tensor, ...], settings: Settings) -> None:
        super().__init__()
        self.embed = nn.Linear(bag_width, settings.width)
        self.gate = GatedAttention(settings.width, settings.attention)
        self.omics = _omics_encoder(columns, settings, shared_gate=True)
        self.genomic_fusion = _fusion(settings) if len(columns) == 2 else None
        self.fusion = _fusion(settings)
        self.head = nn.Linear(settings.width, 2)
        self.dropout = nn.Dropout(settings.dropout)
        initialize(self)

    def forward(self, bags: Tensor, mask: Tensor, genes: Tensor) -> Answer:
        """[B, N, D], bool [B, N], [B, G] -> logits and f_M."""
        hidden = self.dropout(torch.relu(self.embed(bags)))
        slide = pooled(self.gate(hidden, mask), hidden)
        vectors = self.omics(genes)
        genomic = vectors[0]
        if self.genomic_fusion is not None:
            genomic = self.genomic_fusion(vectors[1], vectors[0])
        fused = self.fusion(genomic, slide)
        return Answer(self.head(fused), fused)


class Student(nn.Module):
    """S: gated attention over the instances of a bag, one vector, two logits."""

    def __init__(self, bag_width: int, settings: Settings) -> None:
        super().__init__()
        self.embed = nn.Linear(bag_width, settings.width)
        self.gate = GatedAttention(settings.width, settings.attention)
        moments = settings.pooling == "attention+moments"
        self.moments = nn.Linear(2 * bag_width, settings.width) if moments else None
        self.head = nn.Linear(settings.width, 2)
        self.dropout = nn.Dropout(settings.dropout)
        for name, size in (("feature", bag_width), ("moment", 2 * bag_width)):
            self.register_buffer(f"{name}_center", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        initialize(self)
        if self.moments is not None:
            # From 0 it finds a small map, as a ridge regression does: +.01 AUC on inner folds.
            nn.init.zeros_(self.moments.weight)

    def standardize(self, patients: Patients) -> None:
        """Takes over the mean and deviation of the features and moments of `patients`."""
        rows = torch.cat(patients.bags)
        self.get_buffer("feature_center").copy_(rows.mean(dim=0))
        self.get_buffer("feature_scale").copy_(rows.std(dim=0).clamp(min=1e-6))
        each = [self._moments(bag[None], torch.ones(1, len(bag)).bool()) for bag in patients.bags]
        moments = torch.cat(each)
        self.get_buffer("moment_center").copy_(moments.mean(dim=0))
        self.get_buffer("moment_scale").copy_(moments.std(dim=0).clamp(min=1e-6))

    def scaled(self, bags: Tensor) -> Tensor:
        """Features [B, N, D] as T_M and the attention see them; padding no longer 0, but masked."""
        centered = bags - self.get_buffer("feature_center")
        return centered / self.get_buffer("feature_scale")

    def forward(self, bags: Tensor, mask: Tensor) -> tuple[Answer, Tensor]:
        """[B, N, D], bool [B, N] -> logits and f_S, attention [B, N]."""
        hidden = torch.relu(self.embed(self.scaled(bags)))
        attention = self.gate(hidden, mask)
        embedding = pooled(attention, hidden)
        if self.moments is not None:
            moments = self._moments(bags, mask) - self.get_buffer("moment_center")
            embedding = embedding + self.moments(
                self.dropout(moments / self.get_buffer("moment_scale"))
            )
        return Answer(self.head(self.dropout(embedding)), embedding), attention

    @staticmethod
    def _moments(bags: Tensor, mask: Tensor) -> Tensor:
        """Mean and population deviation of the real instances, [B, 2 D]."""
        real = mask.unsqueeze(-1).to(bags.dtype)
        count = real.sum(dim=1)
        mean = (bags * real).sum(dim=1) / count
        variance = ((bags - mean.unsqueeze(1)).square() * real).sum(dim=1) / count
        return torch.cat([mean, torch.sqrt(variance + 1e-8)], dim=1)


class SlideStudent(nn.Module):
    """The student alone on one slide, as it is exported."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, features: Tensor) -> ClassOutputs:
        """[N, D] -> probability [2], attention [N], embedding [width]."""
        mask = torch.ones_like(features[:, 0], dtype=torch.bool)
        answer, attention = self.student(features.unsqueeze(0), mask.unsqueeze(0))
        probability = torch.softmax(answer.logits[0], dim=0)
        return ClassOutputs(probability, attention[0], answer.embedding[0])


def _fusion(settings: Settings) -> BilinearFusion:
    return BilinearFusion(settings.width, settings.fusion, settings.dropout)


def _omics_encoder(
    columns: tuple[Tensor, ...], settings: Settings, *, shared_gate: bool
) -> OmicsEncoder:
    return OmicsEncoder(
        columns,
        token=settings.token,
        width=settings.width,
        hidden=settings.attention,
        dropout=settings.dropout,
        shared_gate=shared_gate,
    )
