"""Air bubbles under the cover slip: closed, round, colorless outlines.

At the edge of a bubble light is bent away, in every color alike: a dark line. That is all of a
bubble that is looked for. Not found: bubbles cut by the border of the image, open or ragged ones,
and ones whose edge is bright or fainter than the tissue's own lines.
"""

from __future__ import annotations

import numpy as np

from inference.condition.picture import Picture, spread
from inference.tissue.regions import Mask, Regions

LEAST_LINE = 20
"""Hundredths of density by which an outline is darker than both sides, in every channel."""
THICKEST_UM = 100.0
SMALLEST_UM, LARGEST_UM = 300.0, 20_000.0
"""Diameters."""
ROUNDNESS = (0.68, 0.90)
"""Share of its bounding box that the inside fills: 0.79 of an ellipse, 1 of a rectangle."""
LARGEST_ASPECT = 1.6


def find_bubbles(picture: Picture) -> Mask:
    """[h, w] the insides of closed round outlines, with the outline."""
    low = picture.lightest()
    reach = picture.px(THICKEST_UM / 2)
    opened = spread(spread(low, reach, np.minimum), reach, np.maximum)
    line = _long(low - np.minimum(low, opened) >= LEAST_LINE, SMALLEST_UM / picture.mpp)
    if not line.any():
        return line
    line = spread(line, 1, np.maximum)
    regions = Regions.of(~line)
    heights, widths = regions.extents()
    short, long = np.minimum(heights, widths), np.maximum(heights, widths)
    fill = regions.areas / (heights * widths)
    is_round = (
        (short >= SMALLEST_UM / picture.mpp)
        & (long <= LARGEST_UM / picture.mpp)
        & (long <= LARGEST_ASPECT * short)
        & (fill >= ROUNDNESS[0])
        & (fill <= ROUNDNESS[1])
    )
    at_border = (regions.rows == 0) | (regions.rows == low.shape[0] - 1)
    at_border |= (regions.starts == 0) | (regions.stops == low.shape[1])
    is_round[regions.numbers[at_border]] = False
    inside = regions.painted(is_round)
    return spread(inside, 2, np.maximum) if inside.any() else inside


def _long(line: Mask, least_px: float) -> Mask:
    """What reaches that far, diagonal steps counting: tissue is full of short lines."""
    regions = Regions.of(spread(line, 1, np.maximum))
    return line & regions.painted(np.hypot(*regions.extents()) >= least_px)
