"""Slides whose frames are coded streams of the test's own making."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.uid import UID
from tiny_slides import write_level

Pixels = NDArray[np.uint8]
FRAME = (64, 96)


def slide_of(
    path: Path,
    frames: list[bytes],
    syntax: UID,
    photometric: str,
    *,
    empty: Collection[int] = (),
) -> Path:
    """A slide of coded frames of FRAME pixels below each other, those in `empty` without data."""
    size = (len(frames) * FRAME[0], FRAME[1], 3)

    def edit(header: Dataset) -> None:
        header.PhotometricInterpretation = photometric
        kept = [b"" if n in empty else f + b"\0" * (len(f) % 2) for n, f in enumerate(frames)]
        items = [b"\xfe\xff\x00\xe0" + len(f).to_bytes(4, "little") + f for f in (b"", *kept)]
        element = DataElement("PixelData", "OB", b"".join(items))
        element.is_undefined_length = True
        header["PixelData"] = element

    return write_level(path, np.zeros(size, np.uint8), frame=FRAME, syntax=syntax, edit=edit)


def jpeg_2000(samples: Pixels, *, transform: bool) -> bytes:
    """A lossless codestream; samples are taken as RGB where a transform is to be applied."""
    return bytes(imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k", mct=transform))


def subsampled(ycbcr: Pixels, columns: int, rows: int) -> bytes:
    """A lossless codestream of YCbCr [H, W, 3] with chroma at every `columns`th and `rows`th place.

    No encoder at hand writes one, so three of one component each are put together: in the order
    component, position, resolution, layer (ITU T.800 B.12.1.5) their packets follow each other.
    """
    chroma = ycbcr[::rows, ::columns]
    planes = [ycbcr[..., 0], chroma[..., 1], chroma[..., 2]]
    parts = [_parts(p) for p in planes]
    segments = parts[0][0]
    siz = segments[0x51][:34] + b"\0\3" + bytes((7, 1, 1, 7, columns, rows, 7, columns, rows))
    cod = bytearray(segments[0x52])
    cod[1], cod[4] = 4, 0
    packets = b"".join(data for _, data in parts)
    tile = b"\xff\x90\0\x0a\0\0" + (len(packets) + 14).to_bytes(4, "big") + b"\0\1\xff\x93"
    head = [(0x51, siz), (0x52, bytes(cod)), (0x5C, segments[0x5C])]
    written = [bytes((0xFF, m)) + (len(b) + 2).to_bytes(2, "big") + b for m, b in head]
    return b"".join((b"\xff\x4f", *written, tile, packets, b"\xff\xd9"))


def boxed(stream: bytes, color: int) -> bytes:
    """A JP2 file around a codestream; `color`: 16 for sRGB, 18 for sYCC (ITU T.800 I.5.3.3)."""
    rows, cols = FRAME
    size = rows.to_bytes(4, "big") + cols.to_bytes(4, "big") + b"\0\3\7\7\0\0"
    colr = _box(b"colr", b"\1\0\0" + color.to_bytes(4, "big"))
    return b"".join(
        (
            _box(b"jP  ", b"\x0d\x0a\x87\x0a"),
            _box(b"ftyp", b"jp2 \0\0\0\0jp2 "),
            _box(b"jp2h", _box(b"ihdr", size) + colr),
            _box(b"jp2c", stream),
        )
    )


def _box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def _parts(plane: Pixels) -> tuple[dict[int, bytes], bytes]:
    """Main header segments by marker, and the packets, of one component."""
    stream = bytes(
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(plane), level=0, codecformat="j2k", resolutions=3
        )
    )
    at, segments = 2, {}
    while stream[at + 1] != 0x90:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segments[stream[at + 1]] = stream[at + 4 : at + 2 + length]
        at += 2 + length
    return segments, stream[stream.index(b"\xff\x93", at) + 2 : -2]
