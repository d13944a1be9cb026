"""Geometry rules: where a matrix lies on the slide, and that levels show the same place."""

from __future__ import annotations

from inference.slide.claims.placement import FARTHEST_MM
from inference.slide.images import SlideImage
from inference.slide.terms import is_uid

SAME_ORIGIN_MM = 0.02
"""Levels whose origins differ by less (and by less than a pixel) show the same place: writers
differ in whether the origin is the corner or the center of the first pixel."""

LARGEST_MM = 300.0
"""The largest slides have 0.2 m; a larger matrix is in another unit, or no count of pixels."""


def matrix_missing(image: SlideImage) -> str | None:
    """The total pixel matrix has a size."""
    if image.header.rows < 1 or image.header.cols < 1:
        return (
            "The size of the total pixel matrix is not stated; Total Pixel Matrix Rows and Columns "
            "are needed."
        )
    return None


def matrix_absurd(image: SlideImage) -> str | None:
    """The matrix is not larger than any slide; a sparse one may state any size."""
    if image.spacing_mm is None:
        return None
    header, (row, col) = image.header, image.spacing_mm
    height, width = header.rows * row, header.cols * col
    if max(height, width) <= LARGEST_MM:
        return None
    return (
        f"The total pixel matrix of {image.pixels} covers {height:.4g} x {width:.4g} mm; up to "
        f"{LARGEST_MM:g} mm are plausible. Its size or Pixel Spacing is wrong."
    )


def placement_missing(image: SlideImage) -> str | None:
    """Origin, orientation and frame of reference say where the matrix lies."""
    missing = image.placement.missing
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return (
            f"The slide does not say where it lies: {_listed(missing)} {verb} missing; results "
            "cannot be placed without."
        )
    if not is_uid(image.placement.frame_of_reference):
        return "The frame of reference is named by an illegal UID; results cannot be placed in it."
    return None


def directions_degenerate(image: SlideImage) -> str | None:
    """The orientation is two directions of unit length at a right angle."""
    if image.placement.has_directions:
        return None
    return (
        "The image orientation is none: its rows and columns have to be directions of length 1, at "
        "a right angle and in the plane of the slide."
    )


def origin_absurd(image: SlideImage) -> str | None:
    """The origin is on a slide, or near it."""
    if image.placement.is_near:
        return None
    x_mm, y_mm = image.placement.x_mm or 0.0, image.placement.y_mm or 0.0
    return (
        f"The origin of the image lies {max(abs(x_mm), abs(y_mm)):g} mm from that of the slide; "
        f"up to {FARTHEST_MM:g} mm are plausible. It may be stated in another unit than mm."
    )


def misplaced(image: SlideImage, base: SlideImage) -> str | None:
    """A level shows the same place as the base level."""
    here, there = image.geometry, base.geometry
    if here is None or there is None:
        return "It does not state where it lies."
    if here.frame_of_reference_uid != there.frame_of_reference_uid:
        return "It has another frame of reference than the base level."
    near = max(SAME_ORIGIN_MM, here.spacing_row_mm)
    shift = max(
        abs(here.origin_x_mm - there.origin_x_mm), abs(here.origin_y_mm - there.origin_y_mm)
    )
    turn = max(abs(a - b) for a, b in zip(here.orientation, there.orientation, strict=True))
    if shift > near or turn > 1e-3:
        return "It shows another place of the slide than the base level."
    for own, all_of_it, spacing in (
        (here.rows * here.spacing_row_mm, there.rows * there.spacing_row_mm, here.spacing_row_mm),
        (here.cols * here.spacing_col_mm, there.cols * there.spacing_col_mm, here.spacing_col_mm),
    ):
        if abs(own - all_of_it) > 2 * spacing + 0.005 * all_of_it:
            return f"It covers {own:.3f} mm where the base level covers {all_of_it:.3f} mm."
    return None


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
