"""A picture of a whole slide, small enough to look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.slide.decoding import MOST_HALVINGS
from inference.slide.frames import Level, read_rectangles
from inference.slide.slide import Slide


def overview(slide: Slide, longest_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of the whole slide, its longer side `longest_px`, or less where the slide has
    less.
    """
    fine = [v for v in slide.levels if max(v.rows, v.cols) >= longest_px]
    level = min(fine or slide.levels, key=lambda v: v.cols)
    longest = max(level.rows, level.cols)
    factor = max(1, longest // longest_px)
    picture = reduced(level, factor)
    if longest <= longest_px:
        return picture
    size = [max(1, round(side * longest_px / longest)) for side in (level.cols, level.rows)]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.HAMMING))


def reduced(level: Level, factor: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a whole level, each pixel the mean of `factor` x `factor`; JPEG is halved as
    often as that goes while it is decoded, which is the same to the eye and half the work.

    Reads a strip at a time: memory stays flat even where only a large level exists.
    """
    level, factor = _halved(level, factor)
    height = factor * max(1, level.frame_rows // factor)
    tops = np.arange(0, level.rows, height)
    strips = np.array([(top, 0, min(top + height, level.rows), level.cols) for top in tops])
    return np.concatenate(
        [np.asarray(Image.fromarray(s).reduce(factor)) for s in read_rectangles(level, strips)]
    )


def _halved(level: Level, factor: int) -> tuple[Level, int]:
    """The level as small as it can be decoded, and the factor that is left."""
    for k in range(MOST_HALVINGS, 0, -1):
        scaled = None if factor % 2**k else level.scaled(k)
        if scaled is not None:
            return scaled, factor // 2**k
    return level, factor
