"""Fitting the tile encoder in two stages, its privileged terms, and its temperature."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.default_student.augment import centered, views
from training.default_student.data import TILE_PX, TileSet
from training.default_student.encoder import COLORS, Encoder, folded
from training.default_student.expression import TARGETS
from training.learning.losses import distill_kl, reconstruction

MPP = 0.5
BATCH = 64
SMALL_PX = 128
"""Views of the first nine tenths of a stage: the network is fully convolutional and a third of
the pixels costs a third of the time."""
SHARES = {"lung": 0.4, "spots": 0.35, "phantom": 0.25}
Terms = Literal["distilled", "plain"]
TEMPERATURE = 2.0
RECONSTRUCTED, DISTILLED = 0.3, 0.5
"""Weights of the privileged terms beside the weight 1 of the weak labels."""


@dataclass(frozen=True)
class Batch:
    """Views and everything known about them; letters as in TileSet."""

    pixels: Tensor
    tumor: Tensor
    tissue: Tensor
    cells: Tensor
    expression: Tensor
    teacher: Tensor


def started(sets: Sequence[TileSet], steps: int, seed: int) -> Encoder:
    """First stage: an encoder of sets that hold no spot, which all later ones share."""
    torch.manual_seed(seed)
    return _trained(Encoder(TARGETS), sets, "plain", steps, seed)


def branched(
    first: Encoder, sets: Sequence[TileSet], terms: Terms, steps: int, seed: int
) -> Encoder:
    """Second stage with the spots: a copy of `first` trained on, which stays as it was.

    "distilled" adds the privileged terms: reconstruction of the expression of the spot, and the
    teacher's soft targets. "plain" is the undistilled twin. Both draw the same views.
    """
    return _trained(copy.deepcopy(first), sets, terms, steps, seed + 1)


def _trained(
    encoder: Encoder, sets: Sequence[TileSet], terms: Terms, steps: int, seed: int
) -> Encoder:
    rng = torch.Generator().manual_seed(seed)
    encoder = encoder.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.15
    )
    since, running = time.monotonic(), 0.0
    for step in range(steps):
        size = SMALL_PX if step < 9 * steps // 10 else TILE_PX
        loss = _loss(encoder, _drawn(sets, size, rng), terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 50 == 49:
            spent = time.monotonic() - since
            print(f"{terms} step {step + 1}/{steps} loss {running:.3f} {spent:.0f} s", flush=True)
    encoder.eval()
    return encoder


def calibrate(encoder: Encoder, sets: Sequence[TileSet]) -> float:
    """Sets and returns the temperature that fits the tumor probability on validation tiles."""
    encoder.temperature.fill_(1.0)
    candidates = torch.logspace(-0.7, 1.2, 191)
    losses = np.zeros(len(candidates))
    for part in sets:  # every source weighs the same, or the easy lung tiles would decide alone
        _, probability = encoded(encoder, part.images, part.mpp)
        logits = torch.logit(torch.from_numpy(probability), eps=1e-7)
        truth = torch.from_numpy(part.tumor)
        losses += [
            functional.binary_cross_entropy_with_logits(logits / t, truth).item()
            for t in candidates
        ]
    best = float(candidates[int(np.argmin(losses))])
    encoder.temperature.fill_(best)
    return best


def encoded(
    encoder: Encoder, images: NDArray[np.uint8], mpp: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw features [N, 134] and tumor probability [N] of uint8 tiles [N, 224, 224, 3] at `mpp`."""
    network = folded(encoder)
    features, tumor = [], []
    with torch.inference_mode():
        for at in range(0, len(images), BATCH):
            tiles = torch.from_numpy(centered(images[at : at + BATCH], mpp, TILE_PX))
            raw = network.raw(tiles.permute(0, 3, 1, 2).float())
            features.append(raw.numpy())
            tumor.append(torch.sigmoid(network.logit(raw[:, COLORS:])).numpy())
    return np.concatenate(features), np.concatenate(tumor)


def _drawn(sets: Sequence[TileSet], size: int, rng: torch.Generator) -> Batch:
    shares = np.array([SHARES[s.source] for s in sets])
    counts = np.round(BATCH * shares / shares.sum()).astype(int)
    drawn = [
        torch.randint(0, len(tiles), (int(count),), generator=rng).numpy()
        for tiles, count in zip(sets, counts, strict=True)
    ]

    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate(
            [getattr(tiles, name)[at] for tiles, at in zip(sets, drawn, strict=True)]
        )

    zoom = np.concatenate(
        [np.full(len(at), MPP / s.mpp, np.float32) for s, at in zip(sets, drawn, strict=True)]
    )
    pixels = views(joined("images").astype(np.uint8), zoom, size, rng)
    known = (field.name for field in fields(Batch) if field.name != "pixels")
    return Batch(pixels, *(torch.from_numpy(joined(name)) for name in known))


def _loss(encoder: Encoder, batch: Batch, terms: Terms) -> Tensor:
    # bfloat16 convolutions: twice as fast on recent CPUs; heads and losses stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
        features = encoder.learned(encoder.scaled(pixels))
    features = features.float()
    logit = encoder.tumor(features)[:, 0]
    # Weak labels and views that miss the lesion: no tile is certain.
    target = batch.tumor.clamp(0.03, 0.97)
    loss = functional.binary_cross_entropy_with_logits(logit, target)
    if (tissue := batch.tissue >= 0).any():
        loss = loss + 0.3 * functional.cross_entropy(
            encoder.tissue(features)[tissue], batch.tissue[tissue], label_smoothing=0.05
        )
    if (cells := ~torch.isnan(batch.cells[:, 0])).any():
        loss = loss + 0.3 * functional.cross_entropy(
            encoder.cells(features)[cells], batch.cells[cells]
        )
    return loss + _privileged(encoder, features, logit, batch) if terms == "distilled" else loss


def _privileged(encoder: Encoder, features: Tensor, logit: Tensor, batch: Batch) -> Tensor:
    """What only the expression of the spot can teach; the teacher answers for the spots alone."""
    spots = ~torch.isnan(batch.teacher)
    rebuilt = reconstruction(encoder.expression(features[spots]), batch.expression[spots])
    soft = distill_kl(_two(logit[spots]), _two(batch.teacher[spots]), TEMPERATURE)
    return RECONSTRUCTED * rebuilt + DISTILLED * soft


def _two(logit: Tensor) -> Tensor:
    """Logits [B, 2] of not tumor and tumor."""
    return torch.stack([torch.zeros_like(logit), logit], dim=1)
