"""The slide at low power, as optical densities: where folds, pen and bubbles are looked for.

It is made of the view that the tissue mask is made from: nothing more is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.slide.prepare import WHITE, reduce
from inference.tissue.light import STRIP_PX, balanced, has_ink_hue, white
from inference.tissue.regions import Mask
from inference.tissue.tissue import TissueMask
from inference.tissue.view import View

PICTURE_MPP = 16.0
"""Wanted scale: a fold is a few pixels wide, and a whole slide has two megapixels at most."""
PER_DENSITY = 100
"""Densities are whole hundredths, up to 2.55: a byte a value."""
_GLASS_STEP = 4


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A low-power view; pixel (r, c) covers `downsample` x `downsample` base-level pixels."""

    densities: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
    """[h, w] optical density of red, green and blue against glass, in hundredths."""
    ink_hue: Mask
    """[h, w] whether the hue is one that no stain has."""
    tissue: Mask
    """[h, w] at least half tissue."""
    mpp: float
    downsample: float

    @classmethod
    def of(cls, view: View, tissue: TissueMask) -> Picture:
        """The picture of a view, and of the tissue found in it or in a finer one."""
        factor = max(1, round(PICTURE_MPP / view.mpp))
        small = reduce(view.pixels, factor)
        glass = white(reduce(small, _GLASS_STEP))
        hue = np.empty(small.shape[:2], np.bool_)
        for top in range(0, len(small), STRIP_PX):
            rows = slice(top, top + STRIP_PX)
            hue[rows] = has_ink_hue(*np.moveaxis(balanced(small[rows], glass), 2, 0))
        table = _densities(glass)
        red, green, blue = (np.take(table[n], small[..., n]) for n in range(3))
        covered = Image.fromarray(tissue.mask.astype(np.uint8) * 255)
        finer = factor * round(view.downsample / tissue.downsample)
        half = np.asarray(covered if finer == 1 else covered.reduce(finer)) >= 128
        mpp, downsample = view.mpp * factor, view.downsample * factor
        return cls((red, green, blue), hue, half, mpp, downsample)

    def px(self, um: float) -> int:
        """A length in whole pixels, one at least."""
        return max(1, round(um / self.mpp))

    def area_px(self, mm2: float) -> float:
        """An area in pixels."""
        return mm2 / (self.mpp / 1000) ** 2

    def lightest(self) -> NDArray[np.uint8]:
        """[h, w] density of the channel that is taken least."""
        red, green, blue = self.densities
        return np.minimum(np.minimum(red, green), blue)


def spread(values: NDArray[Any], reach_px: int, pick: np.ufunc) -> NDArray[Any]:
    """Largest (np.maximum) or least (np.minimum) values [h, w] of squares of 2 * reach + 1
    pixels: for a reach of few pixels."""
    for _ in range(2):  # a square is a row of columns
        found = values.copy()
        for step in range(1, min(reach_px, len(values) - 1) + 1):
            pick(found[step:], values[:-step], out=found[step:])
            pick(found[:-step], values[step:], out=found[:-step])
        values = np.ascontiguousarray(found.T)
    return values


def box_means(values: NDArray[np.float32], reach_px: int) -> NDArray[np.float32]:
    """[h, w] means over squares of 2 * reach + 1 pixels; what is outside counts as nothing."""
    for _ in range(2):
        total = np.zeros((values.shape[0] + 1, values.shape[1]), np.float32)
        np.cumsum(values, axis=0, out=total[1:])
        at = np.arange(values.shape[0])
        low, high = np.maximum(at - reach_px, 0), np.minimum(at + reach_px + 1, len(at))
        means = (total[high] - total[low]) / np.float32(2 * reach_px + 1)
        values = means.T.astype(np.float32, copy=False)
    return values


def _densities(glass: NDArray[np.float64] | None) -> NDArray[np.uint8]:
    """[3, 256] densities in hundredths by channel and value."""
    bright = np.full(3, float(WHITE)) if glass is None else glass
    light = np.maximum(np.arange(256)[None], 0.5) / bright[:, None]
    table = np.clip(np.rint(-np.log10(light) * PER_DENSITY), 0, 255)
    return np.asarray(table, np.uint8)
