"""Segmentations over the picture of a slide, each placed by its own attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_node.view.items import evidence_of
from dicom_node.view.pictures import to_pixels
from inference.heatmap import color
from inference.outputs.units import for_people
from inference.types import SlideGeometry

CLEAREST, DENSEST = 64, 240
"""Alpha of the lowest and the highest value: low tissue stays readable under its color."""


@dataclass(frozen=True, slots=True)
class HeatmapPicture:
    """A map of values in [0, 1] on the pixels of a slide's picture."""

    pixels: NDArray[np.uint8]
    """RGBA [H, W, 4]; transparent where no value is stored, denser with the value elsewhere."""
    levels: NDArray[np.uint8]
    """[H, W]: 0 where no value is stored, else 1 + 254 times the value."""
    name: str
    """Segment Label."""
    shows: str
    """What a segment of its type is (Segmented Property Type)."""
    tracking: str
    """Tracking ID: the name of the map, which its top patches share."""
    description: str
    lowest: float
    highest: float
    area_mm2: float
    """Of all that has a value."""

    @property
    def is_attention(self) -> bool:
        """Whether it says where a model looked, which is no finding."""
        return "attention" in f"{self.name} {self.shows}".casefold()


@dataclass(frozen=True, slots=True)
class Region:
    """A region with a border: the places a map puts at or above a threshold."""

    name: str
    description: str
    area_mm2: float
    borders: tuple[tuple[tuple[float, float], tuple[float, float]], ...]
    """Straight pieces of its border, each from (row, col) to (row, col) of the base level."""


@dataclass(frozen=True, slots=True)
class Overlays:
    """What the Segmentations of a slide show."""

    heatmaps: tuple[HeatmapPicture, ...]
    """Findings first, where a model looked last."""
    regions: tuple[Region, ...]


def overlays(paths: Sequence[Path], geometry: SlideGeometry, shape: tuple[int, int]) -> Overlays:
    """Every segment of the Segmentations, for a picture [H, W] that shows the whole slide.

    Raises ValueError for one that lies in another frame of reference.
    """
    heatmaps: list[HeatmapPicture] = []
    regions: list[Region] = []
    for path in paths:
        seg = hd.seg.segread(path)
        if seg.SegmentationType == "FRACTIONAL":
            heatmaps += _heatmaps(path, seg, geometry, shape)
        else:
            regions += _regions(path, seg, geometry)
    return Overlays(tuple(sorted(heatmaps, key=lambda heat: heat.is_attention)), tuple(regions))


def of_the_report(report: Dataset, paths: Sequence[Path]) -> list[Path]:
    """Those of the Segmentations that a report names: of several students each has its own."""
    evidence = evidence_of(report)
    uids = {path: dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID for path in paths}
    return [path for path, uid in uids.items() if str(uid) in evidence]


def heatmap(seg_path: Path, geometry: SlideGeometry, shape: tuple[int, int]) -> HeatmapPicture:
    """The first map of a Segmentation; raises ValueError like `overlays`."""
    return next(iter(_heatmaps(seg_path, hd.seg.segread(seg_path), geometry, shape)))


def _heatmaps(
    path: Path, seg: hd.seg.Segmentation, geometry: SlideGeometry, shape: tuple[int, int]
) -> Iterator[HeatmapPicture]:
    """Each pixel of the picture is looked up by its place on the slide, through the
    Segmentation's own origin, orientation and spacing."""
    theirs = geometry_of(path, seg, geometry)
    matrix = seg.get_total_pixel_matrix(rescale_fractional=True)
    at = places_of(theirs, geometry, shape)
    for index, segment in enumerate(seg.SegmentSequence):
        values = matrix[..., index]
        found = look_up(values, at).reshape(shape)
        known = found > 0
        pixels = np.zeros((*shape, 4), np.uint8)
        pixels[..., :3] = color(found.astype(np.float32))
        pixels[..., 3] = np.where(known, CLEAREST + found * (DENSEST - CLEAREST), 0)
        yield HeatmapPicture(
            pixels=pixels,
            levels=np.where(known, np.rint(1 + 254 * found), 0).astype(np.uint8),
            name=str(segment.SegmentLabel),
            shows=_type_of(segment),
            tracking=str(segment.get("TrackingID", "")),
            description=for_people(str(segment.get("SegmentDescription", ""))),
            lowest=float(values[values > 0].min(initial=1.0)),
            highest=float(values.max(initial=0.0)),
            area_mm2=float((values > 0).sum()) * theirs.spacing_row_mm * theirs.spacing_col_mm,
        )


