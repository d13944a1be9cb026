"""Pixels of one level: each frame read through wsidicom, checked, and brought to RGB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEGBaseline8Bit
from wsidicom.codec import Decoder  # type: ignore[import-untyped]  # published without types
from wsidicom.errors import (  # type: ignore[import-untyped]  # published without types
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomOutOfBoundsError,
)
from wsidicom.geometry import Point  # type: ignore[import-untyped]  # published without types

from inference.codestream import defect, states_ycbcr
from inference.errors import MALFORMED, FramesUnreadable
from inference.headers import Part
from inference.prepare import WHITE, pad_white, to_rgb

# imagecodecs raises subclasses of RuntimeError (and ValueError for RLE), pydicom ValueError for
# native pixels, wsidicom its own: seen by feeding truncated and altered frames to each codec.
_DECODER_ERRORS = (
    *MALFORMED,
    RuntimeError,
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomOutOfBoundsError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One VOLUME level. `downsample` and `mpp` are of this level; sizes are in its pixels."""

    rows: int
    cols: int
    downsample: float
    """Base-level pixels per pixel of this level."""
    mpp: float
    frame_rows: int
    frame_cols: int
    frames: int
    parts: tuple[Part, ...]
    is_ycbcr: bool
    """Whether decoded samples are still YCbCr."""
    is_encapsulated: bool
    decodes_stated_ycbcr: bool
    """Whether a JPEG stream that says YCbCr is believed against a header that says RGB: viewers
    do so, and the analysis must see what people see."""
    image_data: Any  # wsidicom.instance.WsiDicomImageData, untyped
    plane: float
    """Focal plane in um, as wsidicom keys it."""
    optical_path: str

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """Its instances, in frame order."""
        return tuple(part.sop_instance_uid for part in self.parts)

    def read_frame(self, row: int, col: int) -> NDArray[np.uint8]:
        """RGB [frame_rows, frame_cols, 3] of the frame at 0-based tile row and column.

        Read-only where the slide leaves the frame out (white). Raises FramesUnreadable.
        """
        point = Point(col, row)
        shape = (self.frame_rows, self.frame_cols, 3)
        index = -1
        try:
            index = self._frame_index(point)
            if index < 0:
                return np.broadcast_to(np.uint8(WHITE), shape)
            pixels = self._decode(self._encoded(point), index)
        except _DECODER_ERRORS as error:
            raise self._unreadable(index, f"{type(error).__name__}: {error}") from error
        needed = (
            min(self.frame_rows, self.rows - row * self.frame_rows),
            min(self.frame_cols, self.cols - col * self.frame_cols),
        )
        if not _covers(pixels.shape, shape, needed):
            cause = f"found {list(pixels.shape)} samples, expected {list(shape)}"
            raise self._unreadable(index, cause)
        return pad_white(to_rgb(pixels, is_ycbcr=self.is_ycbcr), *shape[:2])

    def header_conflicts(self) -> bool:
        """Whether the header says RGB and the first frame says YCbCr; the frame is believed."""
        if not self.decodes_stated_ycbcr:
            return False
        try:
            if self._frame_index(Point(0, 0)) < 0:
                return False
            return states_ycbcr(self._encoded(Point(0, 0)))
        except _DECODER_ERRORS:  # told when the frame's pixels are needed
            return False

    def _frame_index(self, point: Any) -> int:
        """0-based frame over all parts, or -1 where a sparse slide leaves the frame out."""
        index = self.image_data.tiles.get_frame_index(point, self.plane, self.optical_path)
        return int(index)

    def _encoded(self, point: Any) -> bytes:
        data: bytes = self.image_data.get_encoded_tile(point, self.plane, self.optical_path)
        return data

    def _decode(self, encoded: bytes, index: int) -> NDArray[np.uint8]:
        if self.is_encapsulated:
            fault = defect(encoded, self.frame_rows, self.frame_cols)
            if fault:
                raise self._unreadable(index, fault)
        decoder = self.image_data.decoder
        if self.decodes_stated_ycbcr and states_ycbcr(encoded):
            # For RGB headers wsidicom's own decoder would take the samples for RGB.
            size = self.image_data.tile_size
            decoder = Decoder.create(JPEGBaseline8Bit, 3, 8, size, "YBR_FULL_422")
        pixels: NDArray[np.uint8] = decoder.decode(encoded)
        return pixels

    def _unreadable(self, index: int, cause: str) -> FramesUnreadable:
        part = next((p for p in reversed(self.parts) if p.first_frame <= index), self.parts[0])
        return FramesUnreadable(part.sop_instance_uid, index - part.first_frame + 1, cause)


def read_rectangles(level: Level, rectangles: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """RGB pixels of each rectangle [top, left, bottom, right) of [N, 4], white outside the matrix.

    Each frame is decoded once, when first needed, and let go after its last use: in raster order
    about one row of frames is held. Frames under no rectangle are never decoded.
    """
    tiles = [_frames_under(level, rectangle) for rectangle in rectangles.tolist()]
    uses = Counter(tile for under in tiles for tile in under)
    held: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for (top, left, bottom, right), under in zip(rectangles.tolist(), tiles, strict=True):
        pixels = np.full((bottom - top, right - left, 3), WHITE, np.uint8)
        for row, col in under:
            frame = held.get((row, col))
            if frame is None:
                frame = held[row, col] = level.read_frame(row, col)
            _paste(level, pixels, (top, left), frame, (row, col))
            uses[row, col] -= 1
            if not uses[row, col]:
                del held[row, col]
        yield pixels


def _frames_under(level: Level, rectangle: list[int]) -> list[tuple[int, int]]:
    top, left, bottom, right = rectangle
    rows = range(max(top, 0) // level.frame_rows, _ceil(min(bottom, level.rows), level.frame_rows))
    cols = range(max(left, 0) // level.frame_cols, _ceil(min(right, level.cols), level.frame_cols))
    return [(row, col) for row in rows for col in cols]


def _paste(
    level: Level,
    pixels: NDArray[np.uint8],
    corner: tuple[int, int],
    frame: NDArray[np.uint8],
    tile: tuple[int, int],
) -> None:
    """Copies the part of a frame that is inside of `pixels`, which starts at `corner`."""
    top, left = tile[0] * level.frame_rows, tile[1] * level.frame_cols
    r0, c0 = max(top, corner[0]), max(left, corner[1])
    r1 = min(top + level.frame_rows, corner[0] + pixels.shape[0], level.rows)
    c1 = min(left + level.frame_cols, corner[1] + pixels.shape[1], level.cols)
    target = pixels[r0 - corner[0] : r1 - corner[0], c0 - corner[1] : c1 - corner[1]]
    target[:] = frame[r0 - top : r1 - top, c0 - left : c1 - left]


def _covers(found: tuple[int, ...], full: tuple[int, ...], needed: tuple[int, int]) -> bool:
    """Whether a frame is RGB, no larger than it should be, and covers its part of the matrix.

    Some converters write edge frames that are smaller than Rows x Columns.
    """
    if len(found) != 3 or found[2] != 3:
        return False
    return all(n <= f <= m for n, f, m in zip(needed, found, full, strict=False))


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
