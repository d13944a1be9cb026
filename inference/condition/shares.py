"""From what was found where to shares of the tiles that were analyzed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.condition.focus import BLURRED, NOT_LOOKED_AT
from inference.condition.marks import Marks
from inference.tissue.regions import Mask
from inference.types import Condition, Found


def condition_of(
    marks: Marks, cells: NDArray[np.int32], focus: NDArray[np.uint8] | None
) -> Condition:
    """The condition of a slide of which the cells [N, 2] were analyzed; `focus` [N] as `Focus` says
    it of each."""
    return Condition(
        blurred=_blurred(focus),
        folded=_in(marks.folded, cells),
        inked=_in(marks.inked, cells),
        bubbles=_in(marks.bubbles, cells),
    )


def _in(mask: Mask, cells: NDArray[np.int32]) -> Found:
    return Found(int(mask[cells[:, 0], cells[:, 1]].sum()), len(cells))


def _blurred(focus: NDArray[np.uint8] | None) -> Found | None:
    if focus is None:
        return None
    return Found(int((focus == BLURRED).sum()), int((focus != NOT_LOOKED_AT).sum()))
