"""What the header of a slide must state before a tile is cut: every rule, in order.

Each sentence says what was found and what is needed.
"""

from __future__ import annotations

from collections.abc import Callable

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

from inference.slide.images import SlideImage
from inference.slide.terms import photometric_name, uid_name
from inference.types import Reason

PLAUSIBLE_MPP = (0.05, 10.0)
"""Brightfield scanners give 0.1 to 8 um per pixel; a wrong unit gives 1000 times that."""
LARGEST_ANISOTROPY = 0.02
"""Relative difference of row and column spacing above which square cells would be wrong."""

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


def header_refusal(image: SlideImage) -> tuple[Reason, str] | None:
    """The first rule that the header of the base image breaks."""
    for reason, rule in _HEADER_RULES:
        sentence = rule(image)
        if sentence:
            return reason, sentence
    return None


def colors_to_convert(syntax: UID, photometric: str) -> bool | None:
    """Whether decoded samples are still YCbCr; None where the pair cannot be decoded safely."""
    if photometric == "RGB" or syntax in _DECODED_TO_RGB.get(photometric, ()):
        return False
    return True if syntax in _DECODED_TO_YCBCR.get(photometric, ()) else None


def _spacing_missing(image: SlideImage) -> str | None:
    if image.spacing_mm is None:
        return "The slide states neither Pixel Spacing nor the size of the imaged volume."
    return None


def _spacing_implausible(image: SlideImage) -> str | None:
    row, col = image.spacing_mm or (0.0, 0.0)
    low, high = PLAUSIBLE_MPP
    if not (low <= row * 1000 <= high and low <= col * 1000 <= high):
        return (
            f"Pixel Spacing is {row * 1000:g} x {col * 1000:g} um; plausible is {low:g} to {high:g}"
            " um."
        )
    if abs(row - col) > LARGEST_ANISOTROPY * min(row, col):
        return f"Pixels are not square: {row * 1000:g} um by {col * 1000:g} um."
    return None


def _geometry(image: SlideImage) -> str | None:
    if image.header.rows < 1 or image.header.cols < 1:
        return "The size of the total pixel matrix is not stated."
    if image.geometry is None:
        return (
            "The slide does not fully state where it lies: origin, orientation and frame of "
            "reference are needed."
        )
    return None


def _photometric(image: SlideImage) -> str | None:
    syntax = image.transfer_syntax
    if colors_to_convert(syntax, image.photometric) is not None:
        return None
    known = [name for name in ("RGB", *_YBR) if colors_to_convert(syntax, name) is not None]
    return (
        f"Photometric Interpretation is {photometric_name(image.photometric)} in "
        f"{uid_name(syntax)}; in that coding color images are {' or '.join(known)}."
    )


def _pixel_format(image: SlideImage) -> str | None:
    samples = image.header.samples, image.header.bits_allocated, image.bits_stored
    if samples != (3, 8, 8):
        return f"Found samples, bits allocated, bits stored {samples}; expected (3, 8, 8)."
    if image.header.frame_rows < 1 or image.header.frame_cols < 1:
        return "The size of the frames is not stated."
    if image.optical_paths > 1:
        return "The slide has several optical paths; a single brightfield path is needed."
    return None


_HEADER_RULES: tuple[tuple[Reason, Callable[[SlideImage], str | None]], ...] = (
    (Reason.PHOTOMETRIC_INTERPRETATION, _photometric),
    (Reason.PIXEL_FORMAT, _pixel_format),
    (Reason.SPACING_MISSING, _spacing_missing),
    (Reason.SPACING_IMPLAUSIBLE, _spacing_implausible),
    (Reason.GEOMETRY_MISSING, _geometry),
)
