"""From the probabilities of classes to the class of each tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import NOTHING, ClassMap

ROUNDING = 0.02
"""How far the probabilities of a tile may be from 1 together: engines that compute with 16 bits
round each of them."""


def assemble_classes(
    name: str, cells: NDArray[np.int32], values: NDArray[Any], shape: tuple[int, int]
) -> ClassMap:
    """The map of probabilities [N, K] at grid cells [N, 2], on a grid of this shape."""
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    shares = np.clip(np.asarray(values)[order], 0, 1).astype(np.float32)
    grid = np.full(shape, NOTHING, np.uint8)
    at = cells[order]
    grid[at[:, 0], at[:, 1]] = np.argmax(shares, axis=1).astype(np.uint8)
    return ClassMap(name, grid, shares)


def classes_fault(name: str, values: NDArray[Any]) -> str:
    """Why probabilities [N, K] of a map are none, in a sentence; empty where they are."""
    if not np.all(np.isfinite(values)):
        return f"The model gave a value for {name} that is no number."
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < -ROUNDING or high > 1 + ROUNDING:
        return f"The model gave {low:g} to {high:g} for {name}; expected 0 to 1."
    sums = values.sum(axis=1, dtype=np.float64)
    if np.any(np.abs(sums - 1) > ROUNDING):
        return (
            f"The model gave classes of {name} whose probabilities are {float(sums.min()):g} to "
            f"{float(sums.max()):g} together; expected 1."
        )
    return ""
