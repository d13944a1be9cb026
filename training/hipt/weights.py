"""Weights of both networks: those of a checkpoint, or random ones for shape, memory and speed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.errors import TrainingError
from training.hipt.network import TRAINED_PLACES, Vit4K, Vit256, spread

RANDOM = "random"
_PREFIXES = ("module.", "backbone.")
Stage = TypeVar("Stage", Vit256, Vit4K)


def loaded(network: Stage, file: str, *, seed: int = 0) -> Stage:
    """The network in evaluation mode, with the weights of a file (read with weights_only).

    A checkpoint of DINO is taken as it is: the teacher's part, its prefixes and its head left out.
    Raises TrainingError for a file of another network. "random" draws them by `seed`.
    """
    if file == RANDOM:
        return drawn(network, seed)
    try:
        held = torch.load(Path(file), map_location="cpu", weights_only=True)
        state = _plain(held.get("teacher", held))
        if state["pos_embed"].shape[1] == 1 + TRAINED_PLACES**2:
            state["pos_embed"] = spread(state["pos_embed"])
        network.load_state_dict(state)
    except (OSError, UnpicklingError, RuntimeError, AttributeError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TrainingError(
            f"{file}: found no weights of {type(network).__name__} ({first}), expected a published "
            "checkpoint of HIPT; name the file of this stage"
        ) from error
    network.eval()
    return network


def drawn(network: Stage, seed: int) -> Stage:
    """Random weights: for shape, memory and speed; its features mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            elif value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.02)
    network.eval()
    return network


def digest_of_weights(network: Vit256 | Vit4K) -> str:
    """SHA-256 of the weights, whatever file they came from."""
    digest = hashlib.sha256(type(network).__name__.encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(held: Mapping[str, Any]) -> dict[str, Tensor]:
    state = {}
    for key, value in held.items():
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        if not key.startswith("head."):
            state[key] = value
    return state
