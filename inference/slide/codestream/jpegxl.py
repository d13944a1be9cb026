"""The size that a JPEG XL stream states (ISO/IEC 18181-1 annex D; boxes: 18181-2 clause 9).

Some ten thousand bytes can hold a picture of a gigabyte, so the size is asked before it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator

Stream = bytes | memoryview

_START = b"\xff\x0a"
_BOXES = b"\0\0\0\x0cJXL \r\n\x87\n"
_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, for ratios from 1 on."""


def is_jpeg_xl(data: Stream) -> bool:
    """Whether it starts as a codestream or as a file of boxes does."""
    head = bytes(data[: len(_BOXES)])
    return head.startswith(_START) or head == _BOXES


def jpeg_xl_size(data: Stream) -> tuple[int, int] | None:
    """Rows and columns as stated; None where nothing is."""
    for content in _contents(data):
        if content.startswith(_START):
            return _size(content[len(_START) :])
    return None


def _contents(data: Stream) -> Iterator[bytes]:
    """The first bytes of the stream, or of each box that may begin it."""
    if bytes(data[:2]) == _START:
        yield bytes(data[:16])
        return
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        body = at + 8
        if length == 1:  # it stands in eight bytes more
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        if kind in (b"jxlc", b"jxlp"):
            body += 4 * (kind == b"jxlp")  # the number of the part
            yield bytes(data[body : body + 16])
        if length < body - at:
            return  # to the end of the data, or damage
        at += length


class _Bits:
    """Numbers of any width, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, width: int) -> int:
        self._left -= width
        if self._left < 0:
            raise ValueError("the data ends")
        value = self._value & ((1 << width) - 1)
        self._value >>= width
        return value


def _size(header: bytes) -> tuple[int, int] | None:
    bits = _Bits(header)
    try:
        is_small = bits.take(1)
        rows = _length(bits, is_small)
        if ratio := bits.take(3):
            wide, high = _RATIOS[ratio - 1]
            return rows, rows * wide // high
        return rows, _length(bits, is_small)
    except ValueError:
        return None


def _length(bits: _Bits, is_small: int) -> int:
    if is_small:
        return 8 * (bits.take(5) + 1)
    return 1 + bits.take(_SIZE_BITS[bits.take(2)])
