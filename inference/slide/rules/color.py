"""Color rules: whether what the header says of colors can be decoded as such."""

from __future__ import annotations

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from inference.slide.attributes import BadValue, value
from inference.slide.images import SlideImage
from inference.slide.terms import photometric_name, uid_name

# Transfer syntaxes by the color that their decoders give (PS3.5 8.2)
JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
_JPEG_2000 = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_JPEG_XL = frozenset(UID(f"1.2.840.10008.1.2.4.{n}") for n in (110, 111, 112))
_DECODED_TO_RGB = {
    "YBR_FULL": JPEG | _JPEG_XL,
    "YBR_FULL_422": JPEG | _JPEG_XL,
    "YBR_ICT": _JPEG_2000,
    "YBR_RCT": _JPEG_2000,
}
# JPEG 2000 without a color transform; what it says of itself is believed more (color_claims.py).
# With chroma at half the width since CP-2650.
_DECODED_TO_YCBCR = {"YBR_FULL": _JPEG_2000 | {RLELossless}, "YBR_FULL_422": _JPEG_2000}

_YBR = sorted(_DECODED_TO_RGB)


def colors_to_convert(syntax: UID, photometric: str) -> bool | None:
    """Whether decoded samples are still YCbCr; None where the pair cannot be decoded safely."""
    if photometric == "RGB" or syntax in _DECODED_TO_RGB.get(photometric, ()):
        return False
    return True if syntax in _DECODED_TO_YCBCR.get(photometric, ()) else None


def colors_that_cannot_be_decoded(image: SlideImage) -> str | None:
    """Photometric Interpretation and transfer syntax must be a pair that gives known colors."""
    syntax = image.transfer_syntax
    if colors_to_convert(syntax, image.photometric) is not None:
        return None
    known = [name for name in ("RGB", *_YBR) if colors_to_convert(syntax, name) is not None]
    return (
        f"Photometric Interpretation is {photometric_name(image.photometric)} in "
        f"{uid_name(syntax)}; in that coding color images are {' or '.join(known)}."
    )


def samples_that_are_no_color(image: SlideImage) -> str | None:
    """Three samples of 8 bits and one brightfield path are what the models know."""
    samples = image.header.samples, image.header.bits_allocated, image.bits_stored
    if samples != (3, 8, 8):
        return (
            f"Found {samples[0]} samples per pixel, {samples[1]} bits allocated and {samples[2]} "
            "bits stored; 3, 8 and 8 are needed."
        )
    try:
        is_signed = value(image.dataset, "PixelRepresentation")
        is_planar = value(image.dataset, "PlanarConfiguration")
    except BadValue as bad:
        return f"{bad}."
    if is_signed:
        return "Pixel Representation is 1: its samples are signed; 0 is needed."
    if is_planar and not image.transfer_syntax.is_encapsulated:
        return "Planar Configuration is 1: its samples are stored color by color; 0 is needed."
    if image.header.frame_rows < 1 or image.header.frame_cols < 1:
        return "The size of the frames is not stated."
    if image.optical_paths > 1:
        return "The slide has several optical paths; a single brightfield path is needed."
    return None
