"""Encoders of well-known shapes with seeded random weights, as bundles: for speed, never for sense.

Written out here in plain torch, so that every environment of a benchmark has the very same network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.bundle import SHIPPED
from engines.names import FormName
from training.bundle.costs import Bag
from training.bundle.precisions import Material, add_precisions
from training.learning.graphs import write_graph, write_manifest, write_probe, write_sums

TILE_PX = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Residual(nn.Module):
    """Two 3 x 3 convolutions, or 1-3-1 with `narrow`, and a way around them."""

    def __init__(self, taken: int, given: int, stride: int, narrow: int = 0) -> None:
        super().__init__()
        layers = (
            [conv(taken, narrow, 1), nn.ReLU(), conv(narrow, narrow, 3, stride), nn.ReLU(),
             conv(narrow, given, 1)]
            if narrow
            else [conv(taken, given, 3, stride), nn.ReLU(), conv(given, given, 3)]
        )  # fmt: skip
        self.body = nn.Sequential(*layers)
        straight = stride == 1 and taken == given
        self.around = nn.Identity() if straight else conv(taken, given, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.around(x))


class Squeezed(nn.Module):
    """Inverted residual of MobileNetV3 (arXiv:1905.02244), with squeeze and excitation or not."""

    def __init__(
        self, taken: int, wide: int, given: int, size: int, stride: int, squeeze: bool, hard: bool
    ) -> None:
        super().__init__()
        act = nn.Hardswish if hard else nn.ReLU
        self.wide = nn.Sequential(
            conv(taken, wide, 1), act(), conv(wide, wide, size, stride, groups=wide), act()
        )
        small = max(8, wide // 4 // 8 * 8)
        self.gate = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, small, 1), nn.ReLU(),
                nn.Conv2d(small, wide, 1), nn.Hardsigmoid(),
            )
            if squeeze
            else None
        )  # fmt: skip
        self.out = conv(wide, given, 1)
        self.straight = stride == 1 and taken == given

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x)
        y = self.out(y if self.gate is None else y * self.gate(y))
        return x + y if self.straight else y


class Block(nn.Module):
    """Pre-norm transformer block of a ViT (arXiv:2010.11929)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.join(mixed.transpose(1, 2).reshape(b, n, d))
        mlp: Tensor = x + self.mlp(self.middle(x))
        return mlp


