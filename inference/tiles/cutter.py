"""From frames to the pixels of a batch, into memory that is used again."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from inference.errors import FramesUnreadable
from inference.slide.frames import paste
from inference.slide.prepare import WHITE, resample
from inference.tiles.agreement import looked_at, mean_of
from inference.tiles.order import Batch, Source, frames_under
from inference.tiles.shared_frames import SharedFrames


class TileCutter:
    """What one thread needs to make tiles: its batch memory and the frames that all share."""

    def __init__(
        self, sources: Sequence[Source], frames: Mapping[int, SharedFrames], size: int
    ) -> None:
        """`frames` by index of the source; `size` is the largest batch."""
        tile_px = max(source.grid.tile_px for source in sources)
        self._sources = sources
        self._frames = frames
        self._under = [frames_under(source) for source in sources]
        self._slots = _pages((size, tile_px, tile_px, 3))
        self._few = np.empty(looked_at(self._slots).shape, np.uint8)
        self._region = np.empty(0, np.uint8)

    def cut(self, batch: Batch) -> tuple[NDArray[np.uint8], dict[int, FramesUnreadable]]:
        """RGB [n, tile_px, tile_px, 3] of a batch, overwritten by the next, and what went wrong.

        A tile over a frame that cannot be read stays white; its place in the batch is in the
        second value.
        """
        faults: dict[int, FramesUnreadable] = {}
        for place, tile in enumerate(batch.tiles.tolist()):
            slot = self._slots[place]
            try:
                self._cut_one(batch.source, tile, slot)
            except FramesUnreadable as fault:
                faults[place] = fault
                slot[:] = WHITE
            self._few[place] = looked_at(slot)  # now: soon they are in no cache any more
        return self._slots[: len(batch.tiles)], faults

    def means(self, batch: Batch) -> NDArray[np.float32]:
        """[n, 3] mean color of each tile of the batch that was cut last."""
        return mean_of(self._few[: len(batch.tiles)])

    def skip(self, batch: Batch) -> None:
        """Give back the frames of a batch whose values are there already."""
        for tile in batch.tiles.tolist():
            for frame in self._frames_of(batch.source, tile):
                self._frames[batch.source].give_back(frame)

    def _cut_one(self, n: int, tile: int, out: NDArray[np.uint8]) -> None:
        source = self._sources[n]
        top, left, bottom, right = source.rectangles[tile].tolist()
        target = out if source.grid.is_native else self._room(bottom - top, right - left)
        level = source.level
        if top < 0 or left < 0 or bottom > level.rows or right > level.cols:
            target[:] = WHITE
        frames = self._frames_of(n, tile)
        if source.fits_frame(tile) and self._frames[n].take_alone(frames[0], target):
            return
        fault: FramesUnreadable | None = None
        for frame in frames:
            try:
                paste(source.level, target, (top, left), self._frames[n].take(frame), frame)
            except FramesUnreadable as error:
                fault = fault or error
            finally:
                self._frames[n].give_back(frame)
        if fault is not None:
            raise fault
        if not source.grid.is_native:
            row, col = source.cells[tile].tolist()
            out[:] = resample(target, source.grid.box(row, col), source.grid.tile_px)

    def _frames_of(self, n: int, tile: int) -> list[tuple[int, int]]:
        top, left, bottom, right = self._under[n][tile].tolist()
        return [(row, col) for row in range(top, bottom) for col in range(left, right)]

    def _room(self, rows: int, cols: int) -> NDArray[np.uint8]:
        """Memory for a region [rows, cols, 3] that is resampled next."""
        needed = rows * cols * 3
        if self._region.size < needed:
            self._region = np.empty(needed, np.uint8)
        return self._region[:needed].reshape(rows, cols, 3)


def _pages(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Memory that goes back to the system with the array: what a thread allocates otherwise stays
    with the process, and of all lanes that is some tens of megabytes beside the next thing."""
    return np.frombuffer(mmap.mmap(-1, max(1, prod(shape))), np.uint8)[: prod(shape)].reshape(shape)
