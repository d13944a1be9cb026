"""Decoded frames that several threads cut tiles from: each is decoded once, by who needs it first.

Frames live in buffers that are used again, so that decoding allocates nothing: fresh memory for
each frame was measured to cost as much as half of its decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from inference.slide.frames import Level
from inference.tiles.order import Source, frames_under

Frame = tuple[int, int]
"""Row and column of a frame in its level."""


class _Held:
    """A frame in memory, or about to be."""

    __slots__ = ("fault", "pixels", "ready")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.ready = Lock()  # held until the pixels are there
        self.ready.acquire()
        self.fault: BaseException | None = None


class SharedFrames:
    """The frames of one level, for as many uses as the tiles of its sources make of them."""

    def __init__(self, level: Level, sources: Sequence[Source]) -> None:
        self.level = level
        self._uses = _count_uses(level, sources)
        self._held: dict[Frame, _Held] = {}
        self._free: list[NDArray[np.uint8]] = []
        self._lock = Lock()

    def take(self, frame: Frame) -> NDArray[np.uint8]:
        """RGB [frame_rows, frame_cols, 3] of a frame, valid until `give_back`.

        Raises FramesUnreadable, and whatever else its decoding ends with, to every caller that
        asks for that frame: until it is decoded, its buffer holds pixels of another one.
        """
        with self._lock:
            held = self._held.get(frame)
            is_mine = held is None
            if held is None:
                held = self._held[frame] = _Held(self._buffer())
        if is_mine:
            try:
                self.level.decode_into(*frame, held.pixels)
            except BaseException as fault:  # noqa: BLE001 - raised below, and to all who wait
                held.fault = fault
            finally:
                held.ready.release()
        else:
            with held.ready:
                pass
        if held.fault is not None:
            raise held.fault
        return held.pixels

    def take_alone(self, frame: Frame, out: NDArray[np.uint8]) -> bool:
        """Decode a frame that has but one use straight into the caller's memory, if it has.

        Raises FramesUnreadable.
        """
        with self._lock:
            if self._uses[frame] != 1 or frame in self._held:
                return False
            self._uses[frame] = 0
        self.level.decode_into(*frame, out)
        return True

    def give_back(self, frame: Frame) -> None:
        """One use less; after the last one the frame's memory serves another frame."""
        with self._lock:
            self._uses[frame] -= 1
            if self._uses[frame] == 0:
                held = self._held.pop(frame, None)
                if held is not None:
                    self._free.append(held.pixels)

    def _buffer(self) -> NDArray[np.uint8]:
        if self._free:
            return self._free.pop()
        return np.empty((self.level.frame_rows, self.level.frame_cols, 3), np.uint8)


def _count_uses(level: Level, sources: Sequence[Source]) -> NDArray[np.int32]:
    """[frame rows, frame columns]: how many tiles lie over each frame."""
    rows, cols = -(-level.rows // level.frame_rows), -(-level.cols // level.frame_cols)
    steps = np.zeros((rows + 1, cols + 1), np.int32)
    for source in sources:
        top, left, bottom, right = frames_under(source).T
        for sign, at in ((1, (top, left)), (-1, (top, right)), (-1, (bottom, left))):
            np.add.at(steps, at, sign)
        np.add.at(steps, (bottom, right), 1)
    uses: NDArray[np.int32] = steps.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)[:-1, :-1]
    return uses
