"""Tile encoders that timm makes: the network, its normalization, and the digest of its weights.

The one module that imports timm, an extra of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import TrainingError

RANDOM = "random"


class Normalized(nn.Module):
    """A network of colors around 0, asked with tiles as the node cuts them."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, tiles: Tensor) -> Tensor:
        """Features [N, D] of tiles uint8 [N, T, T, 3]: colors / 255, minus mean, over std."""
        pixels = tiles.permute(0, 3, 1, 2).float() / 255
        found: Tensor = self.network((pixels - self.mean) / self.std)
        return found


@dataclass(frozen=True, eq=False)
class TimmModel:
    """A network of timm that pools, in evaluation mode."""

    name: str
    """As it was asked for, local files by their own name alone."""
    module: Normalized
    digest: str
    """SHA-256 of the weights and of how colors are normalized."""
    engine: str
    width: int
    """D."""
    tile_px: int
    is_random: bool


def timm_model(name: str) -> TimmModel:
    """The network of `timm:ARCH[@FILE | @random]`, `hf-hub:OWNER/NAME` or `local-dir:FOLDER`.

    Raises TrainingError without timm, without the network or its weights.
    """
    timm = _import_timm(name)
    source, _, weights = name.partition("@")
    arch = source.removeprefix("timm:")
    torch.manual_seed(0)  # for @random; loaded weights do not depend on it
    try:
        model = timm.create_model(arch, pretrained=not weights, num_classes=0).eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise TrainingError(
            f"encoder {name!r}: timm could not make it ({_first_line(error)}); without a network "
            "name local weights: timm:ARCH@FILE or local-dir:FOLDER."
        ) from error
    if weights not in ("", RANDOM):
        _load(model, Path(weights), name)
    config = timm.data.resolve_model_data_config(model)
    stated = f"{arch} {config['input_size']} {config['mean']} {config['std']}"
    return TimmModel(
        name=name if weights in ("", RANDOM) else f"{source}@{Path(weights).name}",
        module=Normalized(model, config["mean"], config["std"]).eval(),
        digest=_digest_weights(model.state_dict(), stated),
        engine=f"torch {torch.__version__} timm {timm.__version__}",
        width=int(model.num_features),
        tile_px=int(config["input_size"][-1]),
        is_random=weights == RANDOM,
    )


def _import_timm(name: str) -> Any:
    try:
        import timm  # optional: it needs a torchvision built for the very torch
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another build
        raise TrainingError(
            f"encoder {name!r}: timm cannot be imported ({_first_line(error)}), expected timm and "
            "the torchvision built for this torch (CPU torch needs the CPU torchvision); install "
            "both, or use an ONNX file or a bundle."
        ) from error
    return timm


def _load(model: Any, path: Path, name: str) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except (OSError, UnpicklingError, RuntimeError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"encoder {name!r}: found no state dict of this architecture ({_first_line(error)}); "
            "save model.state_dict() of the timm model with num_classes=0."
        ) from error


def _digest_weights(state: Mapping[str, Any], stated: str) -> str:
    digest = hashlib.sha256(stated.encode())
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
