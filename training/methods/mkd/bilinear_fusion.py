"""The blocks of the breast marker networks: gene tokens, bilinear fusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.learning.attention import GatedAttention


def initialize(module: nn.Module) -> None:
    """Linear weights from N(0, 1 / fan-in), biases zero (arXiv 2508.17213)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=1 / math.sqrt(part.in_features))
            nn.init.zeros_(part.bias)


def pooled(attention: Tensor, instances: Tensor) -> Tensor:
    """Attention [B, N] over instances [B, N, width] -> [B, width]."""
    return (attention.unsqueeze(1) @ instances).squeeze(1)


class GeneTokens(nn.Module):
    """Genes in rank order, cut into tokens of `token` genes, each embedded by the same layer."""

    def __init__(self, token: int, width: int, dropout: float) -> None:
        super().__init__()
        self.token = token
        self.embed = nn.Linear(token, width)
        self.dropout = nn.AlphaDropout(dropout)

    def forward(self, genes: Tensor) -> Tensor:
        """[B, T * token] -> [B, T, width]: gene i belongs to token i // `token`."""
        tokens = genes.unflatten(1, (-1, self.token))
        dropped: Tensor = self.dropout(nn.functional.elu(self.embed(tokens)))
        return dropped


class OmicsEncoder(nn.Module):
    """Each omic to one vector: its genes as tokens, gated attention over the tokens."""

    def __init__(
        self,
        columns: tuple[Tensor, ...],
        *,
        token: int,
        width: int,
        hidden: int,
        dropout: float,
        shared_gate: bool,
    ) -> None:
        """`columns`: per omic int64 [T * token], the positions of its genes in rank order."""
        super().__init__()
        self.tokens = nn.ModuleList(GeneTokens(token, width, dropout) for _ in columns)
        gates = 1 if shared_gate else len(columns)
        self.gates = nn.ModuleList(GatedAttention(width, hidden) for _ in range(gates))
        for i, positions in enumerate(columns):
            self.register_buffer(f"columns_{i}", positions)

    def forward(self, genes: Tensor) -> list[Tensor]:
        """All genes [B, G] -> one [B, width] per omic."""
        vectors = []
        for i, embed in enumerate(self.tokens):
            tokens = embed(genes[:, self.get_buffer(f"columns_{i}")])
            vectors.append(pooled(self.gates[i % len(self.gates)](tokens), tokens))
        return vectors


class BilinearFusion(nn.Module):
    """Gated Kronecker fusion of two vectors of one width, BF(a, b) of arXiv 2508.17213.

    Each vector is gated by a bilinear form of both, shrunk to `hidden`, and the two get a constant
    1 appended, so that their outer product keeps the vectors themselves beside the products.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.shrink = nn.ModuleList(nn.Linear(width, hidden) for _ in range(2))
        self.gates = nn.ModuleList(nn.Bilinear(width, width, hidden) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.joint = nn.Linear((hidden + 1) ** 2, width)
        self.last = nn.Linear(3 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[B, width], [B, width] -> [B, width]."""
        sides = []
        for vector, shrink, gate, out in zip(
            (a, b), self.shrink, self.gates, self.out, strict=True
        ):
            gated = torch.sigmoid(_bilinear(gate, a, b)) * torch.relu(shrink(vector))
            sides.append(self._with_one(self.dropout(torch.relu(out(gated)))))
        outer = torch.einsum("bi,bj->bij", sides[0], sides[1]).flatten(1)
        joint = self.dropout(torch.relu(self.joint(self.dropout(outer))))
        fused: Tensor = self.dropout(torch.relu(self.last(torch.cat([joint, a, b], dim=1))))
        return fused

    @staticmethod
    def _with_one(vector: Tensor) -> Tensor:
        return torch.cat([vector, vector.new_ones(len(vector), 1)], dim=1)


def _bilinear(form: nn.Bilinear, a: Tensor, b: Tensor) -> Tensor:
    """`form(a, b)` as one matrix product: on a CPU its gradient takes a quarter of the time."""
    rows = (b @ form.weight.flatten(0, 1).T).unflatten(1, (-1, a.shape[1]))
    return torch.einsum("boi,bi->bo", rows, a) + form.bias
