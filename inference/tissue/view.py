"""The view of a slide that its tissue mask is made from: a level at about 8 um per pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from inference.errors import Stopped, never
from inference.slide.frames import Level, read_rectangles
from inference.slide.prepare import reduce
from inference.slide.slide import Slide
from inference.tissue.regions import Mask

MASK_MPP = 8.0
"""Wanted scale of the mask: cells blur into tissue, and a whole slide is a few megapixels."""
COARSEST_MPP = 12.0
MOST_VIEW_PX = 2**23
"""A larger view is reduced further: at MASK_MPP this is 537 mm2, more than most sections."""
_BLOCK_PX = 1024


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A level reduced; pixel (r, c) covers base pixels [r * downsample, (r + 1) * downsample)."""

    level: Level
    pixels: NDArray[np.uint8]
    """RGB [h, w, 3]."""
    mpp: float
    downsample: float
    """Base-level pixels per pixel of the view."""
    unsaid: Mask
    """[h, w] where nothing was scanned, or nobody knows: nothing is to be concluded from it."""


def tissue_level(slide: Slide) -> Level:
    """The level whose scale is nearest to the mask's; the finest where all are coarser."""
    fine_enough = [level for level in slide.levels if level.mpp <= COARSEST_MPP]
    return min(fine_enough or slide.levels[:1], key=lambda v: abs(log(v.mpp / MASK_MPP)))


def view_of(level: Level, stop: Callable[[], bool] = never) -> View:
    """A level at about MASK_MPP, or coarser if it is or is huge. Raises FramesUnreadable, and
    Stopped when `stop` says so."""
    factor = max(1, round(MASK_MPP / level.mpp))
    factor = max(factor, ceil((level.rows * level.cols / MOST_VIEW_PX) ** 0.5))
    pixels = reduced_view(level, factor, stop)
    nowhere = np.zeros(pixels.shape[:2], np.bool_)
    return View(level, pixels, level.mpp * factor, level.downsample * factor, nowhere)


def reduced_view(level: Level, factor: int, stop: Callable[[], bool] = never) -> NDArray[np.uint8]:
    """The whole level reduced by `factor`, block by block so that memory stays bounded.

    Raises FramesUnreadable, and Stopped when `stop` says so.
    """
    view = np.empty((-(-level.rows // factor), -(-level.cols // factor), 3), np.uint8)
    step = max(1, _BLOCK_PX // factor) * factor
    blocks = [
        (top, left, min(top + step, level.rows), min(left + step, level.cols))
        for top in range(0, level.rows, step)
        for left in range(0, level.cols, step)
    ]
    regions = read_rectangles(level, np.array(blocks, np.int64))
    for (top, left, _, _), region in zip(blocks, regions, strict=True):
        if stop():
            raise Stopped("stopped while the tissue was looked for")
        small = reduce(region, factor)
        row, col = top // factor, left // factor
        view[row : row + small.shape[0], col : col + small.shape[1]] = small
    return view
