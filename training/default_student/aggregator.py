"""The shipped student's aggregator: the mean feature of a slide, and no result.

A bundle has two graphs. What the tile encoder says of tumor needs no second one, and nothing is
known of any patient of these slides that a score could be fitted to.
"""

from __future__ import annotations

from torch import Tensor, nn


class Center(nn.Module):
    """features [N, D] -> their mean [D], which is what slides are compared by."""

    def forward(self, features: Tensor) -> Tensor:
        center: Tensor = features.mean(dim=0)
        return center
