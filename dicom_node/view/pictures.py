"""Pictures of a slide and of the heatmap over it, the heatmap placed by its own attributes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread

from inference.heatmap import COLORS, color
from inference.slide.frames import Level, read_rectangles
from inference.slide.slide import Slide
from inference.types import SlideGeometry

COLOR_BAR_CSS = ", ".join(f"rgb({int(r)},{int(g)},{int(b)})" for r, g, b in COLORS)


@dataclass(frozen=True, slots=True)
class HeatmapPicture:
    """A heatmap on the pixels of a slide's picture."""

    pixels: NDArray[np.uint8]
    """RGBA [H, W, 4]; transparent where nothing was analyzed."""
    name: str
    description: str
    lowest: float
    highest: float


def thumbnail(slide: Slide, width_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of the whole slide, at least `width_px` wide where the slide is.

    Reads a strip at a time: memory stays flat even where only a large level exists.
    """
    wide = [level for level in slide.levels if level.cols >= width_px]
    level = min(wide or slide.levels, key=lambda v: v.cols)
    factor = max(1, level.cols // width_px)
    height = factor * max(1, level.frame_rows // factor)
    tops = np.arange(0, level.rows, height)
    strips = np.array([(top, 0, min(top + height, level.rows), level.cols) for top in tops])
    return np.concatenate(
        [np.asarray(Image.fromarray(s).reduce(factor)) for s in read_rectangles(level, strips)]
    )


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


def heatmap(seg_path: Path, geometry: SlideGeometry, shape: tuple[int, int]) -> HeatmapPicture:
    """The first segment of a Segmentation on a picture [H, W] that shows the whole slide.

    Each pixel is looked up by its place on the slide, through the Segmentation's own origin,
    orientation and spacing. Raises ValueError when it lies in another frame of reference.
    """
    seg = hd.seg.segread(seg_path)
    if seg.FrameOfReferenceUID != geometry.frame_of_reference_uid:
        raise ValueError(
            f"{seg_path}: frame of reference {seg.FrameOfReferenceUID}, "
            f"expected the slide's, {geometry.frame_of_reference_uid}"
        )
    values = seg.get_total_pixel_matrix(rescale_fractional=True)[..., 0]
    found = _look_up(values, _geometry(seg), geometry, shape)
    analyzed = found > 0
    colors = np.zeros((*shape, 4), np.uint8)
    colors[..., :3] = color(found.astype(np.float32))
    colors[..., 3] = np.where(analyzed, 255, 0)
    segment = seg.SegmentSequence[0]
    return HeatmapPicture(
        pixels=colors,
        name=str(segment.SegmentLabel),
        description=str(segment.get("SegmentDescription", "")),
        lowest=float(values[values > 0].min(initial=1.0)),
        highest=float(values.max()),
    )


def data_uri(pixels: NDArray[np.uint8], kind: str) -> str:
    """An image as a data URI; `kind` is "jpeg" or "png"."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind.upper(), quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def header_of(paths: Sequence[Path], report: Dataset) -> Dataset:
    """Header, without pixel data, of the file that a report is of; of the widest where it names
    none of them."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    evidence = {
        str(image.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    named = [header for header in headers if str(header.SOPInstanceUID) in evidence]
    return max(named or headers, key=lambda ds: int(ds.get("TotalPixelMatrixColumns") or 0))


def _geometry(seg: Dataset) -> SlideGeometry:
    """Where the Segmentation says it lies."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    origin = seg.TotalPixelMatrixOriginSequence[0]
    a, b, c, d, e, f = (float(v) for v in seg.ImageOrientationSlide)
    return SlideGeometry(
        frame_of_reference_uid=str(seg.FrameOfReferenceUID),
        origin_x_mm=float(origin.XOffsetInSlideCoordinateSystem),
        origin_y_mm=float(origin.YOffsetInSlideCoordinateSystem),
        orientation=(a, b, c, d, e, f),
        spacing_row_mm=float(spacing[0]),
        spacing_col_mm=float(spacing[1]),
        rows=int(seg.TotalPixelMatrixRows),
        cols=int(seg.TotalPixelMatrixColumns),
    )


def _look_up(
    values: NDArray[np.float64], theirs: SlideGeometry, ours: SlideGeometry, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Values [H, W] under the pixel centers of a picture of the whole slide; 0 outside."""
    row = (np.arange(shape[0]) + 0.5) * ours.rows / shape[0]
    col = (np.arange(shape[1]) + 0.5) * ours.cols / shape[1]
    grid = np.stack(np.meshgrid(row, col, indexing="ij"), -1).reshape(-1, 2)
    down = np.array(ours.orientation[3:5]) * ours.spacing_row_mm
    right = np.array(ours.orientation[:2]) * ours.spacing_col_mm
    points_mm = (ours.origin_x_mm, ours.origin_y_mm) + grid[:, :1] * down + grid[:, 1:] * right
    r, c = np.floor(to_pixels(theirs, points_mm)).astype(int).T
    inside = (r >= 0) & (r < values.shape[0]) & (c >= 0) & (c < values.shape[1])
    found = np.zeros(len(grid))
    found[inside] = values[r[inside], c[inside]]
    return found.reshape(shape)
