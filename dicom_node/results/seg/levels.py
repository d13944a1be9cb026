"""Which level of the slide a map can be drawn on: every tile with a value has a pixel there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_node.results.making import Making
from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.characters.header import in_unicode
from inference.types import SlideGeometry

MOST_PX = 2**22
"""Pixels of a level that a map is drawn on: more is no picture of a few thousand tiles, but a large
file of squares of one color."""
_SAME_MM = 1e-6
"""How far origins and directions may differ: viewers compare them."""
_BYTE = 8


@dataclass(frozen=True, slots=True)
class GridLevel:
    """One level of the slide, by its header, which is `in_unicode`."""

    header: Dataset
    spacing_mm: tuple[float, float]
    """Distance between rows, and between columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its total pixel matrix."""
        return int(self.header.TotalPixelMatrixRows), int(self.header.TotalPixelMatrixColumns)

    @property
    def frame(self) -> tuple[int, int]:
        """Rows and columns of its frames."""
        return int(self.header.Rows), int(self.header.Columns)

    def cells(
        self, geometry: SlideGeometry, stride_px: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the tile under the middle of each of its lines [H] and columns [W]."""
        base_mm = (geometry.spacing_row_mm, geometry.spacing_col_mm)
        rows, cols = (
            ((np.arange(n) + 0.5) * (mm / base / stride_px)).astype(np.int64)
            for n, mm, base in zip(self.shape, self.spacing_mm, base_mm, strict=True)
        )
        return rows, cols


def levels_of(making: Making) -> list[GridLevel]:
    """The levels of a slide that a viewer can lay a map over by their own grid, the smallest first.

    A level that lies elsewhere than the base level, that states no spacing, or whose frames have no
    whole number of bytes in a line of single bits is none.
    """
    known = {one.sop_instance_uid: one for one in making.result.levels}
    found: dict[tuple[int, int], GridLevel] = {}
    for uid, path in zip(making.slide.input_uids, making.slide.paths, strict=True):
        account = known.get(uid)
        if known and (account is None or not account.is_level):
            continue
        try:
            level = _read(in_unicode(dcmread(path, stop_before_pixels=True)), making.source)
        except MALFORMED as error:
            if is_of_the_machine(error):
                raise
            continue
        if level is not None:
            found.setdefault(level.shape, level)  # parts of one image, and focal planes
    return sorted(found.values(), key=lambda level: level.shape[0] * level.shape[1])


def fitting(
    levels: list[GridLevel],
    shown: NDArray[np.bool_],
    geometry: SlideGeometry,
    stride_px: int,
) -> GridLevel | str:
    """The smallest level on which every tile [R, C] that is shown has a pixel; or why there is
    none."""
    if not levels:
        return "no level of the slide has the origin and the directions of its base level"
    for level in levels:
        if level.shape[0] * level.shape[1] > MOST_PX:
            return (
                f"the smallest level on which each tile has a pixel is {level.shape[1]} x "
                f"{level.shape[0]} px, more than {MOST_PX // 2**20} million pixels"
            )
        rows, cols = level.cells(geometry, stride_px)
        has_row, has_col = np.unique(np.argwhere(shown)[:, 0]), np.unique(np.argwhere(shown)[:, 1])
        if np.isin(has_row, rows).all() and np.isin(has_col, cols).all():
            return level
    return "on no level of the slide has each tile a pixel"


def _read(header: Dataset, base: Dataset) -> GridLevel | None:
    kind = [str(value) for value in header.get("ImageType") or ()]
    spacing = _spacing_mm(header)
    if kind[2:3] != ["VOLUME"] or spacing is None:
        return None
    if header.get("FrameOfReferenceUID") != base.get("FrameOfReferenceUID"):
        return None
    if not np.allclose(_place(header), _place(base), rtol=0, atol=_SAME_MM):
        return None
    level = GridLevel(header, spacing)
    return level if min(level.shape) > 0 and level.frame[1] % _BYTE == 0 else None


def _place(header: Dataset) -> list[float]:
    """Origin and directions of the matrix."""
    origin = header.TotalPixelMatrixOriginSequence[0]
    offsets = (origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem)
    return [float(value) for value in (*offsets, *header.ImageOrientationSlide)]


def _spacing_mm(header: Dataset) -> tuple[float, float] | None:
    for group in header.get("SharedFunctionalGroupsSequence") or ():
        for measures in group.get("PixelMeasuresSequence") or ():
            row_mm, col_mm = (float(mm) for mm in measures.PixelSpacing)
            return (row_mm, col_mm) if row_mm > 0 and col_mm > 0 else None
    return None
