"""Where the matrix of an image lies on the slide, as far as it says so."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from pydicom import Dataset

from inference.slide.attributes import decimal, decimals, first
from inference.slide.claims.spacing import Pair
from inference.slide.headers import ImageHeader
from inference.slide.terms import is_uid
from inference.types import SlideGeometry

RIGHT_ANGLE = 1e-3
"""How far the two directions of an image may be from unit length and from a right angle."""
FARTHEST_MM = 1000.0
"""The largest slides have 0.2 m; an origin farther away is in another unit than mm."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What an image says of its place (PS3.3 C.8.12.4); None, or '', where it does not."""

    frame_of_reference: str = ""
    x_mm: float | None = None
    y_mm: float | None = None
    z_um: float | None = None
    """Height of the (first) focal plane above the slide."""
    orientation: tuple[float, ...] = ()
    """ImageOrientationSlide: six numbers, or what stands there."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not stated, in words."""
        stated = {
            "the origin of the total pixel matrix": self.x_mm is not None and self.y_mm is not None,
            "the image orientation": len(self.orientation) == 6,
            "the frame of reference": bool(self.frame_of_reference),
        }
        return tuple(name for name, is_there in stated.items() if not is_there)

    @property
    def has_directions(self) -> bool:
        """Whether the orientation is two directions of unit length, at a right angle, in the plane
        of the slide."""
        if len(self.orientation) != 6 or not all(map(isfinite, self.orientation)):
            return False
        right, down = self.orientation[:3], self.orientation[3:]
        lengths = [sum(v * v for v in vector) ** 0.5 for vector in (right, down)]
        product = sum(r * d for r, d in zip(right, down, strict=True))
        errors = (lengths[0] - 1, lengths[1] - 1, product, right[2], down[2])
        return all(abs(error) <= RIGHT_ANGLE for error in errors)

    @property
    def is_near(self) -> bool:
        """Whether the origin is on the slide, or not far from it."""
        return all(abs(v) <= FARTHEST_MM for v in (self.x_mm or 0.0, self.y_mm or 0.0))

    def geometry(self, header: ImageHeader, spacing: Pair | None) -> SlideGeometry | None:
        """The geometry of the matrix; None unless all of it is stated and of sense."""
        if self.missing or spacing is None or not (self.has_directions and self.is_near):
            return None
        if self.x_mm is None or self.y_mm is None or not is_uid(self.frame_of_reference):
            return None
        a, b, c, d, e, f = self.orientation
        return SlideGeometry(
            frame_of_reference_uid=self.frame_of_reference,
            origin_x_mm=self.x_mm,
            origin_y_mm=self.y_mm,
            orientation=(a, b, c, d, e, f),
            spacing_row_mm=spacing[0],
            spacing_col_mm=spacing[1],
            rows=header.rows,
            cols=header.cols,
        )


def read_placement(dataset: Dataset, header: ImageHeader) -> Placement:
    """What the header of an image says. Raises BadValue."""
    origin = first(dataset, "TotalPixelMatrixOriginSequence")
    shared = first(dataset, "SharedFunctionalGroupsSequence")
    plane = first(shared, "PlanePositionSlideSequence")
    z_um = decimal(origin, "ZOffsetInSlideCoordinateSystem")
    return Placement(
        frame_of_reference=header.frame_of_reference,
        x_mm=decimal(origin, "XOffsetInSlideCoordinateSystem"),
        y_mm=decimal(origin, "YOffsetInSlideCoordinateSystem"),
        z_um=decimal(plane, "ZOffsetInSlideCoordinateSystem") if z_um is None else z_um,
        orientation=decimals(dataset, "ImageOrientationSlide"),
    )
