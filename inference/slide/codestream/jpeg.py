"""What a JPEG or JPEG-LS stream says before its scan, read before its codec sees it.

libjpeg believes any size it is told. And headers err on color: some converters state RGB for
frames that are YCbCr.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Stream = bytes | memoryview

# SOF0-15 without DHT, JPG, DAC, and SOF55 of JPEG-LS: the segments that state the image size
# (ITU T.81 B.1.1.3, T.87 C.2.2)
_START_OF_FRAME = (frozenset(range(0xC0, 0xD0)) | {0xF7}) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_APP0, _APP14, _COMMENT, _START_OF_SCAN = 0xE0, 0xEE, 0xFE, 0xDA
_IS_JPEG = b"\xff\xd8"
_WHOLE_SPECTRUM = b"\x00\x3f\x00"
"""Ss, Se, Ah and Al of a sequential scan (ITU T.81 B.2.3)."""
_ADOBE = b"Adobe"
_ADOBE_SAYS_RGB = _ADOBE + b"\0\x64" + bytes(5)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What a JPEG stream says before its scan."""

    rows: int
    """0 where no size is stated, as for `cols` and `bits`."""
    cols: int
    bits: int
    """Bits of a sample."""
    says_ycbcr: bool
    """That its three components are YCbCr.

    An Adobe segment says it outright (ITU T.872 6.5.3), subsampled second and third components
    can be nothing else, and JFIF allows nothing else (ITU T.871 6.1).
    """


class JpegReader:
    """Facts of the streams of one level: most have the same header, byte for byte."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Jpeg] = (b"", Jpeg(0, 0, 0, says_ycbcr=False))

    def read(self, data: Stream) -> Jpeg:
        """The facts of a stream, at once where its header is that of the stream before."""
        header, jpeg = self._last
        if header and data[: len(header)] == header:
            return jpeg
        jpeg = read_jpeg(data)
        scan = next((at for at, marker, _ in _segments(data) if marker == _START_OF_SCAN), -2)
        self._last = bytes(data[: scan + 2]), jpeg
        return jpeg


def read_jpeg(data: Stream) -> Jpeg:
    """The facts of a JPEG or JPEG-LS stream (ITU T.81 B.1.1.4)."""
    rows = cols = bits = 0
    is_jfif = is_subsampled = False
    adobe: int | None = None
    for _, marker, body in _segments(data):
        if marker == _APP14 and bytes(body[:5]) == _ADOBE and len(body) >= 12:
            adobe = body[11]
        elif marker == _APP0 and bytes(body[:5]) == b"JFIF\0":
            is_jfif = True
        elif marker in _START_OF_FRAME and len(body) >= 5 and not rows:
            rows, cols = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            bits = body[0]
            is_subsampled = len(set(body[7::3])) > 1
    says_ycbcr = adobe == 1 if adobe is not None else is_jfif or is_subsampled
    return Jpeg(rows, cols, bits, says_ycbcr)


def is_jpeg(data: Stream) -> bool:
    """Whether it starts as a JPEG stream does; JPEG-LS starts and ends alike."""
    return bytes(data[:2]) == _IS_JPEG


def said_rgb(data: Stream) -> bytes:
    """The stream with a header that says RGB, whatever it said (ITU T.872 6.5.3)."""
    head, scans = _parted(data)
    kept = [(marker, body) for marker, body in head if marker not in (_APP0, _APP14)]
    return _joined([(_APP14, _ADOBE_SAYS_RGB), *kept], scans)


def tidied(data: Stream) -> bytes:
    """The stream without what libjpeg warns of although the pixels are sound.

    That is application data but Adobe's, comments, bytes between segments, and a sequential scan
    that states another part of the spectrum than the whole.
    """
    head, scans = _parted(data)
    kept = [
        (marker, body)
        for marker, body in head
        if not _APP0 <= marker <= _COMMENT or (marker == _APP14 and bytes(body[:5]) == _ADOBE)
    ]
    length = int.from_bytes(scans[2:4], "big")
    if any(marker in _SEQUENTIAL for marker, _ in kept) and length >= 6:
        scans = scans[: length - 1] + _WHOLE_SPECTRUM + scans[length + 2 :]
    return _joined(kept, scans)


def _parted(data: Stream) -> tuple[list[tuple[int, Stream]], bytes]:
    """The segments before the first scan, and all from there on."""
    found = list(_segments(data))
    if not found or found[-1][1] != _START_OF_SCAN:
        return [], bytes(data[2:])
    return [(marker, body) for _, marker, body in found[:-1]], bytes(data[found[-1][0] :])


def _joined(segments: list[tuple[int, Stream]], scans: bytes) -> bytes:
    head = [
        bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + bytes(body)
        for marker, body in segments
    ]
    return b"".join((_IS_JPEG, *head, scans))


def _segments(data: Stream) -> Iterator[tuple[int, int, Stream]]:
    """Place, marker and body of each segment from start of image to the first start of scan, that
    one included (T.81 B.1.1.4). Bytes between them are passed over, as libjpeg does."""
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # a byte too many, or a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield at, marker, data[at + 4 : at + 2 + length]
        if marker == _START_OF_SCAN:
            return
        at += 2 + length