def _regions(path: Path, seg: hd.seg.Segmentation, geometry: SlideGeometry) -> Iterator[Region]:
    theirs = geometry_of(path, seg, geometry)
    numbers = range(1, seg.number_of_segments + 1)
    matrix = seg.get_total_pixel_matrix(combine_segments=False, segment_numbers=list(numbers))
    for index, segment in enumerate(seg.SegmentSequence):
        if class_of(segment):
            continue
        mask = matrix[..., index] > 0
        area = float(mask.sum()) * theirs.spacing_row_mm * theirs.spacing_col_mm
        pieces = np.array(list(border(mask)), np.float64).reshape(-1, 2)
        placed = to_pixels(geometry, _to_mm(theirs, pieces)).reshape(-1, 2, 2)
        yield Region(
            name=str(segment.SegmentLabel),
            description=for_people(str(segment.get("SegmentDescription", ""))),
            area_mm2=area,
            borders=tuple(((a[0], a[1]), (b[0], b[1])) for a, b in placed.tolist()),
        )


def class_of(segment: Dataset) -> tuple[str, str] | None:
    """The map and the class that a segment of classes of tissue is of, by its Tracking ID; None
    for another segment."""
    found = re.fullmatch(r"class (.+?): (.+)", str(segment.get("TrackingID", "")))
    return (found[1], found[2]) if found else None


def border(mask: NDArray[np.bool_]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Straight pieces of the border of a mask [R, C], as long as they are straight, between
    corners (row, col) of its cells: corner (0, 0) is the first cell's."""
    inside = np.pad(mask, 1)
    across = np.diff(inside.astype(np.int8), axis=0)[:, 1:-1]
    along = np.diff(inside.astype(np.int8), axis=1)[1:-1]
    for row, line in enumerate(across):
        yield from (((row, a), (row, b)) for a, b in _runs(line != 0))
    for col, line in enumerate(along.T):
        yield from (((a, col), (b, col)) for a, b in _runs(line != 0))


def _runs(line: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of each run of what is true."""
    edges = np.flatnonzero(np.diff(np.pad(line, 1).astype(np.int8)))
    yield from ((start, end) for start, end in edges.reshape(-1, 2).tolist())


def geometry_of(path: Path, seg: Dataset, slide: SlideGeometry) -> SlideGeometry:
    """Where the Segmentation says it lies; ValueError where that is not on this slide."""
    if seg.FrameOfReferenceUID != slide.frame_of_reference_uid:
        raise ValueError(
            f"{path}: frame of reference {seg.FrameOfReferenceUID}, "
            f"expected the slide's, {slide.frame_of_reference_uid}"
        )
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


def _to_mm(geometry: SlideGeometry, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x_mm, y_mm) [K, 2] on the slide of (row, col) [K, 2], the origin being a corner."""
    down = np.array(geometry.orientation[3:5]) * geometry.spacing_row_mm
    right = np.array(geometry.orientation[:2]) * geometry.spacing_col_mm
    origin = np.array([geometry.origin_x_mm, geometry.origin_y_mm])
    return origin + corners[:, :1] * down + corners[:, 1:] * right


def places_of(
    theirs: SlideGeometry, ours: SlideGeometry, shape: tuple[int, int]
) -> NDArray[np.intp]:
    """(row, col) [H * W, 2] of their matrix under the pixel centers of a picture of the slide."""
    row = (np.arange(shape[0]) + 0.5) * ours.rows / shape[0]
    col = (np.arange(shape[1]) + 0.5) * ours.cols / shape[1]
    grid = np.stack(np.meshgrid(row, col, indexing="ij"), -1).reshape(-1, 2)
    return np.floor(to_pixels(theirs, _to_mm(ours, grid))).astype(np.intp)


def look_up(values: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Values [N] at places [N, 2]; 0 outside."""
    r, c = at.T
    inside = (r >= 0) & (r < values.shape[0]) & (c >= 0) & (c < values.shape[1])
    found = np.zeros(len(at))
    found[inside] = values[r[inside], c[inside]]
    return found


def _type_of(segment: Dataset) -> str:
    codes = segment.get("SegmentedPropertyTypeCodeSequence")
    return str(codes[0].CodeMeaning) if codes else ""
