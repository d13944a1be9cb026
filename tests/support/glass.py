"""Glass with tissue, pen and a label on it, seen by a scan of a part of it and by an overview.

What lies on it is drawn in millimeters of the slide, so that any two views of it agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pydicom.valuerep import DSfloat
from tiny_slides import FRAME_OF_REFERENCE, Edit, write_level

from inference.types import SlideGeometry

Color = tuple[int, int, int]
LENGTH_MM, WIDTH_MM = 75.0, 25.0
GLASS: Color = (243, 243, 242)
PINK: Color = (214, 140, 178)
PURPLE: Color = (168, 128, 176)
PALE: Color = (232, 212, 228)
SCAN_UM = 8.0

ORIENTATIONS = tuple(
    (*right, 0.0, *down, 0.0)
    for right in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    for down in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    if right[0] * down[0] + right[1] * down[1] == 0
)
"""Eight ways to hold a slide, four of them in a mirror."""


@dataclass(frozen=True)
class Ellipse:
    """Tissue, a drop or a dot of pen."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    color: Color

    def covers(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        across, along = (x - self.x) / self.radius_x, (y - self.y) / self.radius_y
        # No tissue has a smooth outline.
        bumps = 1 + 0.08 * np.sin(7 * np.arctan2(along, across))
        return across**2 + along**2 <= bumps

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Least x and y, largest x and y."""
        x, y = 1.1 * self.radius_x, 1.1 * self.radius_y
        return self.x - x, self.y - y, self.x + x, self.y + y

    @property
    def area_mm2(self) -> float:
        return float(np.pi * self.radius_x * self.radius_y)


@dataclass(frozen=True)
class Block:
    """A label, a letter on it, an edge, or the black around the glass."""

    left: float
    top: float
    right: float
    bottom: float
    color: Color

    def covers(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (x >= self.left) & (x < self.right) & (y >= self.top) & (y < self.bottom)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Least x and y, largest x and y."""
        return self.left, self.top, self.right, self.bottom


Shape = Ellipse | Block


def placed(
    box: tuple[float, float, float, float],
    spacing_mm: tuple[float, float],
    orientation: tuple[float, ...],
    frame_of_reference: str = FRAME_OF_REFERENCE,
) -> SlideGeometry:
    """The matrix that covers x from box[0] to box[2] and y from box[1] to box[3], held so."""
    a, b, c, d, e, f = orientation
    x_mm = box[0] if a + d > 0 else box[2]
    y_mm = box[1] if b + e > 0 else box[3]
    across, along = box[2] - box[0], box[3] - box[1]
    width, height = (across, along) if a else (along, across)
    rows, cols = round(height / spacing_mm[0]), round(width / spacing_mm[1])
    return SlideGeometry(
        frame_of_reference, x_mm, y_mm, (a, b, c, d, e, f), *spacing_mm, rows, cols
    )


def view(
    geometry: SlideGeometry, shapes: Sequence[Shape], glass: Color = GLASS, *, seed: int = 1
) -> NDArray[np.uint8]:
    """RGB [rows, cols, 3] of the shapes, later ones over earlier ones, with grain."""
    right, down = np.array(geometry.orientation).reshape(2, 3)[:, :2]
    rng = np.random.default_rng(seed)
    found = np.empty((geometry.rows, geometry.cols, 3), np.float32)
    found[:] = np.array(glass) + rng.integers(-1, 2, (*found.shape[:2], 1), np.int8)
    for shape in shapes:
        first, last = _rectangle(geometry, shape.box)
        rows = (np.arange(first[0], last[0]) + 0.5)[:, None] * geometry.spacing_row_mm
        cols = (np.arange(first[1], last[1]) + 0.5)[None] * geometry.spacing_col_mm
        x = geometry.origin_x_mm + right[0] * cols + down[0] * rows
        y = geometry.origin_y_mm + right[1] * cols + down[1] * rows
        where = shape.covers(x, y)
        part = found[first[0] : last[0], first[1] : last[1]]
        color = np.array(shape.color) * (np.array(glass) / np.array(GLASS))
        part[where] = color + rng.integers(-8, 9, (int(where.sum()), 1))
    return np.clip(found, 0, 255).astype(np.uint8)


def _rectangle(
    geometry: SlideGeometry, box: tuple[float, float, float, float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 (row, column) of a box of the slide in a matrix."""
    right, down = np.array(geometry.orientation).reshape(2, 3)[:, :2]
    corners = np.array([(x, y) for x in box[::2] for y in box[1::2]])
    off = corners - (geometry.origin_x_mm, geometry.origin_y_mm)
    sides = []
    for places, size in (
        (off @ down / geometry.spacing_row_mm, geometry.rows),
        (off @ right / geometry.spacing_col_mm, geometry.cols),
    ):
        low, high = np.clip((np.floor(places.min()), np.ceil(places.max())), 0, size)
        sides.append((int(low), int(high)))
    return (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])


def write_view(
    path: Path,
    geometry: SlideGeometry,
    pixels: NDArray[np.uint8],
    flavor: str,
    edit: Edit | None = None,
    *,
    frame: tuple[int, int] | None = None,
) -> Path:
    """An image of these pixels that lies where the geometry says."""

    def state(header: Dataset) -> None:
        header.FrameOfReferenceUID = geometry.frame_of_reference_uid
        header.ImageOrientationSlide = list(geometry.orientation)
        origin = header.TotalPixelMatrixOriginSequence[0]
        origin.XOffsetInSlideCoordinateSystem = DSfloat(geometry.origin_x_mm, auto_format=True)
        origin.YOffsetInSlideCoordinateSystem = DSfloat(geometry.origin_y_mm, auto_format=True)
        measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = [geometry.spacing_row_mm, geometry.spacing_col_mm]
        header.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        for keyword in ("ImagedVolumeWidth", "ImagedVolumeHeight"):
            header.pop(keyword, None)
        if edit is not None:
            edit(header)

    syntax = ExplicitVRLittleEndian if flavor == "VOLUME" else JPEGBaseline8Bit
    return write_level(
        path, pixels, frame=frame or pixels.shape[:2], flavor=flavor, syntax=syntax, edit=state
    )
