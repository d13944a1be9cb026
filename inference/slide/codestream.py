"""What a coded frame says of itself: read before its codec sees it.

libjpeg decodes a truncated stream without a word (gray below the break) and believes any size it
is told. And headers err on color: some converters state RGB for frames that are YCbCr.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Stream = bytes | memoryview

# SOF0-15 without DHT, JPG, DAC, and SOF55 of JPEG-LS: the segments that state the image size
# (ITU T.81 B.1.1.3, T.87 C.2.2)
_START_OF_FRAME = (frozenset(range(0xC0, 0xD0)) | {0xF7}) - {0xC4, 0xC8, 0xCC}
_APP0, _APP14, _START_OF_SCAN = 0xE0, 0xEE, 0xDA
_IS_JPEG = b"\xff\xd8"
_IS_JPEG_2000 = b"\xff\x4f\xff\x51"
_END_OF_IMAGE = b"\xff\xd9"
_SCAN = b"\xff\xda"


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What a JPEG stream says before its scan."""

    rows: int
    """0 where no size is stated, as for `cols`."""
    cols: int
    says_ycbcr: bool
    """That its three components are YCbCr.

    An Adobe segment says it outright (ITU T.872 6.5.3), subsampled second and third components
    can be nothing else, and JFIF allows nothing else (ITU T.871 6.1).
    """


class JpegReader:
    """Facts of the streams of one level: most have the same header, byte for byte."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Jpeg] = (b"", Jpeg(0, 0, says_ycbcr=False))

    def read(self, data: Stream) -> Jpeg:
        """The facts of a stream, at once where its header is that of the stream before."""
        header, jpeg = self._last
        if header and data[: len(header)] == header:
            return jpeg
        jpeg = read_jpeg(data)
        self._last = bytes(data[: _header_length(data)]), jpeg
        return jpeg


def read_jpeg(data: Stream) -> Jpeg:
    """The facts of a JPEG or JPEG-LS stream (ITU T.81 B.1.1.4)."""
    rows = cols = 0
    is_jfif = is_subsampled = False
    adobe: int | None = None
    for marker, body in _segments(data):
        if marker == _APP14 and bytes(body[:5]) == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == _APP0 and bytes(body[:5]) == b"JFIF\0":
            is_jfif = True
        elif marker in _START_OF_FRAME and len(body) >= 5 and not rows:
            rows, cols = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            is_subsampled = len(set(body[7::3])) > 1
    return Jpeg(rows, cols, adobe == 1 if adobe is not None else is_jfif or is_subsampled)


def is_jpeg(data: Stream) -> bool:
    """Whether it starts as a JPEG stream does; JPEG-LS starts and ends alike."""
    return bytes(data[:2]) == _IS_JPEG


def defect(data: Stream, rows: int, cols: int, jpeg: Jpeg | None = None) -> str:
    """Why a coded frame must not be decoded as part of a level of rows x cols frames, or ''.

    `jpeg`: its facts, where they are known already.
    """
    if is_jpeg(data):
        if _END_OF_IMAGE not in bytes(data[-64:]):
            return "the JPEG stream ends before its end-of-image marker"
        jpeg = jpeg or read_jpeg(data)
        if not jpeg.rows:
            return "the JPEG stream states no image size"
        size = (jpeg.rows, jpeg.cols)
    elif bytes(data[:4]) == _IS_JPEG_2000:  # SIZ comes first (ITU T.800 A.5.1)
        x1, y1, x0, y0 = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
        size = (y1 - y0, x1 - x0)
    else:
        return ""
    if size[0] > rows or size[1] > cols:
        return f"the coded frame has {size[0]} x {size[1]} pixels, not {rows} x {cols}"
    return ""


def _header_length(data: Stream) -> int:
    """Bytes up to and with the marker of the first scan; 0 where it is not where the segments end,
    as behind fill bytes."""
    end = 2 + sum(4 + len(body) for _, body in _segments(data))
    return end + 2 if bytes(data[end : end + 2]) == _SCAN else 0


def _segments(data: Stream) -> Iterator[tuple[int, Stream]]:
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
