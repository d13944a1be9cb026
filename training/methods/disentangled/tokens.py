"""Bags of any length as a square of tokens, at two magnifications; every step exports to ONNX."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.errors import TrainingError
from training.learning.bags import Batch, Patients


def grid_side(tokens: int) -> int:
    """The side of a square of `tokens` cells. Raises TrainingError where there is none."""
    side = math.isqrt(max(tokens, 0))
    if side < 1 or side * side != tokens:
        raise TrainingError(
            f"found {tokens} tokens, expected a square number such as {max(side, 1) ** 2} or "
            f"{(side + 1) ** 2}, choose another grid side"
        )
    return side


def token_rows(count: Tensor, size: int) -> Tensor:
    """int64 [B, size]: the instances that fill `size` places, of bags of `count` int64 [B].

    The rule of `bags.fixed_rows` in integers alone: fewer instances are repeated from the start,
    of more the row of place i is i * count / size, halves to the even neighbor. No runtime's
    float rounding can change it.
    """
    places = torch.arange(size, device=count.device).unsqueeze(0)
    count = count.unsqueeze(1)
    whole = places * count // size
    rest = places * count - whole * size
    above = (2 * rest > size) | ((2 * rest == size) & (whole % 2 == 1))
    return torch.where(count < size, places % count, whole + above.long())


def take(bags: Tensor, rows: Tensor) -> Tensor:
    """[B, S, D] rows int64 [B, S] of bags [B, N, D]."""
    return bags.gather(1, rows.unsqueeze(2).expand(-1, -1, bags.shape[2]))


def coarser(tokens: Tensor) -> Tensor:
    """[B, S, D] a view at half the magnification: the mean of every 2 x 2 block, at its 4 places.

    A stand-in where regions at one magnification are all there is. tokens [B, S, D], S the square
    of an even side.
    """
    side = grid_side(tokens.shape[1])
    if side % 2:
        raise TrainingError(
            f"found a grid of side {side}, expected an even side to halve the magnification, "
            f"choose {side + 1}"
        )
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    blocks = functional.avg_pool2d(grid, 2)
    return blocks.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Slides:
    """Patients, and their slides as tokens at two magnifications."""

    patients: Patients
    side: int
    """Of the square of tokens."""

    def subset(self, rows: Tensor) -> Slides:
        """Those of `rows`, in that order."""
        return Slides(self.patients.subset(rows), self.side)

    def tokens(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Fine and coarse tokens [B, S, D] of a batch of these patients; without a second
        magnification the coarse ones are derived."""
        fine = take(batch.bags, token_rows(batch.mask.sum(dim=1), self.side**2))
        if batch.coarse is None or batch.coarse_counts is None:
            return fine, coarser(fine)
        return fine, take(batch.coarse, token_rows(batch.coarse_counts, self.side**2))
