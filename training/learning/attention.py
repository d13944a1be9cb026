"""Attention over the instances of a bag."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.learning.bags import on_instances


class GatedAttention(nn.Module):
    """w^T(tanh(V h) * sigmoid(U h)) of every instance h (Ilse, Tomczak and Welling 2018)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, instances: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, W], bool [B, N] (None: all real) -> attention [B, N], rows summing to 1."""
        scores = self.scores(instances).squeeze(-1)
        return torch.softmax(scores, dim=-1) if mask is None else masked_softmax(scores, mask)

    def without_padding(self, instances: Tensor, mask: Tensor) -> Tensor:
        """The same where many bags are short: nothing is computed for padding."""
        return masked_softmax(on_instances(self.scores, instances, mask).squeeze(-1), mask)

    def scores(self, instances: Tensor) -> Tensor:
        """[..., 1] scores of instances [..., W], before the softmax."""
        gated = torch.tanh(self.content(instances)) * torch.sigmoid(self.gate(instances))
        scores: Tensor = self.score(gated)
        return scores


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of scores [..., N] over the instances that `mask` [..., N] holds for real."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(torch.where(mask, scores, lowest), dim=-1)
