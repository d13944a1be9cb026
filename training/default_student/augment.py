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

_AT_ONCE = 8
"""Tiles worked on at a time: they stay in the cache, which doubles the speed."""


def views(
    images: NDArray[np.uint8], zoom: NDArray[np.float32], size: int, rng: torch.Generator
) -> Tensor:
    """float [N, 3, size, size] in 0..255: a random crop, turn, stain and quality of each tile.

    `images` is uint8 [N, S, S, 3]; `zoom` [N] is source pixels per view pixel (0.5 / mpp).
    """
    count = len(images)
    factor = 0.8 * 1.5625 ** torch.rand(count, generator=rng)
    theta = _placed(torch.from_numpy(zoom) * factor, size / images.shape[1], rng)
    matrix, light = stain(count, rng)
    matrix = _exchanged(images, rng).unsqueeze(2) * matrix
    blend = (torch.rand(count, 1, 1, 1, generator=rng) * 2 - 0.6).clamp(-0.4, 1)
    out = torch.empty(count, 3, size, size)
    for at in range(0, count, _AT_ONCE):
        few = slice(at, at + _AT_ONCE)
        pixels = torch.from_numpy(images[few]).permute(0, 3, 1, 2).float()
        pixels = restained(_sampled(pixels, theta[few], size), matrix[few], light[few])
        soft = functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
        out[few] = torch.lerp(pixels, soft, blend[few]).clamp_(0, 255).round_()
    return _recompressed(out, rng)


def centered(images: NDArray[np.uint8], mpp: float, size: int) -> NDArray[np.uint8]:
    """uint8 [N, size, size, 3] at 0.5 um/px around the center of each tile of `mpp`."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if mpp == 0.5 and images.shape[1] == size:
        return images
    side = images.shape[1]
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]) * (0.5 / mpp * size / side)
    view = _sampled(pixels, theta.expand(len(pixels), 2, 3), size)
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
    density = torch.log_((pixels + 1).div_(256)).neg_().flatten(2)
    other = torch.bmm(matrix.transpose(1, 2).expand(len(pixels), 3, 3), density).clamp_(min=0)
    color = other.neg_().exp_().mul_(256).view(pixels.shape)
    return color.mul_(light).sub_(1).clamp_(0, 255)


def _exchanged(images: NDArray[np.uint8], rng: torch.Generator) -> Tensor:
    """[N, 3] factors on density that give half of the tiles the hue of another one of the batch.

    Benign and malignant lung tiles differ in hue by their slides, not by their tissue.
    """
    few = torch.from_numpy(images[:, ::4, ::4].astype(np.float32))
    hue = -torch.log((few + 1) / 256).mean(dim=(1, 2)).clamp(min=0.02)
    hue = hue / hue.sum(dim=1, keepdim=True)
    other = hue[torch.randperm(len(hue), generator=rng)]
    chosen = torch.rand(len(hue), 1, generator=rng) < 0.5
    return torch.where(chosen, other / hue, 1.0).clamp(0.5, 2)


def _placed(zoom: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """[N, 2, 3] affine maps to a random place, quarter turn and side of each tile.

    A view covers `zoom` [N] times `share` of the side of its tile.
    """
    count = len(zoom)
    turn = torch.randint(0, 4, (count,), generator=rng) * (torch.pi / 2)
    flip = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1
    cos, sin = torch.cos(turn).round(), torch.sin(turn).round()
    rows = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    half = zoom * share
    slack = (1 - half).clamp(min=0).unsqueeze(1)
    shift = (torch.rand(count, 2, generator=rng) * 2 - 1) * slack
    return torch.cat([rows * half.view(-1, 1, 1), shift.unsqueeze(2)], dim=2)


def _sampled(pixels: Tensor, theta: Tensor, size: int) -> Tensor:
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
