"""Fitting the tile encoder, and its temperature."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.first_student.augment import centered, views
from training.first_student.data import TILE_PX, TileSet
from training.first_student.encoder import COLORS, Encoder, folded

MPP = 0.5
BATCH = 64
SMALL_PX = 160
"""Views of the first four fifths of the steps: the network is fully convolutional and half the
pixels cost half the time."""
SHARES = {"lung": 0.5, "spots": 0.25, "phantom": 0.25}


@dataclass(frozen=True)
class Batch:
    """Views and everything known about them; letters as in TileSet."""

    pixels: Tensor
    tumor: Tensor
    tissue: Tensor
    cells: Tensor


def fitted(sets: Sequence[TileSet], steps: int, seed: int) -> Encoder:
    """An encoder trained for `steps` batches of random views of the training tiles."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    encoder: Encoder = Encoder().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.15
    )
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        size = SMALL_PX if step < 4 * steps // 5 else TILE_PX
        loss = _loss(encoder, _drawn(sets, size, rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 50 == 49:
            print(f"step {step + 1}/{steps} loss {running:.3f} {time.monotonic() - started:.0f} s")
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
    return Batch(pixels, *(torch.from_numpy(joined(name)) for name in ("tumor", "tissue", "cells")))


def _loss(encoder: Encoder, batch: Batch) -> Tensor:
    # bfloat16 convolutions: twice as fast on recent CPUs; heads and losses stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
        features = encoder.learned(encoder.scaled(pixels))
    features = features.float()
    # Weak labels and views that miss the lesion: no tile is certain.
    target = batch.tumor.clamp(0.03, 0.97)
    loss = functional.binary_cross_entropy_with_logits(encoder.tumor(features)[:, 0], target)
    tissue = batch.tissue >= 0
    loss = loss + 0.3 * functional.cross_entropy(
        encoder.tissue(features)[tissue], batch.tissue[tissue], label_smoothing=0.05
    )
    cells = ~torch.isnan(batch.cells[:, 0])
    return loss + 0.3 * functional.cross_entropy(encoder.cells(features)[cells], batch.cells[cells])
