"""Frames of RLE Lossless: checked segments, one per byte of a sample (PS3.5 annex G).

A stream holds no size and no marks, so a damaged offset sends a decoder that believes it out of
its memory, and a segment that decodes to too little moves all colors behind it.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<16I")
"""How many segments there are, and where each begins: 15 places."""
_PADDING = 1
"""Bytes that a segment may decode to beyond its plane: some encoders fill up to an even number."""


class RleBroken(ValueError):
    """Why a stream must not be decoded; the message may be shown."""


def decode_rle(data: bytes, rows: int, cols: int, planes: int = 3) -> NDArray[np.uint8]:
    """Samples [rows, cols, planes] of 8 bits. Raises RleBroken."""
    out = np.empty((planes, rows, cols), np.uint8)
    buffer = bytearray(rows * cols + _PADDING)
    for plane, segment in zip(out, _segments(data, planes), strict=True):
        try:
            decoded = np.frombuffer(imagecodecs.packbits_decode(segment, out=buffer), np.uint8)
        except (RuntimeError, ValueError):
            raise RleBroken("a segment of its RLE data is damaged") from None
        if len(decoded) < plane.size:
            raise RleBroken("a segment of its RLE data ends before the picture does")
        plane[:] = decoded[: plane.size].reshape(plane.shape)
    return np.ascontiguousarray(out.transpose(1, 2, 0))


def _segments(data: bytes, planes: int) -> list[bytes]:
    """The coded bytes of each segment."""
    if len(data) <= _HEADER.size:
        raise RleBroken("its RLE data ends before the first segment")
    count, *places = _HEADER.unpack_from(data)
    if count != planes:
        raise RleBroken(f"its RLE data has {count} segments, not {planes}")
    bounds = [*places[:count], len(data)]
    if bounds[0] < _HEADER.size or any(begin >= end for begin, end in pairwise(bounds)):
        raise RleBroken("its RLE data says that segments are where there are none")
    return [data[begin:end] for begin, end in pairwise(bounds)]
