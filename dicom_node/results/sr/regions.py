"""Regions of measurement groups: outlines and cells in slide coordinates (PS3.3 C.18.9)."""

from __future__ import annotations

import math

import numpy as np
from highdicom.sr import ImageRegion, ImageRegion3D, SourceImageForRegion
from numpy.typing import NDArray
from pydicom import Dataset

from inference.types import Patch, Prediction, SlideGeometry

MAX_POINTS = 4000
"""Graphic Data is FL with a 16-bit length: 65534 bytes hold 5461 points x, y, z (PS3.5 7.1.2)."""


def tissue_outline(result: Prediction) -> ImageRegion3D:
    """Largest outline of the analyzed tissue, a closed line; the whole slide where there is none.

    POLYLINE, since viewers fill a POLYGON and would tint the tissue.
    """
    if not result.tissue_outlines:
        return whole_slide(result.geometry)
    return _region("POLYLINE", _thinned(result.tissue_outlines[0]), result.geometry)


def whole_slide(geometry: SlideGeometry) -> ImageRegion3D:
    """The border of the total pixel matrix, a closed line."""
    return _region("POLYLINE", _rectangle(0, 0, geometry.rows, geometry.cols), geometry)


def is_writable(geometry: SlideGeometry) -> bool:
    """Whether the corners of a slide are numbers of Graphic Data (FL): those of an absurd spacing
    are not."""
    if not (math.isfinite(geometry.spacing_row_mm) and math.isfinite(geometry.spacing_col_mm)):
        return False
    corners = _rectangle(0, 0, geometry.rows, geometry.cols)
    in_mm = np.array([geometry.to_slide_mm(row, col) for row, col in corners])
    return bool((np.abs(in_mm) < np.finfo(np.float32).max).all())


def cell(patch: Patch, result: Prediction) -> ImageRegion3D:
    """One grid cell as a polygon, cut off where the slide ends."""
    top, left = patch.row * result.stride_px, patch.col * result.stride_px
    bottom = min(top + result.stride_px, result.geometry.rows)
    right = min(left + result.stride_px, result.geometry.cols)
    if not (0 <= top < bottom and 0 <= left < right):
        raise ValueError(f"patch {patch}: outside the slide {result.geometry}")
    return _region("POLYGON", _rectangle(top, left, bottom, right), result.geometry)


def whole_image(source: Dataset) -> ImageRegion:
    """The border of the total pixel matrix in pixels of `source`: for slides without a position."""
    rows, cols = int(source.TotalPixelMatrixRows), int(source.TotalPixelMatrixColumns)
    outline = _rectangle(0, 0, rows, cols)
    return ImageRegion(
        graphic_type="POLYLINE",
        graphic_data=outline[:, ::-1].astype(np.float32),  # column, row (PS3.3 C.18.6.1.1)
        source_image=SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
        pixel_origin_interpretation="VOLUME",
    )


def _rectangle(top: float, left: float, bottom: float, right: float) -> NDArray[np.float64]:
    corners = [(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]
    return np.array(corners, dtype=np.float64)


def _thinned(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every n-th point, so that the closed outline [K, 2] fits into one element."""
    step = math.ceil((len(outline) - 1) / (MAX_POINTS - 1))
    return np.vstack([outline[:-1:step], outline[:1]])


def _region(
    graphic_type: str, points_px: NDArray[np.float64], geometry: SlideGeometry
) -> ImageRegion3D:
    """Region through `points_px` [K, 2] (row, col), the last the same as the first."""
    return ImageRegion3D(
        graphic_type=graphic_type,
        graphic_data=np.array([geometry.to_slide_mm(row, col) for row, col in points_px]),
        frame_of_reference_uid=geometry.frame_of_reference_uid,
    )
