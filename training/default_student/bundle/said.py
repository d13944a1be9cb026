"""What student, twin, null and teacher say of tiles: the numbers that every figure is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.default_student.encoder import COLORS, folded
from training.default_student.tissue.densenet import DenseNet
from training.default_student.tissue.student import TissueEncoder

Floats = NDArray[np.float32]
_AT_ONCE = 32


@dataclass(frozen=True)
class Said:
    """Of N tiles."""

    raw: Floats
    """[N, 134]."""
    tumor: Floats
    """[N] logit."""
    classes: Floats
    """[N, 9] logits."""

    def probabilities(self) -> Floats:
        """[N, 9]."""
        return softmax(self.classes)

    def cooled(self, tumor: float, classes: float) -> Said:
        """Divided by the two temperatures."""
        return Said(self.raw, self.tumor / tumor, self.classes / classes)


def by_student(encoder: TissueEncoder, images: NDArray[np.uint8]) -> Said:
    """Of uint8 tiles [N, 224, 224, 3] at 0.5 um/px."""
    network = folded(encoder)
    raw, tumor, classes = [], [], []
    for pixels in _batches(images):
        found = network.raw(pixels)
        learned = found[:, COLORS:]
        raw.append(found)
        tumor.append(network.logit(learned))
        classes.append(network.class_logits(learned))
    return Said(*(torch.cat(parts).numpy() for parts in (raw, tumor, classes)))


def by_teacher(teacher: DenseNet, images: NDArray[np.uint8]) -> Floats:
    """Logits of tissue [N, 9] by the network that taught them."""
    logits: Floats = torch.cat([teacher(pixels)[1] for pixels in _batches(images)]).numpy()
    return logits


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    risen = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = risen / risen.sum(axis=-1, keepdims=True)
    return shares


def _batches(images: NDArray[np.uint8]) -> Iterator[Tensor]:
    with torch.inference_mode():
        for at in range(0, len(images), _AT_ONCE):
            few = np.ascontiguousarray(images[at : at + _AT_ONCE])
            yield torch.from_numpy(few).permute(0, 3, 1, 2).float()
