"""The student of the disentangled method: a slide gathered into two tokens (arXiv 2508.16479).

Nothing genomic is in here. The order of the instances matters, since they fill a square: keep the
order of the file at deployment. On region features without coordinates that square has no spatial
meaning, and the second magnification is derived from the first (`tokens.coarser`); of tiles it is
given, and the map shows the finer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.learning import survival
from training.methods.disentangled.deformable import DeformableAttention
from training.methods.disentangled.density_peaks import cluster_count, density_peaks, merge
from training.methods.disentangled.tokens import coarser, take, token_rows

CHANNELS = 128


class Reading(NamedTuple):
    """What the student says of B slides at one magnification."""

    logits: Tensor
    """[B, C]: classes, or hazards of 4 time bins."""
    regions: Tensor
    """[B, 2, 128]: the two tokens, the tumor-like first."""
    share: Tensor
    """[B, S]: weight of every place in its region's token; sums to 2."""
    region: Tensor
    """int64 [B, S]: 0 or 1."""
    map: Tensor
    """[B, 8, S, m * m]"""


@dataclass(frozen=True)
class Shape:
    """What a student is made of; the defaults are the published ones, with our token order."""

    width: int
    classes: int
    side: int = 50
    """Tokens along one side of the square."""
    ratio: float = 0.0008
    """Regions per token, rounded up; 2 in the end, one for each half of the teacher."""
    order: str = "probe"
    """Which of the two tokens is first. "probe": the larger linear score, learned in distillation;
    "density": the released rule, by which they can change places from slide to slide."""
    merge: str = "confidence"
    """See `merged`."""
    dropout: float = 0.0
    """Before the classifier; the published student has none."""
    unused: bool = False
    """Allocate the pooler and the norm that the release allocates and never calls."""

    def __post_init__(self) -> None:
        found = cluster_count(self.side**2, self.ratio)
        if found != 2:
            raise TrainingError(
                f"found {found} regions of {self.side**2} tokens at cluster_ratio {self.ratio}, "
                "expected 2, one for each half of the teacher, change cluster_ratio"
            )
        for name, value, known in (
            ("token_order", self.order, ("probe", "density")),
            ("merge", self.merge, ("confidence", "mean")),
        ):
            if value not in known:
                raise TrainingError(
                    f"found {name}={value!r}, expected one of {known}, choose one of them"
                )


class MagnificationStudent(nn.Module):
    """One magnification; 243,558 parameters as published at width 1024 and 4 classes.

    That count has the unused layers and no probe (129 parameters).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(shape.width, CHANNELS), nn.ReLU())
        self.norm = nn.LayerNorm(CHANNELS)
        self.reads = DeformableAttention(CHANNELS)
        self.gather_norm = nn.LayerNorm(CHANNELS)
        self.importance = nn.Linear(CHANNELS, 1)
        self.dropout = nn.Dropout(shape.dropout)
        self.classify = nn.Linear(2 * CHANNELS, shape.classes)
        self.probe = nn.Linear(CHANNELS, 1) if shape.order == "probe" else None
        self.unused = (
            nn.ModuleList([nn.Linear(CHANNELS, CHANNELS), nn.LayerNorm(CHANNELS)])
            if shape.unused
            else None
        )

    def forward(self, tokens: Tensor, halves: Tensor | None = None) -> Reading:
        """Of tokens [B, S, D]; `halves` [B, 2, 128] of a teacher, where given, set the order."""
        slide = self.project(tokens)
        normal = self.norm(slide)
        read, attention = self.reads(normal, normal)
        slide = self.gather_norm(slide + read)
        _, cluster = density_peaks(slide, 2)
        regions, share = merge(slide, self.importance(slide).squeeze(-1).exp(), cluster, 2)
        swap = self._swapped(regions, halves)
        regions = torch.where(swap[:, None, None], regions.flip(1), regions)
        region = torch.where(swap[:, None], 1 - cluster, cluster)
        logits = self.classify(self.dropout(regions.flatten(1)))
        return Reading(logits, regions, share, region, attention)

    def order_loss(self, regions: Tensor) -> Tensor:
        """What the probe pays for scoring the second token of [B, 2, 128] above the first."""
        if self.probe is None or not len(regions):
            return regions.new_zeros(())
        scores = self.probe(regions.detach()).squeeze(-1)
        return nn.functional.softplus(scores[:, 1] - scores[:, 0]).mean()

    def _swapped(self, regions: Tensor, halves: Tensor | None) -> Tensor:
        """bool [B]: whether the tokens [B, 2, 128], denser first, change places."""
        if self.probe is None:
            return regions.new_zeros(len(regions), dtype=torch.bool)
        if halves is not None:
            kept = (regions - halves).square().mean(dim=(1, 2))
            return (regions.flip(1) - halves).square().mean(dim=(1, 2)) < kept
        scores = self.probe(regions).squeeze(-1)
        return scores[:, 1] > scores[:, 0]


def merged(coarse: Tensor, fine: Tensor, rule: str) -> Tensor:
    """[B, C] one answer of the logits [B, C] of two magnifications.

    "confidence": those with the larger top probability, the fine ones on a tie (also for hazard
    logits, as published); "mean": their mean.
    """
    if rule == "mean":
        return (coarse + fine) / 2
    return torch.where(coarse_wins(coarse, fine).unsqueeze(1), coarse, fine)


def coarse_wins(coarse: Tensor, fine: Tensor) -> Tensor:
    """bool [B]: whether the coarse magnification is the more confident."""
    return confidence(coarse) > confidence(fine)


def confidence(logits: Tensor) -> Tensor:
    """[B] largest probability of logits [B, C]."""
    return torch.softmax(logits, dim=-1).amax(dim=-1)


class Student(nn.Module):
    """Both magnifications."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.coarse = MagnificationStudent(shape)
        self.fine = MagnificationStudent(shape)

    def forward(
        self, fine: Tensor, coarse: Tensor, halves: Tensor | None = None
    ) -> tuple[Reading, Reading]:
        """Coarse and fine readings of tokens [B, S, D] each; halves [B, 2, 2, 128] also so."""
        first, second = (None, None) if halves is None else (halves[:, 0], halves[:, 1])
        return self.coarse(coarse, first), self.fine(fine, second)

    def order_loss(self, readings: Sequence[Reading], known: Tensor) -> Tensor:
        """Of the readings, coarse first, whose order came from a teacher: `known` bool [B]."""
        coarse, fine = (reading.regions[known] for reading in readings)
        return self.coarse.order_loss(coarse) + self.fine.order_loss(fine)


