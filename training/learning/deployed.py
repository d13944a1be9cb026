"""The student as a bundle carries it: plain named tensors of one slide, ready for a report."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

INSTANCE_AXIS = {"attention": 0, "region": 0, "group_attention": 1}
"""Outputs with one value per instance, and the axis that counts them."""


COARSE_FEATURES = "features_coarse"
INPUTS = {"features": "N", COARSE_FEATURES: "M"}
"""What a student may take, and the free axis of each: the first alone, or both. The names are those
that a manifest gives the encoder's output over the finer and over the coarser grid."""


class Deployed(nn.Module):
    """Features [N, D] to a tuple of tensors in the order of `names`.

    Attention is given relative to uniform, x / (1 + x) with x = N * weight: 0.5 is the share a
    tile would have by chance, values are comparable between slides of any size and lie in [0, 1].
    Class probabilities are one tensor [1] each, `probability_<class>`.
    """

    def __init__(self, student: nn.Module, classes: tuple[str, ...], *example: Tensor) -> None:
        super().__init__()
        self.student = student
        self.classes = classes
        with torch.inference_mode():
            self.names = [name for name, _ in self._named(student(*example))]

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        """Features [N, D] of one slide, and [M, D] of its second magnification: see `INPUTS`."""
        return tuple(value for _, value in self._named(self.student(*features)))

    def _named(self, found: Any) -> list[tuple[str, Tensor]]:
        named: list[tuple[str, Tensor]] = []
        for name, value in found._asdict().items():
            if name == "probability":
                named += [
                    (f"probability_{label}", value[at : at + 1])
                    for at, label in enumerate(self.classes)
                ]
            elif name in INSTANCE_AXIS and name != "region":
                named.append((name, relative(value)))
            else:
                named.append((name, value))
        return named


def relative(attention: Tensor) -> Tensor:
    """Attention [..., N] that sums to 1, as a share of the uniform weight, in [0, 1)."""
    times_uniform = attention * torch.ones_like(attention).sum(dim=-1, keepdim=True)
    return times_uniform / (1 + times_uniform)
