"""The OVERVIEW images of a slide: those that say where they lie, and their pixels.

A label is never looked at. An overview decides nothing, so whatever is wrong with it, there is none
then: this module raises nothing for what a file holds. A file that cannot be read now is another
matter: the report must not depend on it, so OSError passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from inference.errors import FramesUnreadable
from inference.slide.attributes import BadValue
from inference.slide.claims.placement import read_placement
from inference.slide.claims.spacing import read_spacings
from inference.slide.images import SlideImage
from inference.slide.levels import LevelFault, open_picture
from inference.slide.rules import color, geometry, positions, scale
from inference.slide.slide import Slide
from inference.tissue.view import reduced_view
from inference.types import SlideGeometry

VIEW_MM = 0.1
"""Wanted size of a pixel of the view: a piece of 1 mm2 has 100 of them."""
SPACING_MM = (0.002, 0.15)
"""Plausible size of a pixel of an overview: finer ones are scans, in coarser ones small pieces of
tissue have too few pixels."""
MOST_UNEQUAL = 2.0
"""Largest ratio of its row and column spacing."""
SIZE_MM = (5.0, 250.0)
"""Plausible length of its sides; the largest slides have 0.2 m."""
MOST_PX = 1 << 24
"""The largest overview that is decoded: cameras for them have less than 10 megapixels."""
MOST_VIEW_PX = 1 << 20
"""A larger view is reduced further; that of a usual slide has a fifth of it."""
MOST_OVERVIEWS = 2
"""So many are looked at, largest first."""
_RULES = (
    color.colors_that_cannot_be_decoded,
    color.samples_that_are_no_color,
    positions.parts_differ,
    positions.parts_apart,
    positions.frames_missing,
    positions.places_missing,
    scale.volume_of_another_scale,
    geometry.matrix_missing,
)


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """A view of the glass, and where it says to lie."""

    rgb: NDArray[np.uint8]
    """[h, w, 3]"""
    factor: int
    """Rows, and columns, of its total pixel matrix to one of the view."""
    geometry: SlideGeometry
    """Of its total pixel matrix."""

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """(row, col) size of a pixel of the view."""
        found = self.geometry
        return found.spacing_row_mm * self.factor, found.spacing_col_mm * self.factor


def read_overviews(slide: Slide) -> Iterator[Overview]:
    """The overviews of a slide that lie in the frame of reference of its scan."""
    placed = [_placed(image) for image in slide.images_of("OVERVIEW")]
    there = [image for image in placed if image and _is_beside(image, slide.geometry)]
    for image in there[:MOST_OVERVIEWS]:
        overview = _read(image)
        if overview is not None:
            yield overview


def _placed(image: SlideImage) -> SlideImage | None:
    """The image with what it says of its place, which is not asked before; None where that, or
    anything else in its header, is no sound claim."""
    try:
        spacings = read_spacings(image.dataset, image.header, frozenset())
        placement = read_placement(image.dataset, image.header)
        found = replace(
            image,
            spacings=spacings,
            placement=placement,
            geometry=placement.geometry(image.header, spacings.best),
        )
        is_sound = found.geometry is not None and not any(rule(found) for rule in _RULES)
    except (BadValue, ArithmeticError):
        return None
    return found if is_sound else None


def _is_beside(image: SlideImage, scan: SlideGeometry) -> bool:
    """Whether it is a picture of a plausible size in the frame of reference of the scan."""
    found, header = image.geometry, image.header
    if found is None or found.frame_of_reference_uid != scan.frame_of_reference_uid:
        return False
    spacings = found.spacing_row_mm, found.spacing_col_mm
    sizes = found.rows * spacings[0], found.cols * spacings[1]
    stored_px = header.cells * header.frame_rows * header.frame_cols
    return (
        all(SPACING_MM[0] <= spacing <= SPACING_MM[1] for spacing in spacings)
        and max(spacings) <= MOST_UNEQUAL * min(spacings)
        and all(SIZE_MM[0] <= size <= SIZE_MM[1] for size in sizes)
        and found.rows * found.cols <= MOST_PX
        and stored_px <= MOST_PX
        and all(part.found >= part.frames for part in image.parts)
    )


def _read(image: SlideImage) -> Overview | None:
    place = image.geometry
    if place is None:
        raise AssertionError("asked of placed images only")
    coarser = max(place.spacing_row_mm, place.spacing_col_mm)
    factor = max(1, round(VIEW_MM / coarser))
    factor = max(factor, ceil((place.rows * place.cols / MOST_VIEW_PX) ** 0.5))
    try:
        with ExitStack() as files:
            return Overview(reduced_view(open_picture(image, files), factor), factor, place)
    except (LevelFault, FramesUnreadable):  # it is not needed
        return None
