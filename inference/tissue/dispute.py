"""A second opinion on where tissue is, which only disagrees: what takes light and was left out.

The mask looks for color, and pale or fatty tissue has little. This looks for density, at a low
threshold, with what is known to be dense and no tissue taken out: ink, dirt, edges of cover slips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.tissue.light import balanced, has_ink_hue, smooth_strips, white
from inference.tissue.regions import Mask, dilate, drop_small, fill_holes

LEAST_DENSITY = 0.05
"""Optical density from which light is taken: 11 of 100 parts. Glass stays below 0.02 on the slides
looked at, in the shade of a cover slip's edge too."""
INK_DENSITY, INK_CHROMA = 0.5, 30
"""What is as dense as ink and has no color is dirt or black ink."""
NEAR_TISSUE_UM = 64.0
"""Edges of tissue fade out; this far from the mask nothing is disputed."""
NEAR_INK_UM = 200.0
"""Strokes fade out too, and farther."""
THINNEST_UM = 56.0
"""Narrower things are edges, fibers and scratches."""
SMALLEST_MM2 = 0.1
LARGEST_HOLE_MM2 = 0.05
"""Cells of fat are empty: only their walls take light."""
_LEAST_INK_PX = 20
_MOST_LIGHT = int(3 * 255 * 10**-LEAST_DENSITY)
_MOST_LIGHT_OF_INK = int(3 * 255 * 10**-INK_DENSITY)


def find_disputed(rgb: NDArray[np.uint8], tissue: Mask, mpp: float) -> Mask:
    """What of a view [h, w, 3] may be tissue and is not in its mask [h, w]; nothing where no glass
    says how bright the slide is."""
    glass = white(rgb)
    dense, ink = np.zeros(tissue.shape, np.bool_), np.zeros(tissue.shape, np.bool_)
    if glass is None:
        return dense
    for rows, strip in smooth_strips(rgb):
        red, green, blue = np.moveaxis(balanced(strip, glass), 2, 0)
        light = red + green + blue
        chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        dense[rows] = light <= _MOST_LIGHT
        ink[rows] = (light <= _MOST_LIGHT_OF_INK) & (chroma < INK_CHROMA)
        ink[rows] |= (light <= _MOST_LIGHT) & has_ink_hue(red, green, blue)
    judged = dilate(tissue, max(1, round(NEAR_TISSUE_UM / mpp)))
    if not (dense & ~judged).any():
        return dense & ~judged
    judged |= dilate(drop_small(ink, _LEAST_INK_PX), max(1, round(NEAR_INK_UM / mpp)))
    found = fill_holes(
        ~dilate(~dilate(dense & ~judged, 1), 1), LARGEST_HOLE_MM2 / (mpp / 1000) ** 2
    )
    found &= ~judged
    reach = max(1, round(THINNEST_UM / 2 / mpp))
    found &= dilate(~dilate(~found, reach), reach)
    return drop_small(found, SMALLEST_MM2 / (mpp / 1000) ** 2)
