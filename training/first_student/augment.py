"""Random views of tiles: geometry, stain, light, blur and JPEG, drawn from one seed."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

STAINS = torch.nn.functional.normalize(
    torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]), dim=1
)
"""Optical density of hematoxylin, eosin and the rest (Ruifrok and Johnston 2001), as rows."""


def views(
    images: NDArray[np.uint8], zoom: NDArray[np.float32], size: int, rng: torch.Generator
) -> Tensor:
    """float [N, 3, size, size] in 0..255: a random crop, turn, stain and quality of each tile.

    `images` is uint8 [N, S, S, 3]; `zoom` [N] is source pixels per view pixel (0.5 / mpp).
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    factor = 0.8 * 1.5625 ** torch.rand(len(pixels), generator=rng)
    pixels = _turned(pixels, torch.from_numpy(zoom) * factor, size, rng)
    matrix, light = stain(len(pixels), rng)
    pixels = restained(pixels, _exchanged(pixels, rng).unsqueeze(2) * matrix, light)
    soft = functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    blend = (torch.rand(len(pixels), 1, 1, 1, generator=rng) * 2 - 0.6).clamp(-0.4, 1)
    pixels = (pixels + blend * (soft - pixels)).clamp(0, 255).round()
    return _recompressed(pixels, rng)


def centered(images: NDArray[np.uint8], mpp: float, size: int) -> NDArray[np.uint8]:
    """uint8 [N, size, size, 3] at 0.5 um/px around the center of each tile of `mpp`."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if mpp == 0.5 and images.shape[1] == size:
        return images
    side = images.shape[1]
    half = torch.full((len(pixels),), 0.5 / mpp * size / side)
    view = _sampled(pixels, torch.diag_embed(torch.stack([half, half], 1)), torch.zeros(2), size)
    pixels = view.clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous()
    centered_images: NDArray[np.uint8] = pixels.numpy()
    return centered_images


def stain(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random stain: matrices [N, 3, 3] on optical density and the light's color [N, 3, 1, 1]."""
    strength = 0.6 * 2.5 ** torch.rand(count, 3, generator=rng)
    turned = STAINS + 0.07 * torch.randn(count, 3, 3, generator=rng)
    turned = functional.normalize(turned.clamp(min=0.01), dim=2)
    light = 1.05 - 0.2 * torch.rand(count, 3, 1, 1, generator=rng)
    return torch.linalg.inv(STAINS) @ (strength.unsqueeze(2) * turned), light


def restained(pixels: Tensor, matrix: Tensor, light: Tensor) -> Tensor:
    """The same tissue with other stains under another light: float [N, 3, H, W] in 0..255."""
    density = -torch.log((pixels + 1) / 256)
    density = torch.einsum("nchw,ncd->ndhw", density, matrix).clamp(min=0)
    return (256 * torch.exp(-density) * light - 1).clamp(0, 255)


def _exchanged(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """[N, 3] factors on density that give half of the tiles the hue of another one of the batch.

    Benign and malignant lung tiles differ in hue by their slides, not by their tissue.
    """
    hue = -torch.log((pixels + 1) / 256).mean(dim=(2, 3)).clamp(min=0.02)
    hue = hue / hue.sum(dim=1, keepdim=True)
    other = hue[torch.randperm(len(hue), generator=rng)]
    chosen = torch.rand(len(hue), 1, generator=rng) < 0.5
    return torch.where(chosen, other / hue, 1.0).clamp(0.5, 2)


def _turned(pixels: Tensor, zoom: Tensor, size: int, rng: torch.Generator) -> Tensor:
    count, side = len(pixels), pixels.shape[-1]
    turn = torch.randint(0, 4, (count,), generator=rng) * (torch.pi / 2)
    flip = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1
    cos, sin = torch.cos(turn).round(), torch.sin(turn).round()
    rows = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    half = zoom * size / side
    slack = (1 - half).clamp(min=0).unsqueeze(1)
    shift = (torch.rand(count, 2, generator=rng) * 2 - 1) * slack
    return _sampled(pixels, rows * half.view(-1, 1, 1), shift, size)


def _sampled(pixels: Tensor, rows: Tensor, shift: Tensor, size: int) -> Tensor:
    theta = torch.cat([rows, shift.expand(len(rows), 2).unsqueeze(2)], dim=2)
    grid = functional.affine_grid(theta, [len(pixels), 3, size, size], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _recompressed(pixels: Tensor, rng: torch.Generator) -> Tensor:
    for at in torch.nonzero(torch.rand(len(pixels), generator=rng) < 0.25).flatten().tolist():
        quality = int(torch.randint(40, 95, (1,), generator=rng))
        buffer = io.BytesIO()
        image = Image.fromarray(pixels[at].byte().permute(1, 2, 0).contiguous().numpy())
        image.save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as again:
            pixels[at] = torch.from_numpy(np.array(again)).permute(2, 0, 1).float()
    return pixels
