"""A second source for pixels: what another level shows under a tile.

No header and no checksum tells that frames lie in each other's place, that a stream with flipped
bits still decodes, or that a level is of another scan. But the levels of a slide show one picture,
so the mean color of a tile must be what the view of the tissue mask has there, allowing for levels
that lie a little apart and were compressed each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.errors import FramesUnreadable
from inference.slide.frames import Level
from inference.tiles.order import Source
from inference.tissue.presence import shown_by
from inference.tissue.regions import Mask
from inference.tissue.sums import SummedView, block_sums, summed
from inference.tissue.unscanned import EVEN, MOST_TINT

MEAN = "tile.mean"
"""The name of the mean colors among the values of tiles, which no tensor of a graph has."""
FAR = 20.0
"""Of 255: colors of one place differ by less in two levels, of two places of tissue by more."""
APART_PX = 1
"""Pixels of the view by which levels may lie apart: stitched ones do."""
LEAST_PX = 3
"""Pixels of the view across a tile, from which on its mean is one."""
MOST_OFFSET = 16.0
"""Color that all tiles may be off: levels made by another interpolation differ evenly."""
LEAST_TILES, LEAST_CONTRAST, LEAST_ALIKE = 30, 6.0, 0.5
"""So many tiles of such a spread of brightness are told apart well enough that the one level must
explain this share of the variance of the other."""
MOST_OUTSIDE = 32
"""Frames outside of the tissue that are compared: decoding them costs, and what is wrong with a
level is seldom wrong in one place."""
_ROWS, _COLS = 14, 56
"""How many rows of a tile, and pixels of each, a mean is of: few rows, since each costs as many
reads of memory as a whole one, and enough of both for nuclei to even out."""

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def looked_at(pixels: Pixels) -> Pixels:
    """[..., h', w', 3] the pixels of tiles [..., h, w, 3] whose mean is compared, a view."""
    rows, cols = pixels.shape[-3:-1]
    down, along = max(1, rows // _ROWS), max(1, cols // _COLS)
    return pixels[..., down // 2 :: down, along // 2 :: along, :]


def mean_of(few: Pixels) -> Array:
    """[n, 3] mean color of what is looked at of tiles [n, h', w', 3]."""
    flat = few.reshape(len(few), -1, 3).astype(np.float32)
    return np.asarray(np.full(flat.shape[1], 1 / flat.shape[1], np.float32) @ flat)


def tile_means(pixels: Pixels) -> Array:
    """[n, 3] mean color of tiles [n, h, w, 3], of some hundred pixels all over each."""
    return mean_of(looked_at(pixels))


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Mean colors [N, 3] that a view has under N places."""

    middle: Array
    low: Array
    """With the view moved by APART_PX, the least."""
    high: Array
    is_told: Mask
    """[N] whether the view says anything there."""

    @property
    def count(self) -> int:
        """Number of places of which it says something."""
        return int(self.is_told.sum())

    def among(self, places: Mask) -> Expected:
        """The same, which says nothing of other places [N]."""
        return replace(self, is_told=self.is_told & places)

    def contradicted(self, means: Array) -> Mask:
        """[N] which of the means [N, 3] that were read are not of what the view shows."""
        told = self.is_told
        found = np.zeros(len(told), np.bool_)
        if not told.any():
            return found
        off = np.median((means - self.middle)[told], axis=0)
        off = np.clip(off, -MOST_OFFSET, MOST_OFFSET)
        there = means - off
        beyond = np.maximum(self.low - there, there - self.high).max(1)
        found[told] = beyond[told] > FAR
        if self._is_another_picture(there):
            found |= told
        return found

    def _is_another_picture(self, means: Array) -> bool:
        """Whether all tiles together are not in the places where the view has them."""
        seen, expected = means[self.is_told].mean(1), self.middle[self.is_told].mean(1)
        if len(seen) < LEAST_TILES or expected.std() < LEAST_CONTRAST:
            return False
        unexplained = float(np.mean((seen - expected - np.mean(seen - expected)) ** 2))
        return unexplained > (1 - LEAST_ALIKE) * float(expected.var())


def expected_of(source: Source, view: SummedView) -> Expected | None:
    """What a view has under the tiles of a source; None where it is of the very level that they are
    cut from."""
    if is_of(view, source.level):
        return None
    return expected_at(source.level, source.rectangles, view)


def is_of(view: SummedView, level: Level) -> bool:
    """Whether a view is of that level, at whatever scale it is decoded."""
    return view.view.level.sop_instance_uids == level.sop_instance_uids


def expected_at(level: Level, rectangles: NDArray[np.int64], view: SummedView) -> Expected:
    """What a view has under rectangles [N, 4] (top, left, bottom, right) of a level."""
    edges = view.edges(rectangles, level.downsample)
    moved = [
        view.means(edges + np.tile(move, 2))
        for move in ((0, 0), (APART_PX, 0), (-APART_PX, 0), (0, APART_PX), (0, -APART_PX))
    ]
    sides = np.minimum(edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1])
    unsaid = view.view.unsaid
    if not level.has_all_frames:
        unsaid = unsaid | ~shown_by(level, unsaid.shape, view.view.downsample)
    is_told = (sides >= LEAST_PX) & (block_sums(summed(unsaid), edges) == 0)
    return Expected(moved[0], np.min(moved, 0), np.max(moved, 0), is_told)


def outside_contradicted(
    source: Source, tissue: Mask, view: SummedView
) -> tuple[int, int, int, float]:
    """Of the frames of a source that have no tissue [h, w] in the view: how many are not what it
    shows, how many were compared, how many there are; and the area of the tissue in frames."""
    level = source.level
    sides = np.array([level.frame_rows, level.frame_cols])
    places = np.argwhere(level.index >= 0)
    corners = np.minimum((places + 1) * sides, (level.rows, level.cols))
    rectangles = np.concatenate((places * sides, corners), 1)
    in_tissue = block_sums(summed(tissue), view.edges(rectangles, level.downsample))
    expected = expected_at(level, rectangles, view)
    around = np.flatnonzero((in_tissue == 0) & expected.is_told)
    wrong = compared = 0
    for n in around[_spread(len(around))].tolist():
        try:
            frame = level.read_frame(*places[n].tolist())
        except FramesUnreadable:  # no number needs it
            continue
        rows, cols = (corners[n] - places[n] * sides).tolist()
        mean = tile_means(frame[None, :rows, :cols])[0]
        beyond = np.maximum(expected.low[n] - mean, mean - expected.high[n]).max()
        compared += 1
        wrong += bool(beyond > FAR and not _is_fill(frame[:rows, :cols]))
    frame_px = float(np.prod(sides)) * (level.downsample / view.view.downsample) ** 2
    return wrong, compared, len(around), float(tissue.sum()) / frame_px


def _is_fill(frame: NDArray[np.uint8]) -> bool:
    """Whether a frame is white, black or of one gray: what was not scanned hides no tissue from
    the mask, and writers fill it as they like, each level in its own way."""
    spread = np.ptp(frame.reshape(-1, 3), axis=0).max()
    return bool(spread <= 2 * EVEN and np.ptp(frame[0, 0]) <= MOST_TINT)


def _spread(count: int) -> NDArray[np.intp]:
    """At most MOST_OUTSIDE of so many indices, evenly, without chance."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_OUTSIDE)).astype(np.intp))
