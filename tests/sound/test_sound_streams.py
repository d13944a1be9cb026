"""Sound slides in every codec and encapsulation: the right colors in the right place."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from letters import Drawn, Encode, Pixels
from PIL import Image as Picture
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)
from tiny_slides import jpeg

Condition = Callable[[Drawn], None]


def coded(encode: Encode, syntax: UID, photometric: str, *levels: int) -> Condition:
    """Levels, or all, in another coding."""

    def change(slide: Drawn) -> None:
        for n in levels or range(len(slide.images)):
            slide.images[n].encode(encode, syntax=syntax, photometric=photometric)

    return change


def native(tile: Pixels) -> bytes:
    return tile.tobytes()


def ycbcr(tile: Pixels) -> Pixels:
    return np.asarray(Picture.fromarray(tile).convert("YCbCr"))


def jpeg_2000(*, mct: bool, reversible: bool = True) -> Encode:
    def encode(tile: Pixels) -> bytes:
        level = 0 if reversible else 90
        return bytes(
            imagecodecs.jpeg2k_encode(
                tile, level=level, codecformat="j2k", mct=mct, reversible=reversible
            )
        )

    return encode


def ycbcr_in_jpeg_2000(tile: Pixels) -> bytes:
    return jpeg_2000(mct=False)(ycbcr(tile))


def htj2k(*, reversible: bool) -> Encode:
    def encode(tile: Pixels) -> bytes:
        found: bytes = imagecodecs.htj2k_encode(tile, reversible=reversible)
        return bytes(found)

    return encode


def rle(photometric: str) -> Encode:
    def encode(tile: Pixels) -> bytes:
        samples = ycbcr(tile) if photometric == "YBR_FULL" else tile
        return bytes(
            RLELosslessEncoder.encode(
                samples.tobytes(),
                rows=tile.shape[0],
                columns=tile.shape[1],
                samples_per_pixel=3,
                bits_allocated=8,
                bits_stored=8,
                pixel_representation=0,
                photometric_interpretation=photometric,
                number_of_frames=1,
                planar_configuration=0,
            )
        )

    return encode


def saved(**options: object) -> Encode:
    """A JPEG as Pillow writes it with these options."""

    def encode(tile: Pixels) -> bytes:
        buffer = BytesIO()
        Picture.fromarray(tile).save(buffer, "JPEG", quality=92, **options)
        return buffer.getvalue()

    return encode


def plain_rgb(*, marked: bool) -> Encode:
    """A JPEG of RGB samples, with the Adobe segment that says so or without any."""

    def encode(tile: Pixels) -> bytes:
        data = bytes(
            imagecodecs.jpeg8_encode(tile, level=92, colorspace="RGB", outcolorspace="RGB")
        )
        at = data.find(b"\xff\xee")
        if not marked and at > 0:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            data = data[:at] + data[at + 2 + length :]
        return data

    return encode


def with_comment(tile: Pixels) -> bytes:
    data = jpeg(tile)
    return data[:2] + b"\xff\xfe\x00\x0cScanner 1\0" + data[2:]


def with_fill(tile: Pixels) -> bytes:
    """Fill bytes in front of a marker (ITU T.81 B.1.1.2)."""
    data = jpeg(tile)
    at = data.index(b"\xff\xdb")
    return data[:at] + b"\xff\xff" + data[at:]


def padded(tile: Pixels) -> bytes:
    return jpeg(tile) + b"\0" * 6


def filled_up(value: int) -> Encode:
    """To a whole number of blocks, as hardware encoders and some file systems have it."""

    def encode(tile: Pixels) -> bytes:
        data = jpeg(tile)
        return data + bytes((value,)) * (4096 - len(data) % 4096)

    return encode


def tabled(table: str, *, fragments: int = 1) -> Condition:
    def change(slide: Drawn) -> None:
        for image in slide.images:
            image.table, image.fragments = table, fragments

    return change


def as_ow(slide: Drawn) -> None:
    """Native pixels as words."""
    coded(native, ExplicitVRLittleEndian, "RGB")(slide)
    for image in slide.images:
        image.rewrite = lambda data: data.replace(b"\xe0\x7f\x10\x00OB", b"\xe0\x7f\x10\x00OW")


def mixed(slide: Drawn) -> None:
    """Each level in a coding of its own."""
    coded(jpeg_2000(mct=True), JPEG2000Lossless, "YBR_RCT", 0)(slide)
    coded(native, ExplicitVRLittleEndian, "RGB", 1)(slide)


JPEGS = JPEGBaseline8Bit
CONDITIONS: dict[str, Condition] = {
    "JPEG 4:4:4": coded(saved(subsampling=0), JPEGS, "YBR_FULL"),
    "JPEG 4:2:2": coded(saved(subsampling=1), JPEGS, "YBR_FULL_422"),
    "JPEG 4:2:0": coded(saved(subsampling=2), JPEGS, "YBR_FULL_422"),
    "JPEG with optimized tables": coded(saved(optimize=True), JPEGS, "YBR_FULL_422"),
    "JPEG with restart markers": coded(saved(restart_marker_rows=1), JPEGS, "YBR_FULL_422"),
    "JPEG with a restart after every block": coded(
        saved(restart_marker_blocks=1), JPEGS, "YBR_FULL_422"
    ),
    "JPEG with a comment": coded(with_comment, JPEGS, "YBR_FULL_422"),
    "JPEG with fill bytes": coded(with_fill, JPEGS, "YBR_FULL_422"),
    "JPEG with padding behind its end": coded(padded, JPEGS, "YBR_FULL_422"),
    "JPEG filled up with zeros": coded(filled_up(0), JPEGS, "YBR_FULL_422"),
    "JPEG filled up with ones": coded(filled_up(255), JPEGS, "YBR_FULL_422"),
    "JPEG extended": coded(jpeg, JPEGExtended12Bit, "YBR_FULL_422"),
    "JPEG extended of RGB, unmarked": coded(plain_rgb(marked=False), JPEGExtended12Bit, "RGB"),
    "JPEG extended of YCbCr beside a header that says RGB": coded(jpeg, JPEGExtended12Bit, "RGB"),
    "JPEG of RGB, marked": coded(plain_rgb(marked=True), JPEGS, "RGB"),
    "JPEG of RGB, unmarked": coded(plain_rgb(marked=False), JPEGS, "RGB"),
    "JPEG of RGB, marked, beside a header that says YCbCr": coded(
        plain_rgb(marked=True), JPEGS, "YBR_FULL_422"
    ),
    "JPEG of YCbCr beside a header that says RGB": coded(jpeg, JPEGS, "RGB"),
    "JPEG 2000 lossless, RGB": coded(jpeg_2000(mct=False), JPEG2000Lossless, "RGB"),
    "JPEG 2000 lossless, RCT": coded(jpeg_2000(mct=True), JPEG2000Lossless, "YBR_RCT"),
    "JPEG 2000, RCT": coded(jpeg_2000(mct=True), JPEG2000, "YBR_RCT"),
    "JPEG 2000, ICT": coded(jpeg_2000(mct=True, reversible=False), JPEG2000, "YBR_ICT"),
    "JPEG 2000, transformed, beside a header that says RGB": coded(
        jpeg_2000(mct=True), JPEG2000, "RGB"
    ),
    "JPEG 2000, YCbCr without a transform": coded(ycbcr_in_jpeg_2000, JPEG2000, "YBR_FULL"),
    "JPEG 2000, YCbCr said to be 4:2:2": coded(ycbcr_in_jpeg_2000, JPEG2000, "YBR_FULL_422"),
    "HTJ2K lossless": coded(htj2k(reversible=True), HTJ2KLossless, "YBR_RCT"),
    "HTJ2K": coded(htj2k(reversible=False), HTJ2K, "YBR_ICT"),
    "JPEG-LS": coded(lambda tile: bytes(imagecodecs.jpegls_encode(tile)), JPEGLSLossless, "RGB"),
    "RLE, RGB": coded(rle("RGB"), RLELossless, "RGB"),
    "RLE, YCbCr": coded(rle("YBR_FULL"), RLELossless, "YBR_FULL"),
    "native, explicit": coded(native, ExplicitVRLittleEndian, "RGB"),
    "native, implicit": coded(native, ImplicitVRLittleEndian, "RGB"),
    "native, in words": as_ow,
    "a coding for each level": mixed,
    "no offset table": tabled("empty"),
    "extended offset table": tabled("extended"),
    "both offset tables": tabled("both"),
    "two fragments a frame": tabled("basic", fragments=2),
    "three fragments a frame": tabled("basic", fragments=3),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_sound_stream_is_analyzed_in_its_colors(
    name: str, is_sound: Callable[[Condition], None]
) -> None:
    is_sound(CONDITIONS[name])
