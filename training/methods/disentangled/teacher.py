"""The teacher of the disentangled method: genes of two subspaces query a slide (arXiv 2508.16479).

Its map is no explanation: all its queries start from the same gene vector, so attention varies over
a slide only through position. Reports show the student's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from training.learning.losses import project_conflict, subspace_confidence
from training.methods.disentangled.deformable import HEADS, DeformableAttention

CHANNELS = 128
Mode = Literal["projection", "release"]


class Reading(NamedTuple):
    """What a teacher says of B slides at one magnification."""

    logits: Tensor
    """[B, C]: classes, or hazards of 4 time bins."""
    halves: Tensor
    """[B, 2, 128]: tumor and microenvironment."""
    tumor_map: Tensor
    """[B, 8, S, m * m]"""
    microenvironment_map: Tensor


class GeneEncoder(nn.Module):
    """[B, G] standardized genes -> [B, 128]; self-normalizing blocks (arXiv 2508.16479)."""

    def __init__(self, genes: int, dropout: float) -> None:
        super().__init__()
        sizes = (genes, 64, 48, 32, CHANNELS)
        blocks: list[nn.Module] = []
        for before, after in pairwise(sizes):
            linear = nn.Linear(before, after)
            nn.init.normal_(linear.weight, std=before**-0.5)
            nn.init.zeros_(linear.bias)
            blocks += [linear, nn.ELU(), nn.AlphaDropout(dropout)]
        self.blocks = nn.Sequential(*blocks, nn.ReLU())

    def forward(self, genes: Tensor) -> Tensor:
        found: Tensor = self.blocks(genes)
        return found


class SingleKeyAttention(nn.Module):
    """Attention of S queries to one key: what the softmax of one score leaves of it.

    The weight of the only key is 1, so the answer is one vector for all queries, apart from the
    dropout of that weight in training. Query and key projections are allocated as published, and
    nothing they hold can act.
    """

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.published = nn.MultiheadAttention(CHANNELS, HEADS, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, key: Tensor, queries: int) -> Tensor:
        """[B, S, 128] of one key [B, 128] for S queries; [B, 1, 128] in evaluation."""
        block = self.published
        value = nn.functional.linear(
            key, block.in_proj_weight[-CHANNELS:], block.in_proj_bias[-CHANNELS:]
        )
        per_head = block.out_proj.weight.unflatten(1, (HEADS, -1)).permute(1, 2, 0)
        projected = (value.view(-1, HEADS, 1, CHANNELS // HEADS) @ per_head).squeeze(2)
        shown = queries if self.training else 1  # without dropout all queries get the same
        weights = self.dropout(value.new_ones(len(key), shown, HEADS))
        answer: Tensor = weights @ projected + block.out_proj.bias
        return answer


class Subspace(nn.Module):
    """Where one gene vector meets the fused slide: a pooled vector in (-1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = SingleKeyAttention()
        self.pool = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, fused: Tensor, gene: Tensor) -> Tensor:
        """[B, 128] of the fused slide [B, S, 128] and a gene vector [B, 128], both normalized."""
        shifted = fused + self.attention(self.norm(gene), fused.shape[1])
        pooled: Tensor = torch.tanh(self.pool(self.norm(shifted).mean(dim=1)))
        return pooled


class MagnificationTeacher(nn.Module):
    """One magnification; 552,134 parameters at width 1024 and 4 classes."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, CHANNELS), nn.ReLU())
        self.norm = nn.LayerNorm(CHANNELS)
        self.tumor_reads = DeformableAttention(CHANNELS)
        self.microenvironment_reads = DeformableAttention(CHANNELS)
        self.fuse = nn.Linear(2 * CHANNELS, CHANNELS)
        self.tumor = Subspace()
        self.microenvironment = Subspace()
        self.head_norm = nn.LayerNorm(CHANNELS)
        self.tumor_head = nn.Linear(CHANNELS, CHANNELS)
        self.microenvironment_head = nn.Linear(CHANNELS, CHANNELS)
        self.classify = nn.Linear(2 * CHANNELS, classes)

    def forward(self, tokens: Tensor, tumor_gene: Tensor, other_gene: Tensor) -> Reading:
        """Of tokens [B, S, D] and the two gene vectors [B, 128]."""
        slide = self.norm(self.project(tokens))
        tumor_query = tumor_gene.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        other_query = other_gene.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        read_t, map_t = self.tumor_reads(self.norm(tumor_query), slide)
        read_m, map_m = self.microenvironment_reads(self.norm(other_query), slide)
        fused = self.fuse(torch.cat([tumor_query + read_t, other_query + read_m], dim=-1))
        fused = self.norm(fused)
        pooled_t = self.tumor(fused, self.norm(tumor_gene))
        pooled_m = self.microenvironment(fused, self.norm(other_gene))
        half_t = torch.tanh(self.tumor_head(self.head_norm(pooled_t)))
        half_m = torch.tanh(self.microenvironment_head(self.head_norm(pooled_m)))
        logits = self.classify(torch.cat([half_t, half_m], dim=-1))
        return Reading(logits, torch.stack([half_t, half_m], dim=1), map_t, map_m)

    def coordinate(self, halves: Tensor, label: Tensor, mode: Mode) -> None:
        """Changes the gradient of the classifier where its two halves pull against each other.

        To be called after backward and before the optimizer's step (arXiv 2508.16479). halves
        [B, 2, 128] and label int64 [B], the class or the time bin, of that step.
        """
        gradient = self.classify.weight.grad
        if gradient is None:
            return
        with torch.no_grad():
            weight, bias = self.classify.weight, self.classify.bias
            tumor = subspace_confidence(halves[:, 0], weight[:, :CHANNELS], bias, label)
            other = subspace_confidence(halves[:, 1], weight[:, CHANNELS:], bias, label)
            rho = float(tumor / other.clamp(min=torch.finfo(other.dtype).tiny))
            first, second = gradient[:, :CHANNELS].clone(), gradient[:, CHANNELS:].clone()
            gradient.copy_(torch.cat(project_conflict(first, second, rho, mode), dim=1))


class Teacher(nn.Module):
    """Both magnifications, and the gene encoders that they share."""

    def __init__(
        self,
        width: int,
        classes: int,
        genes: tuple[Sequence[int], Sequence[int]],
        gene_dropout: float,
    ) -> None:
        super().__init__()
        for name, positions in zip(("tumor", "microenvironment"), genes, strict=True):
            self.register_buffer(f"{name}_genes", torch.tensor(positions))
        self.tumor_encoder = GeneEncoder(len(genes[0]), gene_dropout)
        self.microenvironment_encoder = GeneEncoder(len(genes[1]), gene_dropout)
        self.coarse = MagnificationTeacher(width, classes)
        self.fine = MagnificationTeacher(width, classes)

    def forward(self, fine: Tensor, coarse: Tensor, genes: Tensor) -> tuple[Reading, Reading]:
        """Coarse and fine readings of tokens [B, S, D] each and all genes [B, G]."""
        tumor = self.tumor_encoder(genes[:, self.tumor_genes])
        other = self.microenvironment_encoder(genes[:, self.microenvironment_genes])
        return self.coarse(coarse, tumor, other), self.fine(fine, tumor, other)
