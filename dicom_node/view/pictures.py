"""Pictures of a slide: the whole of it, a patch of it, and where a place on it lies in them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_node.view.items import evidence_of
from inference.overview import reduced
from inference.slide.frames import Level, read_rectangles
from inference.slide.slide import Slide
from inference.types import SlideGeometry


def thumbnail(slide: Slide, width_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of the whole slide, at least `width_px` wide where the slide is."""
    wide = [level for level in slide.levels if level.cols >= width_px]
    level = min(wide or slide.levels, key=lambda v: v.cols)
    return reduced(level, max(1, level.cols // width_px))


def patch(slide: Slide, outline_px: NDArray[np.float64], side_px: int) -> NDArray[np.uint8]:
    """RGB [side_px, side_px, 3] of the box around base-level points [K, 2] (row, col)."""
    level: Level = slide.levels[0]
    top, left = np.rint(outline_px.min(0)).astype(int)
    bottom, right = np.rint(outline_px.max(0)).astype(int)
    box = np.array([(top, left, max(bottom, top + 1), max(right, left + 1))])
    pixels = next(iter(read_rectangles(level, box)))
    return np.asarray(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.LANCZOS))


def to_pixels(geometry: SlideGeometry, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(row, col) [K, 2] of the base level at (x_mm, y_mm) [K, 2]: the inverse of to_slide_mm."""
    columns = np.array(geometry.orientation[:3]) * geometry.spacing_col_mm
    rows = np.array(geometry.orientation[3:]) * geometry.spacing_row_mm
    origin = (geometry.origin_x_mm, geometry.origin_y_mm)
    return np.linalg.solve(np.array([rows[:2], columns[:2]]).T, (points_mm - origin).T).T


def data_uri(pixels: NDArray[np.uint8], kind: str) -> str:
    """An image as a data URI; `kind` is "jpeg" or "png"."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind.upper(), quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def header_of(paths: Sequence[Path], report: Dataset) -> Dataset:
    """Header, without pixel data, of the file that a report is of; of the widest where it names
    none of them."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    evidence = evidence_of(report)
    named = [header for header in headers if str(header.SOPInstanceUID) in evidence]
    return max(named or headers, key=lambda ds: int(ds.get("TotalPixelMatrixColumns") or 0))
