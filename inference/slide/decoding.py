"""Frames to RGB pixels: baseline JPEG, the coding of nearly all slides, into memory of the
caller's; other codings through wsidicom's decoders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from wsidicom.codec.decoder import (  # type: ignore[import-untyped]  # published without types
    PydicomDecoder,
    RleDecoder,
)

from inference.slide.codestream.jpeg import said_rgb, tidied
from inference.slide.codestream.jpeg2000 import codestream, is_jpeg_2000, read_jpeg_2000
from inference.slide.codestream.rle import RleBroken, decode_rle
from inference.slide.prepare import to_rgb
from inference.slide.stored import FrameBroken

MOST_HALVINGS = 3
"""A JPEG block has 8 x 8 pixels: at 1/8 of the size it is one pixel."""
MOST_STRAY_BYTES, MOST_PADDING_BYTES = 3, 16
"""Bytes between the last block and the end marker that are alignment: as they may be, and all
alike. More are blocks that were not understood, as behind a hole of zeros."""
_STRAY = re.compile(r"(\d+) extraneous bytes? before marker 0x([0-9a-f]{2})")
# What libjpeg says of headers although pixels are sound. Only its first warning is told, so these
# would hide another one.
_HARMLESS = ("unknown JFIF revision", "Invalid SOS parameters", "bad ICC marker")
TRANSFORMED = ("YBR_ICT", "YBR_RCT")
"""Photometric Interpretations that state a color transform of JPEG 2000 (PS3.5 8.2.4)."""
_END_OF_IMAGE, _RESTARTS = 0xD9, range(0xD0, 0xD8)


def decode_jpeg(
    data: bytes | memoryview, out: NDArray[np.uint8], *, is_plain: bool = False
) -> None:
    """RGB of a stream into `out`, at the size of `out`: its own, or a half, quarter, eighth of it.

    With `is_plain` the stream's samples are RGB although nothing in it says so. Otherwise it is
    YCbCr unless it says RGB, as libjpeg has it. Raises FrameBroken where libjpeg warns of damage:
    it fills with gray what it cannot read. OpenSlide and libvips refuse such frames too.
    """
    if is_plain:
        data = said_rgb(data)
    warning = _decode(data, out)
    if warning and _is_of_the_header(warning):
        data = tidied(data)
        warning = _decode(data, out)
    if warning and not _is_padding(warning, data):
        raise FrameBroken(f"its JPEG data is damaged ({_named(warning)})")


def _decode(data: bytes | memoryview, out: NDArray[np.uint8]) -> str:
    """Decodes into `out`; the first warning of libjpeg, or ''."""
    rows, cols = out.shape[:2]
    try:
        simplejpeg.decode_jpeg(data, min_height=rows, min_width=cols, buffer=out, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _is_of_the_header(warning: str) -> bool:
    """Whether the warning is of what comes before the pixels, and they may be sound."""
    stray = _STRAY.search(warning)
    if stray is None:
        return any(said in warning for said in _HARMLESS)
    return int(stray[2], 16) not in (_END_OF_IMAGE, *_RESTARTS)


def _is_padding(warning: str, data: bytes | memoryview) -> bool:
    """Whether the warning is of padding behind the last block, which viewers never come to."""
    stray = _STRAY.search(warning)
    if stray is None or int(stray[2], 16) != _END_OF_IMAGE:
        return False
    end = bytes(data).rfind(b"\xff\xd9")
    # libjpeg holds some bytes already when it counts: it tells fewer than there are.
    count = int(stray[1])
    is_alike = count <= MOST_PADDING_BYTES and len(set(data[end - count : end])) == 1
    return count <= MOST_STRAY_BYTES or is_alike


def _named(warning: str) -> str:
    """What a warning is of, in words of ours: libjpeg's may hold anything."""
    for said, name in (
        ("remature end", "the data ends before the picture does"),
        ("instead of RST", "the next restart marker is missing"),
        ("extraneous", "the picture ends before the data does"),
        ("Huffman", "the data has a code that does not exist"),
    ):
        if said in warning:
            return name
    return "the decoder reports an error"


class RgbDecoder:
    """RGB of frames that are no baseline JPEG, whatever color space their samples have."""

    def __init__(self, decoder: Any, photometric: str, *, is_ycbcr: bool) -> None:
        """`decoder` is one of wsidicom's; `is_ycbcr`: that its samples are YCbCr by the header."""
        self.photometric = photometric
        self.reads_untransformed_as: str = ""
        """"RGB" or "YCbCr", once something else than the header tells (color_claims.py): for
        JPEG 2000 whose header says that a transform was applied, where none was."""
        self._decode = shared_decoder(decoder)
        self._is_ycbcr = is_ycbcr

    def __call__(self, data: bytes) -> NDArray[np.uint8]:
        """RGB [H, W, 3] of a frame. Raises FrameBroken, and what the decoder raises."""
        data = bytes(codestream(data))
        return to_rgb(self.samples(data), is_ycbcr=self._comes_as_ycbcr(data))

    def reading(self, data: bytes) -> str:
        """What the samples of a frame are read as: "RGB" or "YCbCr"; as RGB where the header says
        that a transform was applied and nothing else has told yet. Raises FrameBroken."""
        data = bytes(codestream(data))
        if self.photometric in TRANSFORMED and not self.reads_untransformed_as:
            return "RGB"
        return "YCbCr" if self._comes_as_ycbcr(data) else "RGB"

    def samples(self, data: bytes) -> NDArray[np.uint8]:
        """The samples of a frame as the decoder gives them."""
        pixels = self._decode(bytes(codestream(data)))
        if pixels.dtype != np.uint8:
            raise FrameBroken(f"its samples have more than 8 bits ({pixels.dtype})")
        return pixels

    def _comes_as_ycbcr(self, data: bytes) -> bool:
        if not is_jpeg_2000(data):
            return self._is_ycbcr
        stream = read_jpeg_2000(data)
        if stream is None:
            raise FrameBroken("the header of the JPEG 2000 stream is broken")
        if stream.is_subsampled and stream.is_transformed:
            raise FrameBroken("its JPEG 2000 stream transforms components of unequal size")
        if stream.is_subsampled or stream.is_transformed:
            return False  # the decoder gives RGB
        if self.photometric not in TRANSFORMED:
            return self._is_ycbcr
        if not self.reads_untransformed_as:
            raise FrameBroken(
                f"no color transform was applied, though its header says {self.photometric}"
            )
        return self.reads_untransformed_as == "YCbCr"


def _decode_rle(frame: bytes, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return decode_rle(frame, *size)
    except RleBroken as broken:
        raise FrameBroken(str(broken)) from None


def shared_decoder(decoder: Any) -> Callable[[bytes], NDArray[Any]]:
    """`decode` of one of wsidicom's decoders, for threads that call it at the same time.

    The one for native pixels puts the frame into a dataset of its own and reads it back from there:
    two threads at once would get each other's frames, so it serves one at a time. The others keep
    nothing of a frame. For RLE the decoder is ours: its own ends the process at a wrong offset.
    """
    if isinstance(decoder, RleDecoder):
        return partial(_decode_rle, size=(decoder._size.height, decoder._size.width))
    decode: Callable[[bytes], NDArray[Any]] = decoder.decode
    if not isinstance(decoder, PydicomDecoder):
        return decode
    lock = Lock()

    def decode_alone(frame: bytes) -> NDArray[Any]:
        with lock:
            return decode(frame)

    return decode_alone
