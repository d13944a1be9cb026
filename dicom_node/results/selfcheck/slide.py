"""What is laid over a slide lies where viewers put it: they go by origin and spacing alone."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import (
    ParametricMapStorage,
    SegmentationStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from inference.types import SlideGeometry

_TOLERANCE = 1e-4
"""Of a ratio of spacings: what 16 characters of a Decimal String leave."""
_COPIED = ("FrameOfReferenceUID", "ImageOrientationSlide")
_LAID_OVER = (SegmentationStorage, ParametricMapStorage)


def faults(ds: Dataset, source: Dataset, geometry: SlideGeometry | None) -> Iterator[str]:
    """What is wrong with where an image lies; `source` is the header of the slide's base level."""
    if ds.SOPClassUID == VLWholeSlideMicroscopyImageStorage:
        if ds.get("FrameOfReferenceUID") == source.get("FrameOfReferenceUID"):
            yield "FrameOfReferenceUID is the slide's: viewers take it for one of its levels"
        return
    if ds.SOPClassUID not in _LAID_OVER:
        return
    for keyword in _COPIED:
        if ds.get(keyword) != source.get(keyword):
            yield f"{keyword} is not the slide's"
    if _origin(ds) != _origin(source):
        yield "TotalPixelMatrixOriginSequence is not the slide's: viewers ignore any other"
    if geometry is not None:
        yield from _spacing(ds, geometry)
    yield from _places(ds)


def _origin(ds: Dataset) -> tuple[float, ...]:
    items = ds.get("TotalPixelMatrixOriginSequence") or ()
    return tuple(
        float(item.get(f"{axis}OffsetInSlideCoordinateSystem", 0.0))
        for item in items[:1]
        for axis in "XY"
    )


def _spacing(ds: Dataset, geometry: SlideGeometry) -> Iterator[str]:
    groups = ds.get("SharedFunctionalGroupsSequence") or ()
    measures = [m for g in groups[:1] for m in (g.get("PixelMeasuresSequence") or ())[:1]]
    if not measures or not measures[0].get("PixelSpacing"):
        yield "PixelSpacing is missing from the shared functional groups"
        return
    base_mm = (geometry.spacing_row_mm, geometry.spacing_col_mm)
    for found, base in zip(measures[0].PixelSpacing, base_mm, strict=True):
        ratio = float(found) / base
        if round(ratio) < 1 or abs(ratio - round(ratio)) > _TOLERANCE * ratio:
            yield f"PixelSpacing is {ratio:.4f} times the slide's: viewers round it"


def _places(ds: Dataset) -> Iterator[str]:
    """Frames stand on a grid of frames, inside the matrix."""
    for number, group in enumerate(ds.get("PerFrameFunctionalGroupsSequence") or (), 1):
        for place in group.get("PlanePositionSlideSequence") or ():
            row = int(place.RowPositionInTotalImagePixelMatrix) - 1
            col = int(place.ColumnPositionInTotalImagePixelMatrix) - 1
            is_inside = 0 <= row < ds.TotalPixelMatrixRows and 0 <= col < ds.TotalPixelMatrixColumns
            if row % ds.Rows or col % ds.Columns or not is_inside:
                yield f"frame {number} stands at row {row}, column {col}: not on the grid of frames"
