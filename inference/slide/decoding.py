"""Frames to pixels: baseline JPEG, the coding of nearly all slides, into memory of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from wsidicom.codec.decoder import (  # type: ignore[import-untyped]  # published without types
    PydicomDecoder,
)

MOST_HALVINGS = 3
"""A JPEG block has 8 x 8 pixels: at 1/8 of the size it is one pixel."""


def decode_jpeg(
    data: bytes | memoryview, out: NDArray[np.uint8], *, is_plain: bool = False
) -> None:
    """RGB of a stream into `out`, at the size of `out`: its own, or a half, quarter, eighth of it.

    With `is_plain` the stream's samples are RGB although nothing in it says so. Otherwise it is
    YCbCr unless it says RGB, as libjpeg has it. Raises ValueError and RuntimeError for streams
    that cannot be decoded.
    """
    rows, cols = out.shape[:2]
    if is_plain:
        imagecodecs.jpeg8_decode(bytes(data), colorspace="RGB", outcolorspace="RGB", out=out)
        return
    # Warnings, such as bytes too many between segments, are no errors: viewers show such frames.
    simplejpeg.decode_jpeg(data, min_height=rows, min_width=cols, buffer=out, strict=False)


def shared_decoder(decoder: Any) -> Callable[[bytes], NDArray[Any]]:
    """`decode` of one of wsidicom's decoders, for threads that call it at the same time.

    The one for native pixels puts the frame into a dataset of its own and reads it back from there:
    two threads at once would get each other's frames, so it serves one at a time. The others keep
    nothing of a frame.
    """
    decode: Callable[[bytes], NDArray[Any]] = decoder.decode
    if not isinstance(decoder, PydicomDecoder):
        return decode
    lock = Lock()

    def decode_alone(frame: bytes) -> NDArray[Any]:
        with lock:
            return decode(frame)

    return decode_alone
