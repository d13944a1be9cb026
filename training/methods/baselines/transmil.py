"""TransMIL (Shao et al. 2021): a transformer over instances with Nystrom attention and PPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.learning.bags import Batch
from training.learning.fitted import Fitted
from training.learning.heads import outputs
from training.learning.journal import Journal
from training.learning.loop import Schedule
from training.learning.split import Split
from training.methods.baselines.reference import reference


@dataclass(frozen=True)
class Settings:
    """Published widths; fewer landmarks where bags are small."""

    epochs: int = 20
    lr: float = 2e-4
    weight_decay: float = 1e-5
    dropout: float = 0.1
    width: int = 512
    heads: int = 8
    landmarks: int = 256
    iterations: int = 6
    """Of the pseudoinverse."""


class NystromAttention(nn.Module):
    """Self-attention in linear time (Xiong et al. 2021), with the residual convolution of V.

    Sequences are padded at the front to a multiple of the landmarks, as in the reference code.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.heads, self.landmarks = settings.heads, settings.landmarks
        self.iterations = settings.iterations
        self.qkv = nn.Linear(settings.width, 3 * settings.width, bias=False)
        self.out = nn.Sequential(
            nn.Linear(settings.width, settings.width), nn.Dropout(settings.dropout)
        )
        self.residual = nn.Conv2d(
            self.heads, self.heads, (33, 1), padding=(16, 0), groups=self.heads, bias=False
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, W] to [B, L, W]."""
        slides, length, width = tokens.shape
        landmarks = min(self.landmarks, length)
        padded = math.ceil(length / landmarks) * landmarks
        tokens = nn.functional.pad(tokens, (0, 0, padded - length, 0))
        q, k, v = (
            part.reshape(slides, padded, self.heads, -1).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        mixed = self._mixed(q / math.sqrt(width / self.heads), k, v, landmarks) + self.residual(v)
        attended: Tensor = self.out(mixed.transpose(1, 2).reshape(slides, padded, width))
        return attended[:, padded - length :]

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, landmarks: int) -> Tensor:
        """[B, heads, L, W / heads] of the scaled queries, keys and values.

        Where every token is a landmark the three softmaxes are one matrix A, and A A+ A is A: the
        attention itself.
        """
        length = q.shape[2]
        if landmarks == length:
            return nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        near_q, near_k = (
            x.unflatten(2, (landmarks, length // landmarks)).mean(dim=3) for x in (q, k)
        )
        first = torch.softmax(q @ near_k.transpose(2, 3), dim=-1)
        middle = torch.softmax(near_q @ near_k.transpose(2, 3), dim=-1)
        last = torch.softmax(near_q @ k.transpose(2, 3), dim=-1)
        return first @ pseudoinverse(middle, self.iterations) @ (last @ v)


def pseudoinverse(matrix: Tensor, iterations: int) -> Tensor:
    """Moore-Penrose inverse of [..., heads, M, M] by the cubic iteration of Razavi et al. (2014).

    One scale for the heads of a slide, as in the reference code; slides share none.
    """
    absolute = matrix.abs()
    rows, columns = (absolute.sum(dim=side).amax((-2, -1)) for side in (-1, -2))
    scale = (rows * columns)[..., None, None, None]
    inverse = matrix.transpose(-1, -2) / scale
    unit = torch.eye(matrix.shape[-1])
    for _ in range(iterations):
        product = matrix @ inverse
        inner = 15 * unit - product @ (7 * unit - product)
        inverse = 0.25 * inverse @ (13 * unit - product @ inner)
    return inverse


class TransMil(nn.Module):
    """Two Nystrom layers with a pyramid position encoding between them."""

    def __init__(self, width: int, out: int, settings: Settings) -> None:
        super().__init__()
        wide = settings.width
        self.embed = nn.Sequential(nn.Linear(width, wide), nn.ReLU())
        self.class_token = nn.Parameter(torch.randn(1, wide) * 1e-3)
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for _ in range(3))
        self.layers = nn.ModuleList(NystromAttention(settings) for _ in range(2))
        self.pyramid = nn.ModuleList(
            nn.Conv2d(wide, wide, size, padding=size // 2, groups=wide) for size in (7, 5, 3)
        )
        self.head = nn.Linear(wide, out)

    def forward(self, bags: Tensor, mask: Tensor) -> Tensor:
        """Logits [B, K]; bags that fill a square of the same side go through together."""
        real = [bag[of] for bag, of in zip(bags, mask, strict=True)]
        alike: dict[int, list[int]] = {}
        for place, bag in enumerate(real):
            alike.setdefault(math.ceil(math.sqrt(len(bag))), []).append(place)
        logits = torch.cat(
            [
                self.squares(torch.stack([filled(real[place], side) for place in places]), side)
                for side, places in alike.items()
            ]
        )
        order = torch.tensor([place for places in alike.values() for place in places])
        return logits[order.argsort()]

    def squares(self, instances: Tensor, side: int) -> Tensor:
        """Logits [B, K] of instances [B, side * side, D]."""
        tokens = self.embed(instances)
        tokens = torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = tokens + self.layers[0](self.norms[0](tokens))
        tokens = torch.cat([tokens[:, :1], self.positions(tokens[:, 1:], side)], dim=1)
        tokens = tokens + self.layers[1](self.norms[1](tokens))
        logits: Tensor = self.head(self.norms[2](tokens[:, 0]))
        return logits

    def positions(self, tokens: Tensor, side: int) -> Tensor:
        """Adds the depth-wise convolutions of the grids [side, side]."""
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        mixed: Tensor = grid + sum(layer(grid) for layer in self.pyramid)
        return mixed.flatten(2).transpose(1, 2)


def filled(instances: Tensor, side: int) -> Tensor:
    """[N, D] to [side * side, D], filled up by repeating the first ones."""
    return instances[torch.arange(side * side) % len(instances)]


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Trains TransMIL. It is a reference only: its attention has no exported form."""
    torch.manual_seed(seed)
    network = TransMil(split.width, outputs(split.task), settings)

    def answer(batch: Batch) -> Tensor:
        logits: Tensor = network(batch.bags, batch.mask)
        return logits

    schedule = Schedule(settings.epochs, settings.lr, settings.weight_decay)
    return reference("transmil", network, answer, split, schedule, seed=seed, journal=journal)
