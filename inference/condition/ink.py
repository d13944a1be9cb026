"""Pen marks: hues that no stain has, and what is black, as tissue is not."""

from __future__ import annotations

import numpy as np

from inference.condition.picture import Picture, spread
from inference.tissue.regions import Mask, drop_small

SMALLEST_MM2 = 0.02
LEAST_DENSITY = 10
"""Hundredths, of the channel taken most: below this a hue is that of noise."""
BLACK_DENSITY = 50
"""Hundredths, of the channel taken least."""
BLACK_SPREAD = 1.65
"""Most over least density of black: tissue, folded too, takes about twice as much green as blue."""
BLACK_THINNEST_UM = 100.0
"""Narrower black lines are the edges of bubbles and cover slips; the finest pens draw wider."""
BLUE_DENSITY = 60
"""Hundredths, of red: blue pen over tissue, whose green the stains take too."""
BLUE_SPREAD = 0.42
"""Most blue over red that it takes: hematoxylin takes half and more."""


def find_ink(picture: Picture) -> Mask:
    """[h, w] where there is pen of any color; black dirt and pigment look like black pen.

    The hues are those of inference.tissue.light, as HistoQC finds pen by its color (Janowczyk et
    al., JCO Clin Cancer Inform 3, 2019).
    """
    red, green, blue = picture.densities
    low, high = picture.lightest(), np.maximum(np.maximum(red, green), blue)
    black = low >= BLACK_DENSITY
    black[black] = high[black] <= low[black] * BLACK_SPREAD
    if black.any():
        reach = picture.px(BLACK_THINNEST_UM / 2)
        black &= spread(spread(black, reach, np.minimum), reach, np.maximum)
    deep = (red >= BLUE_DENSITY) & (red >= green)
    deep[deep] = blue[deep] <= red[deep] * BLUE_SPREAD
    smallest = picture.area_px(SMALLEST_MM2)
    seen = high >= LEAST_DENSITY
    colored = (picture.ink_hue & seen) | deep
    found = drop_small(colored, smallest) | drop_small(black, smallest)
    return spread(found, 1, np.maximum) & seen if found.any() else found
