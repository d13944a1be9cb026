"""The graph of an encoder, uint8 tiles [N, T, T, 3] -> features [N, D], of a network in torch: one
of timm, or HIPT's first stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.learning.graphs import PARITY, run, write_graph
from training.tiles.vectors import require_told_apart, require_vectors

if TYPE_CHECKING:
    from torch import nn

FEATURES = "features"
HIPT_PREFIX = "hipt:"
MOST_BYTES = 2_000_000_000
"""Of weights in one ONNX file: protobuf takes no more."""


@dataclass(frozen=True)
class Colors:
    """How a graph wants its colors: value / 255, minus mean, over std, of each channel of RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class EncoderGraph:
    """What is known of a graph that was written as `encoder.onnx`."""

    source: str
    """Without folders: the card goes to others."""
    digest: str
    """SHA-256 of the weights."""
    tile_px: int
    colors: str
    """How colors are normalized, a sentence."""
    gap: float
    """Largest difference of a feature from the source's."""
    limit: float
    """What `gap` may be at most."""
    largest: float
    """Largest feature of the tiles that were compared, without its sign."""
    is_random: bool = False


def from_timm(source: str, out: Path) -> EncoderGraph:
    """Writes `out/encoder.onnx` of a network of timm. Raises TrainingError."""
    from training.tiles.timm_models import timm_model  # timm is an extra of its own

    model = timm_model(source)
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    if weights > MOST_BYTES:
        raise TrainingError(
            f"{source}: found {weights / 1e9:.1f} GB of weights, expected at most 2 GB, what one "
            "ONNX file takes; choose a smaller network"
        )
    mean, std = (getattr(model.module, k).flatten().tolist() for k in ("mean", "std"))
    gap, largest = _written(source, model.module, model.tile_px, out)
    return EncoderGraph(
        source=model.name,
        digest=model.digest,
        tile_px=model.tile_px,
        colors=said(Colors((*mean,), (*std,))),
        gap=gap,
        limit=PARITY,
        largest=largest,
        is_random=model.is_random,
    )


def from_hipt(source: str, out: Path) -> EncoderGraph:
    """Writes `out/encoder.onnx` of HIPT's first stage, `hipt:FILE` or `hipt:random`: a published
    checkpoint, or random weights. Raises TrainingError."""
    from training.hipt.network import COLOR, TILE_PX, Vit256
    from training.hipt.weights import RANDOM, digest_of_weights, loaded

    file = source.removeprefix(HIPT_PREFIX)
    network = loaded(Vit256(), file)
    gap, largest = _written(source, network, TILE_PX, out)
    return EncoderGraph(
        source=HIPT_PREFIX + Path(file).name,
        digest=digest_of_weights(network),
        tile_px=TILE_PX,
        colors=said(Colors((COLOR,) * 3, (COLOR,) * 3)),
        gap=gap,
        limit=PARITY,
        largest=largest,
        is_random=file == RANDOM,
    )


def _written(source: str, module: nn.Module, tile_px: int, out: Path) -> tuple[float, float]:
    """Writes the graph of a network of tiles; largest difference from it, and largest feature."""
    import torch

    tiles = torch.from_numpy(sample_tiles(tile_px))
    with torch.inference_mode():
        found = module(tiles)
    require_vectors(source, found.numpy(), len(tiles))
    require_told_apart(source, found.numpy())
    path = write_graph(
        "encoder",
        module,
        (tiles,),
        out,
        inputs=["tiles"],
        outputs=[FEATURES],
        dynamic={"tiles": {0: "N"}, FEATURES: {0: "N"}},
    )
    given = run(path, {"tiles": tiles.numpy()})[FEATURES]
    return float(np.abs(given - found.numpy()).max()), float(np.abs(given).max())


def said(colors: Colors) -> str:
    """A sentence of a card."""
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (colors.mean, colors.std))
    return f"Colors / 255 are normalized inside by mean {mean} and deviation {std}."


def sample_tiles(tile_px: int) -> NDArray[np.uint8]:
    """[2, T, T, 3]: noise, and one that is smooth."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (tile_px, tile_px, 3), np.uint8)
    ramp = np.linspace(40, 250, tile_px).astype(np.uint8)
    smooth = np.stack([np.tile(ramp, (tile_px, 1)), np.tile(ramp[::-1], (tile_px, 1)),
                       np.tile(ramp[:, None], (1, tile_px))], axis=2)  # fmt: skip
    return np.stack([noise, smooth])
