"""Frames that are not there: not glass, unless another level shows that they are.

Maps lie over the pixels of the tissue mask. A frame that a level leaves out is looked up in the
other levels; where none has it, nobody knows what is there, and tissue that ends at its border did
not end there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.slide.frames import Level, read_rectangles
from inference.tissue.regions import Mask, dilate

_BLOCK_PX = 1024


def shown_by(level: Level, shape: tuple[int, int], downsample: float) -> Mask:
    """[h, w] whether a level has the frame under each pixel of a view of the slide with so many
    base-level pixels a pixel."""
    scale = downsample / level.downsample
    rows = ((np.arange(shape[0]) + 0.5) * scale).astype(np.intp) // level.frame_rows
    cols = ((np.arange(shape[1]) + 0.5) * scale).astype(np.intp) // level.frame_cols
    last_row, last_col = level.index.shape[0] - 1, level.index.shape[1] - 1
    frames = level.index[np.ix_(np.minimum(rows, last_row), np.minimum(cols, last_col))]
    return np.asarray(frames >= 0)


def fill_from_others(
    view: NDArray[np.uint8], level: Level, levels: Sequence[Level], downsample: float
) -> None:
    """Paints into a view [h, w, 3] of a level, where the level has no frames, what others show.

    Raises FramesUnreadable.
    """
    if level.has_all_frames:
        return
    missing = ~shown_by(level, view.shape[:2], downsample)
    for other in sorted(levels, key=lambda v: abs(log(v.downsample / downsample))):
        if other is level or not missing.any():
            continue
        found = missing & shown_by(other, view.shape[:2], downsample)
        _paint(view, found, other, downsample / other.downsample)
        missing &= ~found


def lost_tissue(mask: Mask, level: Level, levels: Sequence[Level], downsample: float) -> Mask:
    """[h, w] where tissue is not in the frames of a level: shown by another level, or, where none
    shows anything, a rim of a pixel along tissue that ends at the border of what is there."""
    missing = ~shown_by(level, mask.shape, downsample)
    unknown = missing & unknown_to_all(levels, mask.shape, downsample)
    # A pixel of the mask at the border of a frame shows some of the next one.
    inside = ~dilate(~missing, 1)
    return np.asarray((mask & inside) | (dilate(mask & ~unknown, 1) & unknown))


def unknown_to_all(levels: Sequence[Level], shape: tuple[int, int], downsample: float) -> Mask:
    """[h, w] where no level has a frame."""
    unknown = np.ones(shape, np.bool_)
    for level in levels:
        unknown &= ~shown_by(level, shape, downsample)
    return unknown


def _paint(view: NDArray[np.uint8], where: Mask, other: Level, scale: float) -> None:
    """Blocks of a view from another level, `scale` of whose pixels are one of the view."""
    side = max(1, int(_BLOCK_PX / scale))
    for top in range(0, view.shape[0], side):
        for left in range(0, view.shape[1], side):
            block = where[top : top + side, left : left + side]
            if not block.any():
                continue
            bottom, right = top + block.shape[0], left + block.shape[1]
            box = [int(top * scale), int(left * scale), ceil(bottom * scale), ceil(right * scale)]
            pixels = Image.fromarray(next(read_rectangles(other, np.array([box], np.int64))))
            small = pixels.resize((block.shape[1], block.shape[0]), Image.Resampling.BOX)
            view[top:bottom, left:right][block] = np.asarray(small)[block]
