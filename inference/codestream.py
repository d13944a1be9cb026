"""What a coded frame says of itself: read before its codec sees it.

libjpeg decodes a truncated stream without a word (gray below the break) and believes any size it
is told. And headers err on color: some converters state RGB for frames that are YCbCr.
"""

from __future__ import annotations

from collections.abc import Iterator

# SOF0-15 without DHT, JPG, DAC, and SOF55 of JPEG-LS: the segments that state the image size
# (ITU T.81 B.1.1.3, T.87 C.2.2)
_START_OF_FRAME = (frozenset(range(0xC0, 0xD0)) | {0xF7}) - {0xC4, 0xC8, 0xCC}
_APP0, _APP14, _START_OF_SCAN = 0xE0, 0xEE, 0xDA
_IS_JPEG = b"\xff\xd8"
_IS_JPEG_2000 = b"\xff\x4f\xff\x51"
_END_OF_IMAGE = b"\xff\xd9"


def defect(data: bytes, rows: int, cols: int) -> str:
    """Why a coded frame must not be decoded as part of a level of rows x cols frames, or ''."""
    if data.startswith(_IS_JPEG):  # JPEG-LS starts and ends alike
        if _END_OF_IMAGE not in data[-64:]:
            return "the JPEG stream ends before its end-of-image marker"
        size = _jpeg_size(data)
    elif data.startswith(_IS_JPEG_2000):  # SIZ comes first (ITU T.800 A.5.1)
        x1, y1, x0, y0 = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
        size = (y1 - y0, x1 - x0)
    else:
        return ""
    if size is None:
        return "the JPEG stream states no image size"
    if size[0] > rows or size[1] > cols:
        return f"the coded frame has {size[0]} x {size[1]} pixels, not {rows} x {cols}"
    return ""


def states_ycbcr(data: bytes) -> bool:
    """Whether a JPEG stream says that its three components are YCbCr.

    An Adobe segment says it outright (ITU T.872 6.5.3), subsampled second and third components
    can be nothing else, and JFIF allows nothing else (ITU T.871 6.1).
    """
    is_jfif = False
    is_subsampled = False
    for marker, body in _segments(data):
        if marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            return body[11] == 1
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            is_jfif = True
        if marker in _START_OF_FRAME:
            sampling = body[7::3]
            is_subsampled = len(set(sampling)) > 1
    return is_jfif or is_subsampled


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(rows, cols) of the first start-of-frame segment."""
    for marker, body in _segments(data):
        if marker in _START_OF_FRAME and len(body) >= 5:
            return int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment between start of image and start of scan (T.81 B.1.1.4)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length
