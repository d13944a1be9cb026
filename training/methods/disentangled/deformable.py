"""Deformable attention over a square of tokens (Xia et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.errors import TrainingError
from training.methods.disentangled.tokens import grid_side

HEADS = 8
HEAD_SIZE = 64
KERNEL = 6
STRIDE = 4
PADDING = (KERNEL - STRIDE) // 2
REACH = 4.0
"""An offset moves a sampling point by at most this many cells of the sampling grid."""


def sampling_side(side: int) -> int:
    """Sampling points along one side of a grid of `side` tokens: 12 of 50, 2 of 8."""
    found = (side + 2 * PADDING - KERNEL) // STRIDE + 1
    if found < 2:
        raise TrainingError(
            f"found a grid of side {side}, expected at least {KERNEL + STRIDE - 2 * PADDING} so "
            "that there are two sampling points to a side, use more tokens"
        )
    return found


class HeadwiseLinear(nn.Module):
    """[B, 8, N, 64] of [B, 8, N, c]: each head projects its own channels, without bias.

    A 1 x 1 convolution in 8 groups, with its initialization.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = channels**-0.5
        self.weight = nn.Parameter(torch.empty(HEADS, channels, HEAD_SIZE).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = values @ self.weight
        return found


class DeformableAttention(nn.Module):
    """Queries [B, N, E] read keys [B, N, E] at a few learned places; N the square of a grid side.

    Eight heads of 64; each owns E / 8 channels of the keys. Returns the output [B, N, E] and the
    attention [B, 8, N, m * m] before dropout, m the sampling side.
    """

    def __init__(self, channels: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.to_query = HeadwiseLinear(channels // HEADS)
        self.to_key = HeadwiseLinear(channels // HEADS)
        self.to_value = HeadwiseLinear(channels // HEADS)
        self.offsets = nn.Sequential(
            nn.Conv2d(HEAD_SIZE, HEAD_SIZE, KERNEL, STRIDE, PADDING, groups=HEAD_SIZE),
            nn.GELU(),
            nn.Conv2d(HEAD_SIZE, 2, 1, bias=False),
            nn.Tanh(),
        )
        self.position_bias = nn.Sequential(
            nn.Linear(2, 32),
            nn.ReLU(inplace=True),  # the largest arrays here: one per query and place
            nn.Linear(32, 32),
            nn.ReLU(inplace=True),
            nn.Linear(32, 1),
        )
        self.dropout = nn.Dropout(dropout)
        self.to_output = nn.Linear(HEADS * HEAD_SIZE, channels)

    def forward(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        side = grid_side(queries.shape[1])
        query = self.to_query(queries.unflatten(2, (HEADS, -1)).transpose(1, 2))
        places = self.places(query, side)
        grid = keys.transpose(1, 2).unflatten(2, (side, side))
        sampled = _sample(grid, places)  # [B, 8, m * m, E / 8]
        scores = query @ self.to_key(sampled).transpose(2, 3) * HEAD_SIZE**-0.5
        attention = torch.softmax(scores + self.bias(side, places), dim=-1)
        value = self.to_value(sampled)
        return self.output(self.dropout(attention), value), attention

    def output(self, attention: Tensor, value: Tensor) -> Tensor:
        """[B, N, E] of attention [B, 8, N, K] to values [B, 8, K, 64].

        With few keys it is cheaper to project the values than what was read of them: with 4 an
        eighth of the work, the sum being the same.
        """
        if HEADS * attention.shape[3] >= HEADS * HEAD_SIZE:
            found: Tensor = self.to_output((attention @ value).transpose(1, 2).flatten(2))
            return found
        per_head = self.to_output.weight.unflatten(1, (HEADS, HEAD_SIZE)).permute(1, 2, 0)
        projected = (value @ per_head).flatten(1, 2)  # [B, 8 * K, E]
        return attention.transpose(1, 2).flatten(2) @ projected + self.to_output.bias

    def places(self, query: Tensor, side: int) -> Tensor:
        """[B * 8, m, m, 2] sampling places, (column, row) from -1 to 1 inside the grid.

        Of queries [B, 8, N, 64].
        """
        grouped = query.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        offsets = self.offsets(grouped) * REACH
        last = sampling_side(side) - 1
        steps = torch.arange(last + 1, dtype=query.dtype, device=query.device)
        row, column = torch.meshgrid(steps, steps, indexing="ij")
        cells = torch.stack([column, row]) + offsets
        return (2 * cells / last - 1).permute(0, 2, 3, 1)

    def bias(self, side: int, places: Tensor) -> Tensor:
        """[B, 8, N, m * m] positional bias of every query cell and sampling place."""
        cells = torch.linspace(-1, 1, side, dtype=places.dtype, device=places.device)
        row, column = torch.meshgrid(cells, cells, indexing="ij")
        queries = torch.stack([column, row], dim=-1).flatten(0, 1)  # [N, 2]
        relative = queries[None, :, None] - places.flatten(1, 2)[:, None]
        folded = relative.sign() * relative.abs().log1p()
        found: Tensor = self.position_bias(folded).squeeze(-1).unflatten(0, (-1, HEADS))
        return found


def _sample(keys: Tensor, places: Tensor) -> Tensor:
    """[B, 8, m * m, E / 8]: keys [B, E, H, W] read bilinearly, each head its channels."""
    grouped = keys.unflatten(1, (HEADS, -1)).flatten(0, 1)
    found = functional.grid_sample(grouped, places, padding_mode="zeros", align_corners=False)
    return found.flatten(2).transpose(1, 2).unflatten(0, (-1, HEADS))
