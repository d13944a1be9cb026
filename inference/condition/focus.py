"""Blur: tiles whose fine detail is weak for their coarse detail, in a sample of the tiles.

The sample is looked at when the encoder gets it: nothing is read or decoded for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE = 200
"""Tiles that are looked at: of 200 a share is known to within 7 points, 19 times of 20."""
SHARP_MPP = 0.5
"""Tiles with finer pixels are reduced to about this scale, at which the limits were found."""
FINE_PX, COARSE_PX = 2, 8
LEAST_RATIO = 0.22
"""Detail at 2 pixels over detail at 8. At 0.5 um: sharp real tiles have 0.29 and more; blurred with
a Gaussian of 1 um half have less than this, of 1.5 um all."""
LEAST_DETAIL = 4.0
"""Detail at 2 pixels, of 255: less is noise, which says nothing of focus. Sharp pale tiles have 13
and more."""
NOT_LOOKED_AT, SHARP, BLURRED = range(3)
FOCUS = "tile.focus"
"""The name of what is said of focus among the values of tiles, which no tensor of a graph has."""


class Focus:
    """Looks at a sample of the `count` tiles of a source, whose pixels are `mpp` um wide."""

    def __init__(self, count: int, mpp: float) -> None:
        self._is_sampled = sampled(count)
        self._factor = max(1, round(SHARP_MPP / mpp))

    def look(self, tiles: NDArray[np.intp], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[n] what is said of tiles by their index in the source, RGB [n, H, W, 3]."""
        found = np.full(len(tiles), NOT_LOOKED_AT, np.uint8)
        for place in np.flatnonzero(self._is_sampled[tiles]).tolist():
            found[place] = BLURRED if is_blurred(pixels[place], self._factor) else SHARP
        return found


def sampled(count: int) -> NDArray[np.bool_]:
    """[count] which tiles are looked at: one of each of SAMPLE equal runs of them, at a place that
    follows no column of the grid. All where there are few."""
    if count <= SAMPLE:
        return np.ones(count, np.bool_)
    edges = np.arange(SAMPLE + 1) * count // SAMPLE
    within = np.arange(SAMPLE) * 0.6180339887498949 % 1  # the golden ratio: in step with nothing
    chosen = np.zeros(count, np.bool_)
    chosen[edges[:-1] + (within * np.diff(edges)).astype(np.int64)] = True
    return chosen


def is_blurred(pixels: NDArray[np.uint8], factor: int = 1) -> bool:
    """Whether an RGB tile [H, W, 3] is out of focus, looked at in pixels `factor` times as wide.

    The energy of the Laplacian is a common measure of focus (LAP1 of Pertuz et al., Pattern
    Recognition 46:5, 2013), and grows with contrast. Its ratio at two scales does not: tissue that
    is pale, sparse or of few nuclei loses as much of both.
    """
    green = pixels[..., 1]  # both stains take it, and JPEG keeps it best
    fine = _detail(green, FINE_PX * factor)
    return fine < LEAST_DETAIL or fine < LEAST_RATIO * _detail(green, COARSE_PX * factor)


def _detail(values: NDArray[np.uint8], width: int) -> float:
    """Root of the mean squared Laplacian of means over width x width squares; 0 of too few."""
    rows, cols = (n // width for n in values.shape)
    if rows < 3 or cols < 3:
        return 0.0
    whole = values[: rows * width, : cols * width]
    down = np.zeros((rows, cols * width), np.float32)
    for n in range(width):
        down += whole[n::width]
    means = np.zeros((rows, cols), np.float32)
    for n in range(width):
        means += down[:, n::width]
    means /= np.float32(width**2)
    middle = means[1:-1, 1:-1]
    around = means[:-2, 1:-1] + means[2:, 1:-1] + means[1:-1, :-2] + means[1:-1, 2:]
    return float(np.sqrt(np.mean((around - 4 * middle) ** 2, dtype=np.float64)))