class Vit(nn.Module):
    """ViT-S/16: 384 wide, 12 deep, 6 heads; the mean of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 384, 16, 16)
        self.places = nn.Parameter(torch.randn(1, 196, 384) * 0.02)
        self.blocks = nn.Sequential(*(Block(384, 6) for _ in range(12)))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        found: Tensor = self.blocks(tokens)
        return found.transpose(1, 2)[..., None]


def conv(taken: int, given: int, size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution with its norm folded in, as a deployed network has it."""
    return nn.Conv2d(taken, given, size, stride, size // 2, groups=groups)


def resnet(blocks: tuple[int, ...], narrow: bool) -> nn.Module:
    """ResNet-18 or, with narrow middles, ResNet-50 (arXiv:1512.03385)."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for stage, count in enumerate(blocks):
        middle = 64 * 2**stage
        given = middle * (4 if narrow else 1)
        for n in range(count):
            stride = 2 if stage and n == 0 else 1
            layers.append(Residual(width, given, stride, middle if narrow else 0))
            width = given
    return nn.Sequential(*layers)


def mobilenet(rows: list[tuple[int, int, int, int, bool, bool]], last: int) -> nn.Module:
    """MobileNetV3 of rows: kernel, expansion, width, stride, squeeze, hard swish."""
    layers: list[nn.Module] = [conv(3, 16, 3, 2), nn.Hardswish()]
    width = 16
    for size, wide, given, stride, squeeze, hard in rows:
        layers.append(Squeezed(width, wide, given, size, stride, squeeze, hard))
        width = given
    return nn.Sequential(*layers, conv(width, last, 1), nn.Hardswish())


LARGE = [(3, 16, 16, 1, False, False), (3, 64, 24, 2, False, False), (3, 72, 24, 1, False, False),
         (5, 72, 40, 2, True, False), (5, 120, 40, 1, True, False), (5, 120, 40, 1, True, False),
         (3, 240, 80, 2, False, True), (3, 200, 80, 1, False, True), (3, 184, 80, 1, False, True),
         (3, 184, 80, 1, False, True), (3, 480, 112, 1, True, True), (3, 672, 112, 1, True, True),
         (5, 672, 160, 2, True, True), (5, 960, 160, 1, True, True),
         (5, 960, 160, 1, True, True)]  # fmt: skip
SMALL = [(3, 16, 16, 2, True, False), (3, 72, 24, 2, False, False), (3, 88, 24, 1, False, False),
         (5, 96, 40, 2, True, True), (5, 240, 40, 1, True, True), (5, 240, 40, 1, True, True),
         (5, 120, 48, 1, True, True), (5, 144, 48, 1, True, True), (5, 288, 96, 2, True, True),
         (5, 576, 96, 1, True, True), (5, 576, 96, 1, True, True)]  # fmt: skip
SHAPES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: resnet((2, 2, 2, 2), narrow=False),
    "resnet50": lambda: resnet((3, 4, 6, 3), narrow=True),
    "mobilenetv3-l": lambda: mobilenet(LARGE, 960),
    "mobilenetv3-s": lambda: mobilenet(SMALL, 576),
    "vit-s16": Vit,
}


class Encoder(nn.Module):
    """uint8 tiles [N, 224, 224, 3] to features [N, D] and tumor [N], normalization inside."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = SHAPES[name]()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255)

    def features(self, pixels: Tensor) -> Tensor:
        """[N, D] of normalized pixels [N, 3, H, W]."""
        found: Tensor = self.body(pixels).mean((2, 3))
        return found

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (tiles.permute(0, 3, 1, 2).float() - self.mean) / self.std
        features = self.features(pixels)
        # Random features rank nothing; brightness does, in every precision.
        return features, torch.sigmoid(pixels.mean((1, 2, 3)))


class MeanPool(nn.Module):
    """Features [N, D] to their mean [D]: next to no work."""

    def forward(self, features: Tensor) -> Tensor:
        center: Tensor = features.mean(0)
        return center


def write_bundle(
    name: str,
    root: Path,
    tiles: Tensor,
    *,
    batch: int = 16,
    forms: Sequence[FormName] = ("bf16", "int8"),
) -> Path:
    """The shape `name` as a bundle with cheaper forms; `tiles` [N, ...] calibrate int8."""
    root.mkdir(parents=True)
    encoder = Encoder(name).eval()
    few = tiles[:4]
    with torch.inference_mode():
        features, _ = encoder(few)
    dynamic = {n: {0: "N"} for n in ("tiles", "features", "tumor")}
    write_graph("encoder", encoder, (few,), root, inputs=("tiles",),
                outputs=("features", "tumor"), dynamic=dynamic)  # fmt: skip
    write_graph("aggregator", MeanPool(), (features,), root, inputs=("features",),
                outputs=("center",), dynamic=dynamic)  # fmt: skip
    write_probe(("encoder", "aggregator"), {"tiles": few.numpy()}, root)
    content = json.loads((SHIPPED / "default/manifest.json").read_text())
    for graph, side in (("encoder", "outputs"), ("aggregator", "inputs")):
        content["graphs"][graph][side][0]["shape"][1] = features.shape[1]
    content["graphs"]["aggregator"]["outputs"][0]["shape"] = [features.shape[1]]
    content |= {"name": name, "precisions": [], "shipped_precision": "fp32"}
    content["input"]["batch"] = batch
    content["precision_limits"] = {
        "feature_cosine": 0.01, "score_shift": 1e6, "heatmap_spearman": 1e-9
    }  # fmt: skip
    content.pop("out_of_distribution", None)
    write_manifest(content, root)
    (root / "card.md").write_text("# Random weights, for benchmarks\n")
    write_sums(root)
    images = tiles.numpy()
    material = Material(
        images[:16], images[16:], [Bag(np.arange(len(images) - 16))], "random weights"
    )
    add_precisions(root, material, forms)
    return root