class SurvivalReport(NamedTuple):
    """One slide; N instances at the fine magnification."""

    risk: Tensor
    """[1] from -4 to 0, higher is worse."""
    survival: Tensor
    """[4] probability of living past the end of each time bin."""
    magnifications: Tensor
    """[2, 4] survival by each magnification, coarse first."""
    confidence: Tensor
    """[2] of each magnification; the larger answers, the fine one on a tie."""
    attention: Tensor
    """[N] share of every instance, sums to 1; 0 where a long bag was thinned."""
    region: Tensor
    """[N] 0 or 1, the token an instance belongs to; -1 where a long bag was thinned."""
    embedding: Tensor
    """[512] the two tokens of both magnifications, coarse first."""


class ClassReport(NamedTuple):
    """As SurvivalReport, of C classes."""

    probability: Tensor
    """[C]"""
    magnifications: Tensor
    """[2, C]"""
    confidence: Tensor
    attention: Tensor
    region: Tensor
    embedding: Tensor


class _Slide(NamedTuple):
    """One slide, before it is reported as survival or as classes."""

    logits: Tensor
    magnifications: Tensor
    confidence: Tensor
    attention: Tensor
    region: Tensor
    embedding: Tensor


class SlideStudent(nn.Module):
    """What is exported: features [N, D] of one slide (and [M, D] of the coarser view) -> a report.

    Without coarse features they are derived from the fine ones.
    """

    def __init__(self, network: Student, *, survives: bool) -> None:
        super().__init__()
        self.network, self.survives = network, survives
        self.eval()

    def forward(
        self, features: Tensor, coarse_features: Tensor | None = None
    ) -> SurvivalReport | ClassReport:
        found = self._read(features, coarse_features)
        if not self.survives:
            return ClassReport(
                torch.softmax(found.logits, dim=-1)[0],
                torch.softmax(found.magnifications, dim=-1),
                *found[2:],
            )
        return SurvivalReport(
            survival.risk(found.logits),
            survival.survival_curve(found.logits)[0],
            survival.survival_curve(found.magnifications),
            *found[2:],
        )

    def _read(self, features: Tensor, coarse_features: Tensor | None) -> _Slide:
        shape = self.network.shape
        size = shape.side**2
        rows = _rows(features, size)
        tokens = take(features.unsqueeze(0), rows)
        if coarse_features is None:
            seen = coarser(tokens)
        else:
            seen = take(coarse_features.unsqueeze(0), _rows(coarse_features, size))
        coarse, fine = self.network(tokens, seen)
        share = fine.share / 2
        if coarse_features is None:  # both maps are of the same instances: show the one that won
            other = coarser(coarse.share.unsqueeze(-1)).squeeze(-1) / 2
            share = merged_share(coarse.logits, fine.logits, other, share, shape.merge)
        empty = torch.zeros_like(features[:, 0])
        drawn = empty.scatter_add(0, rows[0], torch.ones_like(share[0]))
        second = empty.scatter_add(0, rows[0], fine.region[0].to(share.dtype))
        region = (2 * second > drawn).to(share.dtype)
        return _Slide(
            merged(coarse.logits, fine.logits, shape.merge),
            torch.cat([coarse.logits, fine.logits]),
            torch.cat([confidence(coarse.logits), confidence(fine.logits)]),
            empty.scatter_add(0, rows[0], share[0] / share.sum()),
            torch.where(drawn > 0, region, -torch.ones_like(region)),
            torch.cat([coarse.regions.flatten(), fine.regions.flatten()]),
        )


def merged_share(coarse: Tensor, fine: Tensor, first: Tensor, second: Tensor, rule: str) -> Tensor:
    """[B, S] the map that belongs to the merged answer: of `first`, coarse, and `second`, fine."""
    if rule == "mean":
        return (first + second) / 2
    return torch.where(coarse_wins(coarse, fine).unsqueeze(1), first, second)


def _rows(features: Tensor, size: int) -> Tensor:
    """int64 [1, size] of features [N, D]; counted in the graph, so that N stays free."""
    count = torch.ones_like(features[:, 0], dtype=torch.int64).sum().unsqueeze(0)
    return token_rows(count, size)
