"""Random views of tiles on the device that trains; every draw is made on the CPU, so devices agree.

The student and its teacher see the same view (Beyer and others, "A good teacher is patient and
consistent", 2022): nothing that the view changed is blamed on the student.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.default_student.augment import restained, stain

_CLOSEST, _FARTHEST = 0.6, 1.5
"""Pixels of the tile per pixel of the view, at the spacing the student works at."""
_LUMINANCE = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
              14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
              18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
              49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)  # fmt: skip
"""Quantization of ITU-T T.81, table K.1; the chrominance is quantized by it too."""


def views(images: Tensor, zoom: Tensor, rng: torch.Generator) -> Tensor:
    """float [B, 3, S, S] in 0..255 of uint8 [B, 3, S, S] on any device.

    Turned, scaled, of other stain, light, sharpness and compression. `zoom` [B] is pixels of the
    tile per pixel of the view at the student's spacing; it and `rng` are on the CPU.
    """
    count, device = len(images), images.device
    theta = _placed(zoom, rng).to(device)
    matrix, light = (drawn.to(device) for drawn in stain(count, rng))
    plain = (torch.rand(count, 1, 1, 1, generator=rng) < 0.2).to(device)
    blend = (torch.rand(count, 1, 1, 1, generator=rng) * 2 - 0.6).clamp(-0.4, 1).to(device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    pixels = functional.grid_sample(
        images.float(), grid, padding_mode="reflection", align_corners=False
    )
    pixels = torch.where(plain, pixels, restained(pixels.clone(), matrix, light))
    soft = functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pixels = torch.lerp(pixels, soft, blend).clamp_(0, 255)
    at = torch.nonzero(torch.rand(count, generator=rng) < 0.25).flatten()
    quality = torch.randint(40, 95, (len(at),), generator=rng)
    if len(at):
        pixels[at.to(device)] = compressed(pixels[at.to(device)], quality.to(device))
    return pixels.round_()


def mixed(pixels: Tensor, rows: Tensor, rng: torch.Generator) -> Tensor:
    """Blends a third of the `rows` (indices, CPU) with others of them, in place; returns which."""
    partner = rows[torch.randperm(len(rows), generator=rng)]
    chosen = torch.rand(len(rows), generator=rng) < 1 / 3
    share = torch.rand(len(rows), generator=rng)
    first, second = rows[chosen].to(pixels.device), partner[chosen].to(pixels.device)
    weight = share[chosen].to(pixels.device).view(-1, 1, 1, 1)
    pixels[first] = torch.lerp(pixels[first], pixels[second], weight)
    return rows[chosen]


def compressed(pixels: Tensor, quality: Tensor) -> Tensor:
    """Loses what JPEG at `quality` [B] loses: float [B, 3, S, S], S a multiple of 8."""
    count, channels, side, _ = pixels.shape
    to_ycc = pixels.new_tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    ycc = torch.einsum("kc,nchw->nkhw", to_ycc, pixels) - pixels.new_tensor([128.0, 0, 0]).view(
        1, 3, 1, 1
    )
    blocks = ycc.view(count, channels, side // 8, 8, side // 8, 8).transpose(3, 4)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality.float()) / 100
    table = (pixels.new_tensor(_LUMINANCE).view(1, 8, 8) * scale.view(-1, 1, 1)).round()
    table = table.clamp(1, 255).view(count, 1, 1, 1, 8, 8)
    cosine = _cosines().to(pixels)
    kept = torch.round(cosine @ blocks @ cosine.T / table) * table
    ycc = (cosine.T @ kept @ cosine).transpose(3, 4).reshape(pixels.shape)
    ycc = ycc + pixels.new_tensor([128.0, 0, 0]).view(1, 3, 1, 1)
    back = torch.einsum("ck,nkhw->nchw", torch.linalg.inv(to_ycc.float()), ycc)
    return back.clamp(0, 255)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values."""
    k = torch.arange(8.0)
    matrix = torch.cos(math.pi / 8 * (k + 0.5).unsqueeze(0) * k.unsqueeze(1)) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _placed(zoom: Tensor, rng: torch.Generator) -> Tensor:
    """[B, 2, 3] affine maps to a random place, angle, side and scale of each tile."""
    count = len(zoom)
    span = math.log(_FARTHEST / _CLOSEST)
    half = zoom * _CLOSEST * torch.exp(span * torch.rand(count, generator=rng))
    angle = torch.rand(count, generator=rng) * 2 * math.pi
    flip = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    slack = (1 - half).clamp(min=0).unsqueeze(1)
    shift = (torch.rand(count, 2, generator=rng) * 2 - 1) * slack
    return torch.cat([rows * half.view(-1, 1, 1), shift.unsqueeze(2)], dim=2)
