"""Plane rules: whatever heights frames have, one plane is analyzed, and which one is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.slide.attributes import BadValue, decimal, first
from inference.slide.images import SlideImage
from inference.slide.rules.positions import in_columns, is_full

FrameIndex = NDArray[np.int32]
"""[tile rows, tile columns] 0-based frame over all parts of an image, or -1 where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One focal plane of an image."""

    image: SlideImage
    z_um: float
    """Its height; the middle of its heights where each tile has its own."""
    frames: FrameIndex
    said: str = ""
    """What a reader must know of it."""


def spacing_of_planes_missing(image: SlideImage) -> str | None:
    """Planes that are told apart by their order alone state how far apart they are."""
    planes = image.frames // max(image.header.cells, 1)
    if len(image.places.rows) or not is_full(image) or planes < 2 or _step_um(image):
        return None
    return f"The image has {planes} focal planes and does not state the Spacing Between Slices."


def planes_of(image: SlideImage) -> list[Plane]:
    """The focal planes of an image that broke no rule, lowest first."""
    if len(image.places.rows) and image.header.organization != "TILED_FULL":
        return _of_places(image)
    cells = image.header.cells
    grid = np.arange(cells, dtype=np.int32).reshape(_shape(image))
    count, lowest, step = image.frames // cells, image.placement.z_um or 0.0, _step_um(image)
    heights = _stated_heights(image, count)
    return [
        Plane(image, heights[n] if heights else lowest + n * step, grid + np.int32(n * cells))
        for n in range(count)
    ]


def middle(planes: Sequence[Plane]) -> tuple[Plane, str]:
    """The plane that is analyzed of all planes of one level, and the sentence about it.

    A plane of the scanner comes before one that was computed from several (Extended Depth of
    Field): the models know no other.
    """
    plain = [plane for plane in planes if not plane.image.is_extended]
    chosen_from = sorted(plain or planes, key=lambda plane: plane.z_um)
    chosen = chosen_from[(len(chosen_from) - 1) // 2]
    said = [chosen.said] if chosen.said else []
    if len(chosen_from) > 1:
        said.append(
            f"The slide has {len(chosen_from)} focal planes; the middle one "
            f"({chosen.z_um:g} um) was analyzed."
        )
    if plain and len(plain) < len(planes):
        said.append(
            "The slide also has an image of extended depth of field, computed from several focal "
            "planes; it was left aside."
        )
    if not plain:
        said.append("The image is of extended depth of field: computed from several focal planes.")
    return chosen, " ".join(said)


def _of_places(image: SlideImage) -> list[Plane]:
    """Planes of frames that say where they lie.

    A cell with one frame has no stack, whatever its height: then each tile was focused by itself.
    Where every cell has the same number of frames, those of one rank make a plane.
    """
    order, same_cell, _ = in_columns(image)
    rank = _ranks(same_cell)
    depth = _depth_of_cells(rank, same_cell)
    heights: NDArray[np.float64] = np.unique(np.round(np.nan_to_num(image.places.z_um), 6))
    if depth.min() == depth.max():
        return [
            _plane(image, order[rank == n], is_stack=len(heights) == depth[0])
            for n in range(int(depth[0]))
        ]
    return [_nearest(image, order, heights, int(depth.max()))]


def _ranks(same_cell: NDArray[np.bool_]) -> NDArray[np.intp]:
    """[F] how many frames of the same cell come before, in the order of `in_columns`."""
    at = np.arange(len(same_cell) + 1)
    starts = np.concatenate(([True], ~same_cell))
    return np.asarray(at - np.maximum.accumulate(np.where(starts, at, 0)))


def _depth_of_cells(rank: NDArray[np.intp], same_cell: NDArray[np.bool_]) -> NDArray[np.intp]:
    """[cells] frames of each cell."""
    return np.asarray(rank[np.concatenate((~same_cell, [True]))] + 1)


def _plane(image: SlideImage, frames: NDArray[np.intp], *, is_stack: bool) -> Plane:
    """The plane of these frames."""
    z_um = np.nan_to_num(image.places.z_um[frames])
    said = ""
    if np.ptp(z_um) > 0 and not is_stack:
        said = (
            f"Each tile was focused by itself, at {z_um.min():g} to {z_um.max():g} um; together "
            "they were taken as one plane."
        )
    return Plane(image, float(np.median(z_um)), _index(image, frames), said)


def _nearest(
    image: SlideImage, order: NDArray[np.intp], heights: NDArray[np.float64], deepest: int
) -> Plane:
    """One plane of cells with different numbers of frames: of each the one nearest to the middle,
    or to the height of most frames where heights are as many as in no cell."""
    z_um = np.round(np.nan_to_num(image.places.z_um), 6)
    if len(heights) == deepest:
        wanted = float(heights[(len(heights) - 1) // 2])
    else:
        found, counts = np.unique(z_um, return_counts=True)
        wanted = float(found[counts.argmax()])
    off = np.abs(z_um - wanted)
    nearest_last = order[np.argsort(-off[order], kind="stable")]
    said = (
        f"The focal planes do not each cover the slide; of each tile the one nearest to {wanted:g} "
        "um was analyzed."
    )
    return Plane(image, wanted, _index(image, nearest_last), said)


def _index(image: SlideImage, frames: NDArray[np.intp]) -> FrameIndex:
    """Of frames of one cell, the last one counts."""
    index = np.full(_shape(image), -1, np.int32)
    rows = (image.places.rows[frames] - 1) // image.header.frame_rows
    cols = (image.places.cols[frames] - 1) // image.header.frame_cols
    index[rows, cols] = frames
    return index


def _shape(image: SlideImage) -> tuple[int, int]:
    header = image.header
    return -(-header.rows // header.frame_rows), -(-header.cols // header.frame_cols)


def _stated_heights(image: SlideImage, count: int) -> list[float]:
    """Heights of the planes of a TILED_FULL whose frames state them too."""
    z_um = image.places.z_um
    if len(z_um) != image.frames or np.isnan(z_um).any():
        return []
    return [float(np.median(plane)) for plane in z_um.reshape(count, -1)]


def _step_um(image: SlideImage) -> float:
    """Distance of planes whose order is all that is known of them; 0 where it is not stated."""
    shared = first(image.dataset, "SharedFunctionalGroupsSequence")
    try:
        step = decimal(first(shared, "PixelMeasuresSequence"), "SpacingBetweenSlices")
    except BadValue:
        return 0.0
    return (step or 0.0) * 1000
