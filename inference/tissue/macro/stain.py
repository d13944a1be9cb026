"""What of an overview has the color of the scan's tissue, what is glass, and what is neither."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from inference.tissue.light import balanced, has_ink_hue, smooth_strips
from inference.tissue.macro.place import LEAST_TISSUE_MM2, Scan
from inference.tissue.regions import Mask, dilate

CHROMA_LIMITS = (12, 30)
"""Least threshold on max(RGB) - min(RGB) of 255, glass made white, and the largest one with which
pale tissue can still be told from the glass of a camera."""
LEAST_LIGHT = 120
"""Of glass: darker ones are no picture in transmitted light."""
LEAST_GLASS_MM2 = 1.0
"""Scanned glass without tissue that tells its color in the overview."""
DULL = 30
"""Gray that is so much darker than glass is something on it, or its edge."""
H_AND_E = (-105.0, 10.0)
"""Hues of hematoxylin and eosin in degrees, red being 0 and blue -120."""
_NEAR_MM = 0.6
_BEYOND_GLASS = 6
_SHARES = (5, 95)
_HUE_MARGIN = 15.0
_MOST_HUES = 150.0
_STRONGER, _DARKER = 1.3, 0.75
"""How much stronger in color, and darker, a piece may be than tissue of the scan."""
_MOST_CHROMA, _LEAST_LIGHT_OF_TISSUE = 140.0, 70.0


@dataclass(frozen=True, slots=True, eq=False)
class Colors:
    """The pixels [h, w] of an overview by what they may be; what is neither is glass."""

    tissue: Mask
    other: Mask
    """Ink, print, edges, shadows, and what is black."""


def sorted_by_color(
    rgb: NDArray[np.uint8], scan: Scan, pixel_mm: tuple[float, float]
) -> Colors | None:
    """The colors of a view [h, w, 3]; None where the scan shows too little glass in it, or glass
    that is dark or as colored as tissue.

    The scan tells which pixels are glass and which are tissue, and so what both look like here.
    """
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    near = ceil(_NEAR_MM / min(pixel_mm))
    is_glass = ~dilate(scan.tissue | ~scan.shown, near)  # some mark the scanned area by a line
    if is_glass.sum() * pixel_mm2 < LEAST_GLASS_MM2:
        return None
    glass = np.median(rgb[is_glass], axis=0).astype(np.float64)
    if glass.min() < LEAST_LIGHT:
        return None
    chroma, light, hue, is_ink = _described(rgb, glass)
    of_glass = float(np.percentile(chroma[is_glass], _SHARES[1])) + _BEYOND_GLASS
    if of_glass > CHROMA_LIMITS[1]:
        return None
    is_colored = chroma > max(of_glass, CHROMA_LIMITS[0])
    known = scan.tissue & is_colored
    (low, high), strongest, darkest = H_AND_E, _MOST_CHROMA, _LEAST_LIGHT_OF_TISSUE
    if scan.tissue.sum() * pixel_mm2 >= LEAST_TISSUE_MM2 and known.any():
        low, high = _hues(hue[known])
        strongest = _STRONGER * float(np.percentile(chroma[known], 98))
        darkest = _DARKER * float(np.percentile(light[known], 2))
        if high - low > _MOST_HUES:
            return None
    middle = (low + high) / 2
    is_hue = np.abs((hue - middle + 180) % 360 - 180) <= (high - low) / 2
    tissue = is_colored & is_hue & ~is_ink & (chroma <= strongest) & (light >= darkest)
    return Colors(tissue, ~tissue & (is_colored | (light < 255 - DULL)))


def _described(
    rgb: NDArray[np.uint8], glass: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], Mask]:
    """[h, w] chroma, light, hue in degrees, and whether the hue is one of ink, after smoothing."""
    shape = rgb.shape[:2]
    chroma, is_ink = np.empty(shape, np.int16), np.empty(shape, np.bool_)
    light, hue = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rows, strip in smooth_strips(rgb):
        red, green, blue = np.moveaxis(balanced(strip, glass), 2, 0)
        low = np.minimum(np.minimum(red, green), blue)
        chroma[rows] = np.maximum(np.maximum(red, green), blue) - low
        light[rows] = (red + green + blue) / np.float32(3)
        across, along = (green - blue) * np.float32(3**0.5), 2.0 * red - green - blue
        hue[rows] = np.degrees(np.arctan2(across.astype(np.float32), along.astype(np.float32)))
        is_ink[rows] = has_ink_hue(red, green, blue)
    return chroma, light, hue, is_ink


def _hues(hue: NDArray[np.float32]) -> tuple[float, float]:
    """The range of hues in degrees that nearly all of these have, and a margin."""
    turned = np.radians(hue)
    middle = float(np.degrees(np.arctan2(np.sin(turned).mean(), np.cos(turned).mean())))
    low, high = np.percentile((hue - middle + 180) % 360 - 180, _SHARES)
    return middle + float(low) - _HUE_MARGIN, middle + float(high) + _HUE_MARGIN
