"""The tile encoder: a residual network of dense 3x3 convolutions, and its folding for export.

Dense 3x3 convolutions are what CPU runtimes execute fastest; depth-wise ones are not.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LEARNED = 128
COLORS = 6
RAW = COLORS + LEARNED
FEATURES = 64
CELL_TYPES = 8
TISSUES = 3
PIXEL_MEAN = (180.0, 140.0, 175.0)
"""RGB of an average H&E tile. Only a working point: batch normalization learns the rest."""
PIXEL_STD = (50.0, 55.0, 45.0)


def _conv(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
    )


class Block(nn.Module):
    """Halves the resolution, then refines it: conv/2, then x + conv(conv(x))."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = _conv(inside, outside, 2)
        self.first = _conv(outside, outside, 1)
        self.second = _conv(outside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inside, H, W] to [N, outside, H/2, W/2]."""
        x = torch.relu(self.down(x))
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class Encoder(nn.Module):
    """float [N, 3, H, W] in 0..255 to raw features [N, 134] and the logit of tumor [N].

    Raw features are mean and spread of each color, which a classifier learns to ignore and a test
    for foreign slides needs, and 128 learned ones. The auxiliary heads (tissue of the lung tiles,
    cell types of the spots, and the privileged one: `targets` values of expression) only shape the
    learned features; they are not exported.
    """

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 2)
        self.blocks = nn.Sequential(
            nn.Sequential(_conv(16, 32, 2), nn.ReLU()),
            Block(32, 64),
            Block(64, 128),
            Block(128, 192),
        )
        self.project = nn.Linear(192, LEARNED)
        self.tumor = nn.Linear(LEARNED, 1)
        self.tissue = nn.Linear(LEARNED, TISSUES)
        self.cells = nn.Linear(LEARNED, CELL_TYPES)
        self.expression = nn.Linear(LEARNED, targets)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))
        self.register_buffer("temperature", torch.ones(()))

    def learned(self, scaled: Tensor) -> Tensor:
        """[N, 128] of scaled pixels."""
        return self.project(self.blocks(torch.relu(self.stem(scaled))).mean(dim=(2, 3)))

    def scaled(self, pixels: Tensor) -> Tensor:
        """Pixels around 0 with a spread of about 1."""
        return (pixels - self.mean) / self.std

    def raw(self, pixels: Tensor) -> Tensor:
        """[N, 134]: mean and spread of each color, then the learned features."""
        scaled = self.scaled(pixels)
        mean = scaled.mean(dim=(2, 3), keepdim=True)
        spread = (scaled - mean).square().mean(dim=(2, 3)).sqrt()
        return torch.cat([mean.flatten(1), spread, self.learned(scaled)], dim=1)

    def logit(self, learned: Tensor) -> Tensor:
        """Calibrated logit of tumor [N]."""
        return self.tumor(learned).squeeze(1) / self.temperature


class PrincipalAxes(nn.Module):
    """Raw features [N, 134] to features [N, 64] that vary independently among slides.

    The distance of the manifest divides each by its own deviation, so on these axes it is the
    Mahalanobis distance of a slide. Scaling them here instead would amplify rounding errors of
    the weakest axes a hundredfold.
    """

    def __init__(self, slide_means: Tensor) -> None:
        super().__init__()
        slide_means = slide_means.double()
        std, mean = torch.std_mean(slide_means, dim=0)
        _, _, axes = torch.linalg.svd((slide_means - mean) / std, full_matrices=False)
        matrix = axes[:FEATURES].T / std.unsqueeze(1)
        self.register_buffer("matrix", matrix.float())
        self.register_buffer("shift", (-mean @ matrix).float())

    def forward(self, raw: Tensor) -> Tensor:
        """[N, 64], strongest axis first."""
        return raw @ self.matrix + self.shift


def folded(encoder: Encoder) -> Encoder:
    """A copy whose batch normalizations are folded into the convolutions before them."""
    copied: Encoder = copy.deepcopy(encoder).eval()
    for module in list(copied.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for at in range(len(module) - 1):
            conv, norm = module[at], module[at + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[at] = fuse_conv_bn_eval(conv, norm)
                module[at + 1] = nn.Identity()
    return copied
