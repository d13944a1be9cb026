"""Scale rules: what one pixel measures, by every source that says so."""

from __future__ import annotations

from inference.slide.claims.spacing import Pair
from inference.slide.images import SlideImage

PLAUSIBLE_MPP = (0.05, 10.0)
"""Brightfield scanners give 0.1 to 8 um per pixel; a wrong unit gives 1000 times that."""
LARGEST_ANISOTROPY = 0.02
"""Relative difference of row and column spacing above which square cells would be wrong."""
LARGEST_CONTRADICTION = 0.03
"""Relative difference of two sources of the scale above which one of them must be wrong."""
OBJECTIVE_UM = 10.0
"""Pixel of a scanner times the power of its objective: 0.25 um at 40x, 0.5 um at 20x."""
OBJECTIVE_RATIOS = (0.35, 1.6)
"""Pixels that sound scanners have, of what OBJECTIVE_UM gives: 0.44 with small camera pixels or a
lens behind the objective, 1.12 at most. A scale that is off by a step of objectives is outside."""
_ROUNDED_PX = 1.5
"""A level's matrix is whole pixels; the volume it images need not be."""
_DEFAULT_MM = 15.0
"""Width and height that a common converter writes where nobody gave it any."""


def spacing_missing(image: SlideImage) -> str | None:
    """Somewhere the slide must say what a pixel measures."""
    if image.spacing_mm is None:
        return (
            "Pixel Spacing stands neither in the shared nor in the per-frame functional groups, "
            "and the size of the imaged volume is not stated; one of them is needed."
        )
    return None


def spacing_implausible(image: SlideImage) -> str | None:
    """A pixel is square and of a size that scanners have."""
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


def frames_of_several_scales(image: SlideImage) -> str | None:
    """Frames, and the shared groups, state one Pixel Spacing."""
    stated = (image.spacings.shared, *image.spacings.of_frames)
    found = [pair for pair in stated if pair is not None]
    if any(_differ(pair, found[0]) for pair in found):
        low, high = min(found), max(found)
        return (
            f"Frames of one image state Pixel Spacing of {_um(low)} and of {_um(high)}; one is "
            "needed."
        )
    return None


def volume_of_another_scale(image: SlideImage) -> str | None:
    """Pixel Spacing times the matrix is the size of the imaged volume."""
    stated, size = image.spacings.stated, image.spacings.imaged_mm
    if stated is None or size is None:
        return None
    matrix = image.header.rows, image.header.cols
    for mm, pixels, spacing in zip(size, matrix, stated, strict=True):
        if abs(mm - pixels * spacing) > LARGEST_CONTRADICTION * mm + _ROUNDED_PX * spacing:
            return (
                f"Pixel Spacing gives the image {matrix[0] * stated[0]:.4g} x "
                f"{matrix[1] * stated[1]:.4g} mm, Imaged Volume Height and Width say "
                f"{size[0]:.4g} x {size[1]:.4g} mm; one of them is wrong."
            )
    return None


def objective_of_another_scale(image: SlideImage) -> str | None:
    """The objective of a scan could have made pixels of this size.

    Asked of the scanner's own pixels only: a slide whose finest levels were not sent still names
    the objective that made them.
    """
    power = image.spacings.objective_power
    if not power or not image.mpp or image.header.is_resampled:
        return None
    usual = OBJECTIVE_UM / power
    low, high = OBJECTIVE_RATIOS
    if power > 0 and not low * usual <= image.mpp <= high * usual:
        return (
            f"Pixels of {image.mpp:.3g} um contradict Objective Lens Power {power:g}, which gives "
            f"about {usual:.2g} um; one of them is wrong."
        )
    return None


def scale_cautions(base: SlideImage) -> tuple[str, ...]:
    """What a reader must know of the scale of a slide that is analyzed."""
    found = []
    if base.spacing_is_derived:
        found.append(
            "Pixel Spacing is missing; it was computed from the size of the imaged volume and the "
            "matrix."
        )
    if base.spacings.imaged_mm == (_DEFAULT_MM, _DEFAULT_MM):
        found.append(
            "The imaged volume is said to be 15 x 15 mm, which converters write where they know "
            "nothing; the scale of the slide, and with it every result, may be wrong."
        )
    return tuple(found)


def _differ(one: Pair, other: Pair) -> bool:
    return any(
        abs(a - b) > LARGEST_CONTRADICTION * max(abs(a), abs(b))
        for a, b in zip(one, other, strict=True)
    )


def _um(pair: Pair) -> str:
    return f"{pair[0] * 1000:g} x {pair[1] * 1000:g} um"
