"""The tissue student: the encoder of the default student with a head of nine tissue classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.default_student.encoder import COLORS, LEARNED, Encoder, PrincipalAxes, folded
from training.default_student.tissue.densenet import CLASSES, FEATURES


class TissueEncoder(Encoder):
    """float [N, 3, H, W] in 0..255 to raw features, the logit of tumor and logits of CLASSES.

    Its head of `expression` rebuilds the features of the second teacher; it is not exported.
    """

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.classes = nn.Linear(LEARNED, len(CLASSES))
        self.register_buffer("class_temperature", torch.ones(()))

    def class_logits(self, learned: Tensor) -> Tensor:
        """Calibrated logits [N, 9]."""
        logits: Tensor = self.classes(learned) / self.class_temperature
        return logits


class DeployedTissue(nn.Module):
    """What is exported: uint8 RGB tiles [N, 224, 224, 3] to features, tumor and tissue classes."""

    def __init__(self, encoder: TissueEncoder, axes: PrincipalAxes) -> None:
        super().__init__()
        self.encoder = folded(encoder)
        self.axes = axes

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, 64], probability of tumor [N], probabilities of CLASSES [N, 9]."""
        raw = self.encoder.raw(tiles.permute(0, 3, 1, 2).float())
        learned = raw[:, COLORS:]
        logits = self.encoder.class_logits(learned)
        return (
            self.axes(raw),
            torch.sigmoid(self.encoder.logit(learned)),
            torch.softmax(logits, dim=1),
        )


def write(encoder: TissueEncoder, path: Path) -> None:
    """The weights as arrays."""
    arrays = {name: values.cpu().numpy() for name, values in encoder.state_dict().items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read(path: Path) -> TissueEncoder:
    """What `write` wrote, in inference mode."""
    encoder = TissueEncoder()
    with np.load(path, allow_pickle=False) as stored:
        encoder.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored})
    encoder.eval()
    return encoder
