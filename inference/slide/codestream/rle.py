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
_PLANES = 3


class RleBroken(ValueError):
    """Why a stream must not be decoded; the message may be shown."""


def decode_rle(data: bytes, rows: int, cols: int) -> NDArray[np.uint8]:
    """Samples [rows, cols, 3] of 8 bits. Raises RleBroken."""
    out = np.empty((_PLANES, rows, cols), np.uint8)
    for plane, segment in zip(out, _segments(data), strict=True):
        # Zeros that fill up a frame behind its last segment decode to half as many.
        padding = len(segment) - len(segment.rstrip(b"\0"))
        buffer = bytearray(plane.size + padding // 2 + 1)
        try:
            decoded = np.frombuffer(imagecodecs.packbits_decode(segment, out=buffer), np.uint8)
        except (RuntimeError, ValueError):
            raise RleBroken("a segment of its RLE data is damaged") from None
        if len(decoded) < plane.size:
            raise RleBroken("a segment of its RLE data ends before the picture does")
        plane[:] = decoded[: plane.size].reshape(plane.shape)
    return np.ascontiguousarray(out.transpose(1, 2, 0))


def _segments(data: bytes) -> list[bytes]:
    """The coded bytes of each segment."""
    if len(data) <= _HEADER.size:
        raise RleBroken("its RLE data ends before the first segment")
    count, *places = _HEADER.unpack_from(data)
    if count != _PLANES:
        raise RleBroken(f"its RLE data has {count} segments, not {_PLANES}")
    bounds = [*places[:count], len(data)]
    if bounds[0] < _HEADER.size or any(begin >= end for begin, end in pairwise(bounds)):
        raise RleBroken("its RLE data says that segments are where there are none")
    return [data[begin:end] for begin, end in pairwise(bounds)]
