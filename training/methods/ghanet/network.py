"""The network of G-HANet (arXiv 2403.10040): tokens that read the slide, hyperedges, hazards.

In the associating branch (CAB) one learned token per functional gene group attends to the slide
and gives the genes of that group; the survival branch (HSB) pools the instances by morphology and
by what the tokens looked at. Only the gene heads may be left out at inference. The published code
allocates a second cross-attention block of 1,049,088 weights and never calls it; this does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from training.learning.attention import masked_softmax
from training.learning.survival import BINS

Hyperedges = Literal["both", "e1", "e2"]


_PARTS, _ROUNDS = 16, 12
"""Leave a part in 10^14 of the range of the scores: below the resolution of float32."""


@dataclass(frozen=True)
class Widths:
    """Sizes and switches of the network; the defaults are the published ones."""

    features: int = 1024
    hidden: int = 512
    heads: int = 4
    feed_forward: int = 2048
    gate: int = 256
    squeezed: int = 256
    dropout: float = 0.25
    kept: Fraction = Fraction(1, 5)
    """Share of the instances in a genomic hyperedge."""
    hyperedges: Hyperedges = "both"


class Instances(NamedTuple):
    """What is computed of every instance by itself; ... is [R] rows or [B, N]."""

    context: Tensor
    """[..., hidden]: LN2(B), what the tokens attend to."""
    morphology: Tensor
    """[..., hidden]: H, what the survival branch pools."""
    gate: Tensor
    """[..., 1] score of the morphology hyperedge."""


class Answer(NamedTuple):
    """What the network says of B slides with T gene groups."""

    logits: Tensor
    """[B, 4] of the hazards."""
    groups: Tensor
    """[B, T, hidden]: R, from which the genes are reconstructed."""
    attention: Tensor
    """[B, N]: e1, sums to 1, 0 where padded."""
    group_attention: Tensor
    """[B, T, N]: A, rows sum to 1."""
    embedding: Tensor
    """[B, T * squeezed]: P, input of the hazard layer."""


class Attention(nn.Module):
    """Multi-head attention of few tokens to many instances, with its scores. No residual, no norm.

    Keys and values are never computed: (x W_k) q = x (W_k q) and w (x W_v) = (w x) W_v, and there
    are six tokens for every bag. At 512 wide that is a tenth of the work per instance.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        size = widths.hidden
        self.heads = widths.heads
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size)
        self.dropout = nn.Dropout(widths.dropout)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, hidden], and the scores [B, heads, T, N] before softmax and dropout.

        tokens [B or 1, T, hidden], context [B, N, hidden], mask bool [B, N].
        """
        batch, count, size = context.shape
        by_head = (self.heads, size // self.heads, size)
        query = self.query(tokens).unflatten(-1, by_head[:2]) * by_head[1] ** -0.5
        asked = torch.einsum("bthd,hdc->bhtc", query, self.key.weight.view(by_head))
        scores = (asked.flatten(1, 2) @ context.transpose(1, 2)).view(batch, self.heads, -1, count)
        weights = self.dropout(masked_softmax(scores, mask[:, None, None, :]))
        read = (weights.flatten(1, 2) @ context).view(batch, self.heads, -1, size)
        mixed = torch.einsum("bhtc,hdc->bthd", read, self.value.weight.view(by_head))
        return self.output(mixed.flatten(2)), scores


class GatedFeedForward(nn.Module):
    """drop(Linear(a * GELU(b))), [a; b] = Linear(x); Shazeer 2020."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.rise = nn.Linear(widths.hidden, 2 * widths.feed_forward)
        self.fall = nn.Linear(widths.feed_forward, widths.hidden)
        self.dropout = nn.Dropout(widths.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., hidden] -> [..., hidden]."""
        content, gate = self.rise(tokens).chunk(2, dim=-1)
        return self.dropout(self.fall(content * gelu(gate)))


class AssociatingBranch(nn.Module):
    """CAB: gene-group tokens that attend to the instances, twice through the same block."""

    def __init__(self, widths: Widths, groups: int) -> None:
        super().__init__()
        size = widths.hidden
        self.embed = nn.Sequential(
            nn.Linear(widths.features, size), nn.ReLU(), nn.Dropout(widths.dropout)
        )
        self.tokens = nn.Parameter(torch.randn(groups, size))
        self.attention = Attention(widths)
        self.first_norm, self.instance_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.first_rise_norm, self.first_rise = nn.LayerNorm(size), GatedFeedForward(widths)
        self.second_norm = nn.LayerNorm(size)
        self.second_rise_norm, self.second_rise = nn.LayerNorm(size), GatedFeedForward(widths)
        self.last_norm = nn.LayerNorm(size)

    def instances(self, features: Tensor) -> Tensor:
        """Context [..., hidden] of features [..., D], normalized; both passes read the same."""
        context: Tensor = self.instance_norm(self.embed(features))
        return context

    def forward(self, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """R [B, T, hidden] and the scores of the second pass, mean over heads: M [B, T, N]."""
        tokens = self.tokens.unsqueeze(0)
        read, _ = self.attention(self.first_norm(tokens), context, mask)
        read = read + self.first_rise(self.first_rise_norm(read))
        read, scores = self.attention(self.second_norm(tokens + read), context, mask)
        read = read + self.second_rise(self.second_rise_norm(read))
        return self.last_norm(read), scores.mean(dim=1)


class SurvivalBranch(nn.Module):
    """HSB: hyper-attention pooling, fusion with the tokens of the CAB, hazard logits."""

    def __init__(self, widths: Widths, groups: int) -> None:
        super().__init__()
        size, gate = widths.hidden, widths.gate
        self.widths = widths
        drop = nn.Dropout(widths.dropout)
        self.embed = nn.Sequential(
            nn.Linear(widths.features, size), nn.LayerNorm(size), nn.ReLU(), drop
        )
        self.gate_content = nn.Sequential(nn.Linear(size, gate), nn.Tanh())
        self.gate_open = nn.Sequential(nn.Linear(size, gate), nn.Sigmoid())
        self.gate_score = nn.Linear(gate, 1)
        self.update = nn.Sequential(
            *(nn.Linear(size, size), nn.LayerNorm(size), nn.ReLU()),
            *(nn.Linear(size, size), nn.LayerNorm(size), nn.ReLU()),
        )
        self.attention = Attention(widths)
        self.rise_norm, self.rise = nn.LayerNorm(size), GatedFeedForward(widths)
        self.squeeze = nn.Sequential(
            nn.Linear(size, widths.squeezed), nn.LayerNorm(widths.squeezed), nn.ReLU(), drop
        )
        self.hazard = nn.Linear(groups * widths.squeezed, BINS)

    def instances(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """H [..., hidden] and morphology scores [..., 1] of features [..., D]."""
        morphology = self.embed(features)
        gated = self.gate_content(morphology) * self.gate_open(morphology)
        return morphology, self.gate_score(gated)

    def forward(self, instances: Instances, groups: Tensor, scores: Tensor, mask: Tensor) -> Answer:
        """From instances [B, N, .], R [B, T, hidden] and M [B, T, N]."""
        e1 = masked_softmax(instances.gate.squeeze(-1), mask)
        e2 = genomic_hyperedges(scores, mask, self.widths.kept)
        weights = hyper_attention(e1, e2, self.widths.hyperedges)
        pooled = weights @ instances.morphology
        fused = (self.update(pooled) + pooled + groups) / 2
        everywhere = torch.ones_like(fused[..., 0], dtype=torch.bool)
        fused = fused + self.attention(fused, fused, everywhere)[0]
        fused = fused + self.rise(self.rise_norm(fused))
        embedding = self.squeeze(fused).flatten(1)
        return Answer(self.hazard(embedding), groups, e1, weights, embedding)


class GHANet(nn.Module):
    """Both branches and one reconstruction head per gene group of `sizes` columns."""

    def __init__(self, widths: Widths, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.associating = AssociatingBranch(widths, len(sizes))
        self.survival = SurvivalBranch(widths, len(sizes))
        # last: the weights above start the same whatever the sizes of the groups
        self.heads = nn.ModuleList(_head(widths, size) for size in sizes)

    def forward(self, bags: Tensor, mask: Tensor) -> Answer:
        """From bags [B, N, D] padded where the mask bool [B, N] is False.

        Padding, which is most of a batch, is left out until instances meet tokens.
        """
        rows = self.instances(bags[mask])
        return self.slides(Instances(*(_padded(values, mask) for values in rows)), mask)

    def instances(self, features: Tensor) -> Instances:
        """What is computed of every instance by itself, from features [..., D]."""
        return Instances(self.associating.instances(features), *self.survival.instances(features))

    def slides(self, instances: Instances, mask: Tensor) -> Answer:
        """What is computed of whole slides, from instances [B, N, .]."""
        groups, scores = self.associating(instances.context, mask)
        answer: Answer = self.survival(instances, groups, scores, mask)
        return answer

    def genes(self, groups: Tensor) -> list[Tensor]:
        """Reconstructed z-scores [B, n_g] of each group, from R [B, T, hidden]."""
        return [head(groups[:, at]) for at, head in enumerate(self.heads)]


def genomic_hyperedges(scores: Tensor, mask: Tensor, kept: Fraction) -> Tensor:
    """e2 [B, T, N]: softmax over the highest scores of each row of M [B, T, N], detached.

    k = max(1, floor(kept * n)) of the n instances that `mask` [B, N] holds for real; ties with the
    k-th are kept too. k is counted, not divided: OpenVINO rounds the quotient of whole numbers that
    ONNX rounds down.
    """
    places = torch.arange(1, scores.shape[-1] + 1, device=scores.device) * kept.denominator
    keep = (places <= mask.sum(dim=1, keepdim=True) * kept.numerator).sum(dim=1).clamp(min=1)
    real = torch.where(mask.unsqueeze(1), scores, torch.finfo(scores.dtype).min)
    threshold = kth_highest(real, keep)
    return masked_softmax(real, real >= threshold).detach()


def kth_highest(scores: Tensor, k: Tensor) -> Tensor:
    """[B, T, 1] the k-th highest of each row of scores [B, T, N], k int64 [B] from 1 to N.

    Sorted in torch. In an exported graph it is searched between bounds, until these keep the same
    scores: TensorRT sorts at most 3840 values, and a slide has more instances.
    """
    if not torch.onnx.is_in_onnx_export():
        places = (k - 1).view(-1, 1, 1).expand(-1, scores.shape[1], 1)
        return scores.sort(dim=-1, descending=True).values.gather(-1, places)
    wanted = k.view(-1, 1, 1).to(scores.dtype)
    parts = torch.arange(1, _PARTS, dtype=scores.dtype, device=scores.device) / _PARTS
    low, high = scores.amin(dim=-1, keepdim=True), scores.amax(dim=-1, keepdim=True)
    top = high
    for _ in range(_ROUNDS):
        bounds = low + (high - low) * parts
        is_low = _count(scores, bounds) >= wanted
        low, high = (
            torch.where(is_low, bounds, low).amax(dim=-1, keepdim=True),
            torch.where(is_low, high, bounds).amin(dim=-1, keepdim=True),
        )
    return torch.where(_count(scores, top) >= wanted, top, low)


def _count(scores: Tensor, bounds: Tensor) -> Tensor:
    """[B, T, P] how many of each row of scores [B, T, N] reach each of bounds [B, T, P]."""
    reached: Tensor = scores.unsqueeze(-2) >= bounds.unsqueeze(-1)
    return reached.to(scores.dtype).sum(dim=-1)


def hyper_attention(e1: Tensor, e2: Tensor, hyperedges: Hyperedges) -> Tensor:
    """A [B, T, N]: the mean of e1 [B, N] and e2 [B, T, N], or one of them alone (ablation)."""
    shared = e1.unsqueeze(1).expand_as(e2)
    if hyperedges == "e1":
        return shared
    return e2 if hyperedges == "e2" else (shared + e2) / 2


def _head(widths: Widths, columns: int) -> nn.Sequential:
    size = widths.hidden
    layers = (nn.Linear(size, size), nn.LayerNorm(size), nn.ELU(), nn.Dropout(widths.dropout))
    return nn.Sequential(*layers, nn.Linear(size, columns))


def _padded(rows: Tensor, mask: Tensor) -> Tensor:
    """rows [R, C] of the real instances put back in their places of [B, N, C], zeros elsewhere."""
    places = mask.flatten().nonzero().squeeze(1)
    flat = rows.new_zeros(mask.numel(), rows.shape[1]).index_copy(0, places, rows)
    return flat.view(*mask.shape, -1)
