"""In which order tiles are made, so that each frame is decoded once and few are held.

Tiles are cut from a band of a few rows of frames, walked from left to right; a band ends, where it
can, at a row of frames that no tile straddles. What is held at a time is about one column of the
band, however wide the slide is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.slide.frames import Level
from inference.tiles.grid import TileGrid

LEAST_BAND_ROWS, MOST_BAND_ROWS = 4, 16
"""Rows of frames in a band: enough that frames which two bands share are few, and few enough that a
column of them stays small."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The tiles of one grid: which they are and the level their pixels come from."""

    grid: TileGrid
    level: Level
    cells: NDArray[np.int32]
    """[N, 2] grid row and column, in raster order."""
    rectangles: NDArray[np.int64]
    """[N, 4] top, left, bottom, right in level pixels."""

    @classmethod
    def of(cls, grid: TileGrid, level: Level, cells: NDArray[np.int32]) -> Source:
        """The source of the cells [N, 2] of a grid."""
        return cls(grid, level, cells, grid.rectangles(cells))

    def fits_frame(self, tile: int) -> bool:
        """Whether a tile is one frame, pixel for pixel, and inside of the matrix."""
        level, side = self.level, self.grid.tile_px
        if not self.grid.is_native or (level.frame_rows, level.frame_cols) != (side, side):
            return False
        top, left, bottom, right = self.rectangles[tile].tolist()
        if top % side or left % side:
            return False
        return bool(top >= 0 and left >= 0 and bottom <= level.rows and right <= level.cols)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tiles that go through the encoder together: `tiles` are indices into `source.cells`."""

    number: int
    """Its place in the order of work."""
    band: int
    """Number of its band; of the last of them, where its tiles are of several."""
    source: int
    """Index of its source."""
    tiles: NDArray[np.intp]


def in_order(sources: Sequence[Source], size: int) -> list[Batch]:
    """All tiles of all sources in batches of at most `size`, in the order of work.

    Sources of the same level are walked together, so that both cut their tiles from a frame while
    it is held. An engine computes a short block in the time of a whole one, so what is left at the
    end of a band begins the next; where two sources share a level it does not, since the frames of
    both would be held for it. The order is a function of the tiles alone, never of how many threads
    work.
    """
    found: list[Batch] = []
    number = 0
    for members in _by_level(sources):
        bands = _bands([sources[n] for n in members])
        numbers = np.unique(np.concatenate(bands)).tolist()
        left = {member: np.empty(0, np.intp) for member in members}
        for band in numbers:
            here: list[tuple[int, int, NDArray[np.intp]]] = []
            for member, band_of in zip(members, bands, strict=True):
                rectangles = sources[member].rectangles
                tiles = np.flatnonzero(band_of == band)
                tiles = tiles[np.lexsort((rectangles[tiles, 0], rectangles[tiles, 1]))]
                tiles = np.concatenate((left[member], tiles))
                ends = band == numbers[-1] or len(members) > 1
                count = len(tiles) if ends else len(tiles) - len(tiles) % size
                left[member] = tiles[count:]
                for start in range(0, count, size):
                    chunk = tiles[start : min(start + size, count)]
                    here.append((int(rectangles[chunk, 1].min()), member, chunk))
            here.sort(key=lambda item: item[:2])
            for _, member, chunk in here:
                found.append(Batch(len(found), number, member, chunk))
            number += 1
    return found


def frames_under(source: Source) -> NDArray[np.int64]:
    """[N, 4] first row, first column, last row + 1, last column + 1 of frames under each tile."""
    level = source.level
    top, left, bottom, right = source.rectangles.T
    return np.stack(
        (
            np.maximum(top, 0) // level.frame_rows,
            np.maximum(left, 0) // level.frame_cols,
            -(-np.minimum(bottom, level.rows) // level.frame_rows),
            -(-np.minimum(right, level.cols) // level.frame_cols),
        ),
        axis=1,
    )


def _by_level(sources: Sequence[Source]) -> list[list[int]]:
    """Indices of sources that share a level, in order of appearance."""
    groups: list[list[int]] = []
    for n, source in enumerate(sources):
        for group in groups:
            if sources[group[0]].level is source.level:
                group.append(n)
                break
        else:
            groups.append([n])
    return groups


def _bands(sources: Sequence[Source]) -> list[NDArray[np.intp]]:
    """The band [N] of each tile of each source of one level."""
    spans = [frames_under(source) for source in sources]
    rows = 1 + max((int(s[:, 2].max(initial=0)) for s in spans), default=0)
    straddled = np.zeros(rows + 1, np.int64)
    for span in spans:  # a tile over frame rows a..b straddles the boundaries a + 1 .. b
        np.add.at(straddled, span[:, 0] + 1, 1)
        np.add.at(straddled, span[:, 2], -1)
    is_clean = np.cumsum(straddled) == 0
    band_of_row = np.zeros(rows + 1, np.intp)
    start = 0
    for row in range(1, rows + 1):
        high = row - start
        ends = high >= MOST_BAND_ROWS or (high >= LEAST_BAND_ROWS and is_clean[row])
        band_of_row[row] = band_of_row[row - 1] + ends
        start = row if ends else start
    return [band_of_row[span[:, 0]] for span in spans]
