"""Batches of views on the device that trains, with all that is known of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.default_student.tissue.tiles import SOURCES, TILE_PX, Tiles
from training.default_student.tissue.views import mixed, views

MPP = 0.5
SHARES = {"lung": 0.28, "spots": 0.2, "drawn": 0.1, "slides": 0.2, "pictures": 0.22}
MIXED = ("lung", "slides", "pictures")
"""Sources whose views are blended with one another: what the second teacher alone answers for."""


@dataclass(frozen=True)
class Batch:
    """B views in order of source; letters as in Tiles."""

    pixels: Tensor
    """float [B, 3, 224, 224] in 0..255."""
    source: Tensor
    tumor: Tensor
    tissue: Tensor
    cells: Tensor
    classes: Tensor
    taught: Tensor
    exchanged: Tensor
    """[B] another row of the same source for each: what the null takes its answers from."""


class Shelf:
    """All training tiles on one device."""

    def __init__(self, tiles: Tiles, device: torch.device) -> None:
        pixels = torch.from_numpy(tiles.images()).permute(0, 3, 1, 2).contiguous()
        self.device = device
        self.images = pixels.to(device)
        self.zoom = torch.from_numpy((MPP / tiles.mpp).astype(np.float32))
        self.known = {
            name: torch.from_numpy(getattr(tiles, name)).to(device)
            for name in ("source", "tumor", "tissue", "cells", "classes", "taught")
        }
        self.rows = {
            name: torch.from_numpy(np.flatnonzero((tiles.source == at) & ~tiles.held))
            for at, name in enumerate(SOURCES)
        }
        self.held = {
            name: torch.from_numpy(np.flatnonzero((tiles.source == at) & tiles.held))
            for at, name in enumerate(SOURCES)
        }

    def drawn(self, count: int, rng: torch.Generator) -> Batch:
        """A batch of about `count` views."""
        counts = {name: max(2, round(count * share)) for name, share in SHARES.items()}
        rows, exchanged, start = [], [], 0
        for name, wanted in counts.items():
            own = self.rows[name]
            rows.append(own[torch.randint(0, len(own), (wanted,), generator=rng)])
            exchanged.append(start + torch.randperm(wanted, generator=rng))
            start += wanted
        at = torch.cat(rows)
        pixels = views(self.images[at.to(self.device)], self.zoom[at], rng)
        known = {name: values[at.to(self.device)] for name, values in self.known.items()}
        names = np.repeat(list(counts), list(counts.values()))
        blendable = torch.from_numpy(np.flatnonzero(np.isin(names, MIXED)))
        blended = mixed(pixels, blendable, rng).to(self.device)
        known["tumor"][blended] = torch.nan
        known["tissue"][blended] = -1
        return Batch(pixels, exchanged=torch.cat(exchanged).to(self.device), **known)

    def plain(self, rows: Tensor) -> Tensor:
        """float [B, 3, 224, 224]: the middle of the tiles `rows` as they are, at 0.5 um/px."""
        return plain(self.images[rows.to(self.device)], self.zoom[rows])


def plain(images: Tensor, zoom: Tensor) -> Tensor:
    """The middle of uint8 tiles [B, 3, 224, 224] with `zoom` [B] pixels per pixel of the view."""
    if bool((zoom == 1).all()):
        return images.float()
    theta = zoom.view(-1, 1, 1) * torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    shape = [len(images), 3, TILE_PX, TILE_PX]
    grid = functional.affine_grid(theta.to(images.device), shape, align_corners=False)
    sampled = functional.grid_sample(
        images.float(), grid, padding_mode="reflection", align_corners=False
    )
    return sampled.clamp(0, 255).round()
