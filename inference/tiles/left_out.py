"""Why a place for a tile has none: one reason each, so that the counts add up to all of them."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.condition.marks import Marks
from inference.tissue.regions import Mask
from inference.tissue.tissue import TissueMask

_HALF = 0.5


class Why(StrEnum):
    """The reasons, the first that applies; what is out of focus is analyzed, and said elsewhere."""

    NOT_READ = "not-read"
    """It holds tissue, and its pixels could not be read, or are not what another level shows."""
    NO_FRAMES = "no-frames"
    """Its tissue is not in the frames of the level that tiles are cut from."""
    NOT_SCANNED = "not-scanned"
    """At least half of it is a fill of the scanner."""
    PEN = "pen"
    """Pen, or black dirt, and too little tissue beside it."""
    BUBBLE = "bubble"
    FOLD = "fold"
    EDGE = "edge"
    """Tissue, and less than what a tile needs."""
    GLASS = "glass"
    """No tissue at all."""


_ORDER = tuple(Why)
_SHARES = 1e-9
"""A share of tissue that is more than rounding."""


def reasons_of(
    tissue: TissueMask,
    marks: Marks,
    lost: Mask,
    cells: NDArray[np.int32],
    stride_px: int,
) -> NDArray[np.uint8]:
    """[rows, cols] 0 for each of the `cells` [N, 2], which become tiles, else 1 and the place of
    its reason in `Why`. `lost` [rows, cols] are those whose frames are not there."""
    rows, cols = lost.shape

    def shares(mask: Mask) -> NDArray[np.float64]:
        return replace(tissue, mask=mask).cell_shares(stride_px, rows, cols)

    empty = np.zeros(lost.shape, np.bool_)
    if tissue.unscanned is not None:
        empty = shares(tissue.unscanned.mask) >= _HALF
    has_some = tissue.cell_shares(stride_px, rows, cols) > _SHARES
    said = {
        Why.NO_FRAMES: lost,
        Why.NOT_SCANNED: empty,
        Why.PEN: marks.inked,
        Why.BUBBLE: marks.bubbles,
        Why.FOLD: marks.folded,
        Why.EDGE: has_some,
    }
    found = np.full(lost.shape, _number(Why.GLASS), np.uint8)
    for why, mask in reversed(said.items()):
        found[mask] = _number(why)
    found[cells[:, 0], cells[:, 1]] = 0
    return found


def counted(reasons: NDArray[np.uint8], analyzed: int) -> dict[str, int]:
    """Places by reason, those without one left out. Places that should have become tiles and are
    not among the `analyzed` were not read."""
    found = {why: int((reasons == _number(why)).sum()) for why in _ORDER}
    found[Why.NOT_READ] = int((reasons == 0).sum()) - analyzed
    return {str(why): count for why, count in found.items() if count}


def _number(why: Why) -> int:
    return 1 + _ORDER.index(why)
