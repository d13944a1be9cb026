"""The tile grid (arithmetic only), and the stream of tile batches that the encoder eats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log

import numpy as np
from numpy.typing import NDArray

from engines.manifest.tensors import TileInput
from inference.slide.frames import Level, read_rectangles
from inference.slide.prepare import resample
from inference.types import SlideGeometry


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Square cells over the base matrix, and where their tile pixels come from.

    Cell (row, col), 0-based, covers base pixels [row * stride_px, (row + 1) * stride_px) and alike
    for columns; the cells cover the matrix, and the last ones may reach beyond it. The stride is
    an integer because viewers round the heatmap's pixel spacing to whole base pixels.
    """

    stride_px: int
    rows: int
    cols: int
    tile_px: int
    level_index: int
    """Index in Slide.levels."""
    downsample: float
    """Base pixels per pixel of that level."""
    is_native: bool
    """The level's pixels are used as they are: a tile is the tile_px square at the middle of its
    cell. Otherwise the whole cell is resampled to tile_px."""

    @classmethod
    def plan(cls, geometry: SlideGeometry, levels: Sequence[Level], wanted: TileInput) -> TileGrid:
        """The grid for a model on a slide whose base level is fine enough (quality.py)."""
        base_mpp = levels[0].mpp
        coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
        fine_enough = [n for n, level in enumerate(levels) if level.mpp <= coarsest]
        if not fine_enough:
            raise ValueError(f"finest level has {base_mpp} um per pixel, expected <= {coarsest}")
        index = min(fine_enough, key=lambda n: abs(log(levels[n].mpp / wanted.mpp)))
        mpp = levels[index].mpp
        stride_px = max(1, round(wanted.tile_px * wanted.mpp / base_mpp))
        return cls(
            stride_px=stride_px,
            rows=ceil(geometry.rows / stride_px),
            cols=ceil(geometry.cols / stride_px),
            tile_px=wanted.tile_px,
            level_index=index,
            downsample=levels[index].downsample,
            is_native=abs(mpp - wanted.mpp) <= wanted.mpp_tolerance * wanted.mpp,
        )

    def nested(self, multiple: int, coarse: TileGrid, geometry: SlideGeometry) -> TileGrid:
        """The grid whose cells are `multiple` x `multiple` cells of this one, read as `coarse`.

        Cell (row, col) of this grid lies in cell (row // multiple, col // multiple): rounded by
        itself, the coarse stride would drift away over the slide.
        """
        stride_px = self.stride_px * multiple
        return replace(
            coarse,
            stride_px=stride_px,
            rows=ceil(geometry.rows / stride_px),
            cols=ceil(geometry.cols / stride_px),
        )

    def span(self, index: int) -> tuple[int, int]:
        """[start, stop) in level pixels to read for a cell row (or column) of that index.

        It may start before the matrix or end behind it; what is there is white.
        """
        start, stop = self._extent(index)
        if not self.is_native:
            return floor(start), ceil(stop)
        first = floor((start + stop - self.tile_px) / 2 + 0.5)
        return first, first + self.tile_px

    def rectangles(self, cells: NDArray[np.int32]) -> NDArray[np.int64]:
        """[N, 4] rectangles (top, left, bottom, right) in level pixels to read for cells [N, 2]."""
        spans = [(self.span(row), self.span(col)) for row, col in cells.tolist()]
        found = [(top, left, bottom, right) for (top, bottom), (left, right) in spans]
        return np.array(found, np.int64).reshape(-1, 4)

    def box(self, row: int, col: int) -> tuple[float, float, float, float]:
        """The cell (top, left, bottom, right) within its rectangle, for resampling."""
        (top, bottom), (left, right) = self._extent(row), self._extent(col)
        row0, col0 = self.span(row)[0], self.span(col)[0]
        return top - row0, left - col0, bottom - row0, right - col0

    def _extent(self, index: int) -> tuple[float, float]:
        return (
            index * self.stride_px / self.downsample,
            (index + 1) * self.stride_px / self.downsample,
        )


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Tiles in raster order. `pixels` is a view that the next batch overwrites: copy to keep."""

    cells: NDArray[np.int32]
    """[n, 2] grid row and column."""
    pixels: NDArray[np.uint8]
    """RGB [n, tile_px, tile_px, 3]."""


def stream(
    level: Level, grid: TileGrid, cells: NDArray[np.int32], batch: int
) -> Iterator[TileBatch]:
    """Tiles of the cells [N, 2] from the level of their grid (a scaled view of one, too), at most
    `batch` at a time; only frames under them are decoded.

    Memory holds one batch and about one row of frames, whatever the size of the slide. Raises
    FramesUnreadable at the first frame that cannot be read.
    """
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    cells = np.ascontiguousarray(cells[order], np.int32)
    buffer = np.empty((batch, grid.tile_px, grid.tile_px, 3), np.uint8)
    regions = read_rectangles(level, grid.rectangles(cells))
    for start in range(0, len(cells), batch):
        here = cells[start : start + batch]
        for n, (row, col) in enumerate(here.tolist()):
            region = next(regions)
            buffer[n] = (
                region if grid.is_native else resample(region, grid.box(row, col), grid.tile_px)
            )
        yield TileBatch(here, buffer[: len(here)])
