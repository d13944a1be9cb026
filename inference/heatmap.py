"""Tile values on their grid, the patches worth a look, and colors for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.types import Heatmap, Patch

COLORS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float64,
)
"""Viridis of matplotlib (CC0) at nine equal steps: lightness rises evenly with the value."""


def assemble(
    name: str,
    cells: NDArray[np.int32],
    values: NDArray[np.float32],
    *,
    shape: tuple[int, int],
    top: int,
) -> Heatmap:
    """Heatmap of values [N] at grid cells [N, 2]; NaN elsewhere; with its `top` highest patches."""
    grid = np.full(shape, np.nan, np.float32)
    grid[cells[:, 0], cells[:, 1]] = values
    return Heatmap(name=name, values=grid, top_patches=top_patches(grid, top))


def top_patches(values: NDArray[np.float32], count: int) -> tuple[Patch, ...]:
    """The `count` highest cells of [R, C], highest first; equal values in raster order."""
    flat = values.ravel()
    analyzed = np.flatnonzero(~np.isnan(flat))
    chosen = analyzed[np.argsort(-flat[analyzed], kind="stable")][:count]
    return tuple(
        Patch(row=int(at // values.shape[1]), col=int(at % values.shape[1]), value=float(flat[at]))
        for at in chosen
    )


def color(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB [..., 3] of values in [0, 1]: dark purple is low, yellow is high; NaN is black."""
    at = np.clip(np.nan_to_num(values), 0, 1) * (len(COLORS) - 1)
    steps = np.arange(len(COLORS))
    channels = [np.interp(at, steps, COLORS[:, n]) for n in range(3)]
    rgb = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    return np.where(np.isnan(values)[..., None], np.uint8(0), rgb)
