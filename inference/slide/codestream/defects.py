"""Why a coded frame must not be decoded as part of a level: one question for every codec."""

from __future__ import annotations

from inference.slide.codestream.jpeg import Jpeg, Stream, is_jpeg, read_jpeg
from inference.slide.codestream.jpeg2000 import codestream, damage, is_jpeg_2000, read_jpeg_2000
from inference.slide.codestream.jpegxl import is_jpeg_xl, jpeg_xl_size

_END_OF_IMAGE = b"\xff\xd9"
_PADDING = b"\0\xff"
"""Some encoders fill up to a multiple of 4, 512 or more bytes; no decoder comes to it."""
_LOOKED_AT = 64
_BITS = 8


def defect(data: Stream, rows: int, cols: int, jpeg: Jpeg | None = None) -> str:
    """Why a coded frame must not be decoded as part of a level of rows x cols frames, or ''.

    `jpeg`: its facts, where they are known already.
    """
    if not len(data):
        return "it has no data"
    data = codestream(data)
    if is_jpeg(data):
        return _jpeg_defect(data, rows, cols, jpeg or read_jpeg(data))
    if is_jpeg_xl(data):
        size = jpeg_xl_size(data)
        return _shape(*size, rows, cols) if size else "the JPEG XL stream states no image size"
    if not is_jpeg_2000(data):
        return ""
    stream = read_jpeg_2000(data)
    if stream is None:
        return "the header of the JPEG 2000 stream is broken"
    wrong = _shape(stream.rows, stream.cols, rows, cols) or _depth(set(stream.bits))
    return wrong or damage(bytes(data), stream)


def _jpeg_defect(data: Stream, rows: int, cols: int, jpeg: Jpeg) -> str:
    if not _ends(data):
        return "the JPEG stream ends before its end-of-image marker"
    if not jpeg.rows or not jpeg.cols:
        return "the JPEG stream states no image size"
    return _shape(jpeg.rows, jpeg.cols, rows, cols) or _depth({jpeg.bits})


def _ends(data: Stream) -> bool:
    """Whether the end marker is there, near the end or behind it only padding."""
    if _END_OF_IMAGE in bytes(data[-_LOOKED_AT:]):
        return True
    return bytes(data).rstrip(_PADDING).endswith(_END_OF_IMAGE)


def _shape(found_rows: int, found_cols: int, rows: int, cols: int) -> str:
    if found_rows > rows or found_cols > cols:
        return f"the coded frame has {found_rows} x {found_cols} pixels, not {rows} x {cols}"
    return ""


def _depth(bits: set[int]) -> str:
    if bits == {_BITS}:
        return ""
    return f"its samples have {abs(next(iter(bits - {_BITS})))} bits, not {_BITS} without a sign"
