"""Why a slide is not assessable: every rule, in the order in which they are asked.

The answer is a value that becomes a report. Each sentence says what was found and what is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code as SRCode
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

from engines.manifest import Applicability, Code, Manifest, TileInput
from inference.slide.headers import ImageHeader
from inference.slide.terms import photometric_name, substance_name, uid_name
from inference.types import Reason

PLAUSIBLE_MPP = (0.05, 10.0)
"""Brightfield scanners give 0.1 to 8 um per pixel; a wrong unit gives 1000 times that."""
LARGEST_ANISOTROPY = 0.02
"""Relative difference of row and column spacing above which square cells would be wrong."""
ROUNDING = 1e-5
"""How far a probability may leave [0, 1] by rounding; it is clipped."""
SURVIVAL_RISE = 1e-4
"""Rounding allowed in a survival curve, which cannot rise."""

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
_DECODED_TO_YCBCR = {"YBR_FULL": _JPEG_2000 | {RLELossless}}


def header_refusal(image: ImageHeader) -> tuple[Reason, str] | None:
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


def magnification_refusal(base_mpp: float, wanted: TileInput) -> tuple[Reason, str] | None:
    """SPACING_TOO_COARSE when the slide has less detail than the model needs."""
    coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
    if base_mpp <= coarsest:
        return None
    return Reason.SPACING_TOO_COARSE, (
        f"The finest level has {base_mpp:.3f} um per pixel; the model needs {coarsest:.3f} or less."
    )


def stain_refusal(
    stated: Sequence[SRCode], applicability: Applicability
) -> tuple[tuple[Reason, str] | None, tuple[str, ...]]:
    """Refusal when a stated stain is not one of the model's, and warnings when none is stated.

    Every coded substance must be among the model's stains: hematoxylin is in an
    immunohistochemistry slide too. Free text is not interpreted.
    """
    if not applicability.stains:
        return None, ()
    known = ", ".join(stain.meaning for stain in applicability.stains)
    if not stated:
        return None, (f"The stain is not stated in the slide; the model is made for {known}.",)
    foreign = [code for code in stated if not any(_same(code, s) for s in applicability.stains)]
    if not foreign:
        return None, ()
    names = ", ".join(dict.fromkeys(substance_name(code) for code in foreign))
    return (Reason.STAIN, f"The slide is stained with {names}; the model is made for {known}."), ()


def tissue_refusal(
    tissue_mm2: float, tiles: int, applicability: Applicability
) -> tuple[Reason, str] | None:
    """NO_TISSUE, or TOO_LITTLE_TISSUE for what the model needs."""
    if tissue_mm2 <= 0:
        return Reason.NO_TISSUE, "No tissue was found on the slide."
    if tissue_mm2 < applicability.minimum_tissue_mm2:
        return Reason.TOO_LITTLE_TISSUE, (
            f"{tissue_mm2:.2f} mm2 of tissue was found; the model needs "
            f"{applicability.minimum_tissue_mm2:g} mm2."
        )
    if tiles < applicability.minimum_tiles:
        return Reason.TOO_LITTLE_TISSUE, (
            f"{tiles} fields with enough tissue were found; the model needs "
            f"{applicability.minimum_tiles}."
        )
    return None


def output_refusal(
    manifest: Manifest,
    slide_outputs: Mapping[str, NDArray[np.float32]],
    heatmaps: Mapping[str, NDArray[np.float32]],
) -> tuple[Reason, str] | None:
    """MODEL_OUTPUT when a number is missing, infinite or outside of its range.

    `slide_outputs` by tensor name of the aggregator; `heatmaps` [N] by output name.
    """
    ranges = [(s.name, slide_outputs[s.tensor], -inf, inf) for s in manifest.scores]
    ranges += [(s.name, slide_outputs[s.tensor], 0.0, 1.0) for s in manifest.survivals]
    ranges += [(h.name, heatmaps[h.name], 0.0, 1.0) for h in manifest.heatmaps]
    for name, values, low, high in ranges:
        if not np.all(np.isfinite(values)):
            return Reason.MODEL_OUTPUT, f"The model gave a value for {name} that is no number."
        if np.any(values < low - ROUNDING) or np.any(values > high + ROUNDING):
            return Reason.MODEL_OUTPUT, (
                f"The model gave {float(values.min()):g} to {float(values.max()):g} for {name}; "
                f"expected {low:g} to {high:g}."
            )
    for survival in manifest.survivals:
        if np.any(np.diff(slide_outputs[survival.tensor].ravel()) > SURVIVAL_RISE):
            return Reason.MODEL_OUTPUT, f"The model gave a curve for {survival.name} that rises."
    return None


def _spacing_missing(image: ImageHeader) -> str | None:
    if image.spacing_mm is None:
        return "The slide states neither Pixel Spacing nor the size of the imaged volume."
    return None


def _spacing_implausible(image: ImageHeader) -> str | None:
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


def _geometry(image: ImageHeader) -> str | None:
    if image.rows < 1 or image.cols < 1:
        return "The size of the total pixel matrix is not stated."
    if image.geometry is None:
        return (
            "The slide does not fully state where it lies: origin, orientation and frame of "
            "reference are needed."
        )
    return None


def _photometric(image: ImageHeader) -> str | None:
    if colors_to_convert(image.transfer_syntax, image.photometric) is None:
        return (
            f"Photometric Interpretation is {photometric_name(image.photometric)} in "
            f"{uid_name(image.transfer_syntax)}; color images are needed: RGB, YBR_FULL, "
            "YBR_FULL_422, YBR_ICT, or YBR_RCT as their transfer syntax allows."
        )
    return None


def _pixel_format(image: ImageHeader) -> str | None:
    if image.samples != (3, 8, 8):
        return f"Found samples, bits allocated, bits stored {image.samples}; expected (3, 8, 8)."
    if image.frame_rows < 1 or image.frame_cols < 1:
        return "The size of the frames is not stated."
    if image.optical_paths > 1:
        return "The slide has several optical paths; a single brightfield path is needed."
    return None


_HEADER_RULES: tuple[tuple[Reason, Callable[[ImageHeader], str | None]], ...] = (
    (Reason.PHOTOMETRIC_INTERPRETATION, _photometric),
    (Reason.PIXEL_FORMAT, _pixel_format),
    (Reason.SPACING_MISSING, _spacing_missing),
    (Reason.SPACING_IMPLAUSIBLE, _spacing_implausible),
    (Reason.GEOMETRY_MISSING, _geometry),
)


def _same(found: SRCode, wanted: Code) -> bool:
    return bool(found == SRCode(wanted.value, wanted.scheme, wanted.meaning))
