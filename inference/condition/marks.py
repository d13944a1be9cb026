"""In which cells of a grid folds, pen marks and air bubbles lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.condition.bubbles import find_bubbles
from inference.condition.folds import find_folds
from inference.condition.ink import find_ink
from inference.condition.picture import Picture
from inference.tissue.regions import Mask
from inference.tissue.tissue import TissueMask
from inference.tissue.view import View

LEAST_SHARE = 0.05
"""Share of a cell from which on something is in it: less is as likely an error of a pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Cells [rows, cols] of a grid in which something was found."""

    folded: Mask
    inked: Mask
    bubbles: Mask


def find_marks(view: View, tissue: TissueMask, stride_px: int, rows: int, cols: int) -> Marks:
    """What lies in the cells of a grid, by a view of the slide and its tissue."""
    picture = Picture.of(view, tissue)
    ink = find_ink(picture)

    def cells(mask: Mask) -> Mask:
        if not mask.any():
            return np.zeros((rows, cols), np.bool_)
        at = TissueMask(mask, picture.mpp, picture.downsample)
        return at.cell_shares(stride_px, rows, cols) >= LEAST_SHARE

    return Marks(cells(find_folds(picture, ink)), cells(ink), cells(find_bubbles(picture)))
