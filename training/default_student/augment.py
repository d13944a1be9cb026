"""Tiles at the spacing of the student, and under another stain and light."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

STAINS = torch.nn.functional.normalize(
    torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]), dim=1
)
"""Optical density of hematoxylin, eosin and the rest (Ruifrok and Johnston 2001), as rows."""


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


def _sampled(pixels: Tensor, theta: Tensor, size: int) -> Tensor:
    grid = functional.affine_grid(theta, [len(pixels), 3, size, size], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
