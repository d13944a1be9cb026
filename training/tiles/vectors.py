"""Features as an encoder must give them: one vector of numbers a tile, and not the same for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError


def require_vectors(source: str, found: NDArray[np.generic], tiles: int) -> None:
    """Raises TrainingError for outputs that are not one vector of numbers for each tile."""
    shape = list(found.shape)
    if len(shape) != 2 or shape[0] != tiles or not shape[1]:
        raise TrainingError(
            f"{source}: found output {shape} of {tiles} tiles, expected [{tiles}, D], one vector a "
            "tile; choose a model that pools"
        )
    if found.dtype != np.float32:
        raise TrainingError(
            f"{source}: found features of {found.dtype}, expected float32; export it so"
        )
    if wrong := int(np.count_nonzero(~np.isfinite(found).all(axis=1))):
        raise TrainingError(
            f"{source}: found features that are no finite numbers for {wrong} of {tiles} tiles; "
            "export the network again, or choose another"
        )


def require_told_apart(source: str, features: NDArray[np.generic]) -> None:
    """Raises TrainingError where tiles that look unlike have the same features [N, D]: a network
    whose weights were never read gives them, and so does one of zeros."""
    if len(features) > 1 and (features == features[:1]).all():
        raise TrainingError(
            f"{source}: found the same features for noise and for a smooth tile, expected others: "
            "it does not look at the tile; export the network again, with its weights"
        )
