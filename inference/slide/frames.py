"""Pixels of one level: each frame found, checked, and brought to RGB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.ImageCms import PyCMSError
from wsidicom.errors import (  # type: ignore[import-untyped]  # published without types
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomOutOfBoundsError,
)

from inference.errors import MALFORMED, FramesUnreadable, is_of_the_machine
from inference.slide.codestream.defects import defect
from inference.slide.codestream.jpeg import JpegReader
from inference.slide.color import ToSrgb
from inference.slide.decoding import MOST_HALVINGS, RgbDecoder, decode_jpeg
from inference.slide.images import Part
from inference.slide.prepare import WHITE, pad_white
from inference.slide.stored import FrameBroken, StoredFrames

# imagecodecs raises subclasses of RuntimeError (and ValueError for RLE), pydicom ValueError for
# native pixels, wsidicom its own: seen by feeding truncated and altered frames to each codec.
_DECODER_ERRORS = (
    *MALFORMED,
    RuntimeError,
    PyCMSError,
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomNotFoundError,
    WsiDicomOutOfBoundsError,
)


class Fill(Protocol):
    """What is asked of inference.tissue.unscanned.Unscanned."""

    def whiten(self, pixels: NDArray[np.uint8], top: int, left: int, downsample: float) -> None: ...


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
    index: NDArray[np.int32]
    """[tile rows, tile columns] 0-based frame over all parts; -1 where the data holds none."""
    is_encapsulated: bool
    is_baseline: bool
    """Baseline JPEG, or extended JPEG of 8 bits, which is decoded in place."""
    decodes_stated_ycbcr: bool
    """Whether a JPEG stream that says YCbCr is believed against a header that says RGB: viewers
    do so, and the analysis must see what people see."""
    decode: RgbDecoder
    """For frames that are no baseline JPEG."""
    stored: StoredFrames
    jpegs: JpegReader = field(repr=False)
    color: ToSrgb | None = None
    """Conversion by the slide's ICC profile, where the model asks for it."""
    unscanned: Fill | None = None
    """What was not scanned, once it is known: it is made white."""
    halvings: int = 0
    """Frames are decoded at 1/2^halvings of their size."""

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """Its instances, in frame order."""
        return tuple(part.sop_instance_uid for part in self.parts)

    def read_frame(self, row: int, col: int) -> NDArray[np.uint8]:
        """RGB [frame_rows, frame_cols, 3] of the frame at 0-based tile row and column.

        White where a sparse slide leaves it out. Raises FramesUnreadable, and OSError where the
        file cannot be read now.
        """
        pixels = np.empty((self.frame_rows, self.frame_cols, 3), np.uint8)
        self.decode_into(row, col, pixels)
        return pixels

    def decode_into(self, row: int, col: int, out: NDArray[np.uint8]) -> None:
        """`read_frame` into memory of the caller's: uint8 [frame_rows, frame_cols, 3].

        Threads may call it at the same time. A whole frame of baseline JPEG is decoded in place.
        """
        index = -1
        try:
            index = int(self.index[row, col])
            if index < 0:
                out[:] = WHITE
                return
            self._decode_into(self.stored.read(index), index, (row, col), out)
            if self.color is not None:
                self.color.convert(out)
            if self.unscanned is not None:
                place = row * self.frame_rows, col * self.frame_cols
                self.unscanned.whiten(out, *place, self.downsample)
        except FrameBroken as broken:
            raise self._unreadable(index, str(broken)) from None
        except _DECODER_ERRORS as error:
            if is_of_the_machine(error):
                raise
            raise self._unreadable(index, "it cannot be decoded") from None

    def scaled(self, k: int) -> Level | None:
        """This level decoded at 1/2^k of its size, in JPEG's own domain of frequencies.

        None where its frames are no baseline JPEG of YCbCr, or cannot be halved so often.
        """
        step = 2**k
        if not self.is_baseline or self.decodes_stated_ycbcr:
            return None
        if self.frame_rows % step or self.frame_cols % step or not 1 <= k <= MOST_HALVINGS:
            return None
        return replace(
            self,
            rows=-(-self.rows // step),
            cols=-(-self.cols // step),
            downsample=self.downsample * step,
            mpp=self.mpp * step,
            frame_rows=self.frame_rows // step,
            frame_cols=self.frame_cols // step,
            halvings=k,
        )

    def stored_samples(self, index: int) -> tuple[str, NDArray[np.uint8]]:
        """What the samples of a frame (0-based, over all parts) are read as, "RGB" or "YCbCr", and
        the samples [H, W, 3] as they are stored, before they become RGB: of baseline JPEG at
        an eighth of their size.

        Raises FrameBroken, and what its decoder raises.
        """
        data = bytes(self.stored.read(index))
        jpeg = self.jpegs.read(data) if self.is_baseline else None
        if self.is_encapsulated and (fault := defect(data, *self._stored_size, jpeg)):
            raise FrameBroken(fault)
        if jpeg is None:
            return self.decode.reading(data), self.decode.samples(data)
        scale = 2**MOST_HALVINGS
        size = -(-jpeg.rows // scale), -(-jpeg.cols // scale), 3
        pixels, samples = np.empty(size, np.uint8), np.empty(size, np.uint8)
        decode_jpeg(data, pixels, is_plain=self.decodes_stated_ycbcr and not jpeg.says_ycbcr)
        decode_jpeg(data, samples, is_plain=True)
        return "RGB" if np.array_equal(pixels, samples) else "YCbCr", samples

    @property
    def _stored_size(self) -> tuple[int, int]:
        """Rows and columns of a frame as its stream says them."""
        return self.frame_rows * 2**self.halvings, self.frame_cols * 2**self.halvings

    @property
    def has_all_frames(self) -> bool:
        """Whether no tile of the matrix is left out."""
        return bool((self.index >= 0).all())

    def _decode_into(
        self,
        data: bytes | memoryview,
        index: int,
        tile: tuple[int, int],
        out: NDArray[np.uint8],
    ) -> None:
        scale, (rows, cols) = 2**self.halvings, self._stored_size
        jpeg = self.jpegs.read(data) if self.is_baseline else None
        fault = defect(data, rows, cols, jpeg) if self.is_encapsulated else ""
        if fault:
            raise self._unreadable(index, fault)
        if jpeg is not None:
            is_plain = self.decodes_stated_ycbcr and not jpeg.says_ycbcr
            if (jpeg.rows, jpeg.cols) == (rows, cols):
                decode_jpeg(data, out, is_plain=is_plain)
                return
            found = -(-jpeg.rows // scale), -(-jpeg.cols // scale), 3
            pixels = np.empty(found, np.uint8)
            decode_jpeg(data, pixels, is_plain=is_plain)
        else:
            pixels = self.decode(bytes(data))
        self._check_covers(pixels, index, tile)
        out[:] = pad_white(pixels, *out.shape[:2])

    def _check_covers(self, pixels: NDArray[np.uint8], index: int, tile: tuple[int, int]) -> None:
        """Raise FramesUnreadable unless a frame is RGB, no larger than it should be, and covers
        its part of the matrix: some converters write edge frames smaller than Rows x Columns."""
        most = (self.frame_rows, self.frame_cols)
        least = (
            min(most[0], self.rows - tile[0] * most[0]),
            min(most[1], self.cols - tile[1] * most[1]),
        )
        found = pixels.shape
        is_rgb = len(found) == 3 and found[2] == 3
        if not is_rgb or not all(n <= f <= m for n, f, m in zip(least, found, most, strict=False)):
            cause = f"found {list(found)} samples, expected {[*most, 3]}"
            raise self._unreadable(index, cause)

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
            paste(level, pixels, (top, left), frame, (row, col))
            uses[row, col] -= 1
            if not uses[row, col]:
                del held[row, col]
        yield pixels


def _frames_under(level: Level, rectangle: list[int]) -> list[tuple[int, int]]:
    top, left, bottom, right = rectangle
    rows = range(max(top, 0) // level.frame_rows, _ceil(min(bottom, level.rows), level.frame_rows))
    cols = range(max(left, 0) // level.frame_cols, _ceil(min(right, level.cols), level.frame_cols))
    return [(row, col) for row in rows for col in cols]


def paste(
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


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
