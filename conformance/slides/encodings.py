"""Pixels as frames, and frames as Pixel Data, in the transfer syntaxes that can be made here.

Codecs that neither Pillow nor pydicom has are not made: for their transfer syntaxes the frames hold
a few bytes that only look like a stream, which is enough to ask whether an instance is received.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from conformance.slides.picture import Pixels

EXPLICIT_VR_LE, IMPLICIT_VR_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_BASELINE, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
NATIVE = frozenset({EXPLICIT_VR_LE, IMPLICIT_VR_LE})
MADE_HERE = NATIVE | {JPEG_BASELINE, RLE, JPEG_2000_LOSSLESS, JPEG_2000}
"""Transfer syntaxes whose frames are what they say."""
_LOSSY = {JPEG_BASELINE: "ISO_10918_1", JPEG_2000: "ISO_15444_1"}


@dataclass(frozen=True, slots=True)
class PixelData:
    """Pixel Data and what the image module must say of it."""

    value: bytes
    frames: int
    photometric: str
    lossy_method: str
    """Empty where nothing was lost."""
    is_encapsulated: bool


def encode(pixels: Pixels, *, tile: int, syntax: str) -> PixelData:
    """Frames of tile x tile in raster order, the last of a row or column padded with white."""
    tiles = _tiles(pixels, tile)
    method = _LOSSY.get(syntax, "")
    if syntax in NATIVE:
        data = b"".join(t.tobytes() for t in tiles)
        return PixelData(data + b"\0" * (len(data) % 2), len(tiles), "RGB", method, False)
    streams = [_stream(t, syntax) for t in tiles]
    value = encapsulate([s + b"\0" * (len(s) % 2) for s in streams])
    photometric = {JPEG_BASELINE: "YBR_FULL_422", JPEG_2000: "YBR_ICT"}.get(syntax, "RGB")
    if syntax == JPEG_2000_LOSSLESS:
        photometric = "YBR_RCT"
    return PixelData(value, len(tiles), photometric, method, True)


def _tiles(pixels: Pixels, tile: int) -> list[Pixels]:
    rows, cols = pixels.shape[:2]
    found = []
    for top in range(0, rows, tile):
        for left in range(0, cols, tile):
            part = pixels[top : top + tile, left : left + tile]
            whole = np.full((tile, tile, 3), 255, np.uint8)
            whole[: part.shape[0], : part.shape[1]] = part
            found.append(whole)
    return found


def _stream(tile: Pixels, syntax: str) -> bytes:
    if syntax == RLE:
        return bytes(
            get_encoder(UID(RLE)).encode(
                tile.tobytes(),
                rows=tile.shape[0],
                columns=tile.shape[1],
                samples_per_pixel=3,
                bits_allocated=8,
                bits_stored=8,
                pixel_representation=0,
                photometric_interpretation="RGB",
                number_of_frames=1,
                planar_configuration=0,
            )
        )
    stream = io.BytesIO()
    image = Image.fromarray(tile)
    if syntax == JPEG_BASELINE:
        image.save(stream, "JPEG", quality=85, subsampling="4:2:2")
    elif syntax in (JPEG_2000, JPEG_2000_LOSSLESS):
        is_lossy = syntax == JPEG_2000
        image.save(stream, "JPEG2000", irreversible=is_lossy, mct=1, no_jp2=True)
    else:
        return b"no stream of this codec: " + syntax.encode().ljust(39)
    return stream.getvalue()
