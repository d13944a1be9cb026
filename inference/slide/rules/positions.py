"""Position rules: every frame on the grid, one frame a cell and plane, and no contradiction.

A frame's place is a claim as any other: one that is off the grid, or beside a TILED_FULL that says
another, is never moved to where it would fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.slide.images import SlideImage

_MOST_NAMED = 3


def parts_differ(image: SlideImage) -> str | None:
    """The parts of a concatenation are of one image."""
    if not image.parts_differ:
        return None
    return (
        f"The parts of {_the_image(image)} do not fit together: they state different sizes or "
        "codings of their frames."
    )


def parts_apart(image: SlideImage) -> str | None:
    """The parts of a concatenation follow each other without gap or overlap."""
    expected = 0
    for part in image.parts:
        if part.first_frame != expected:
            return (
                f"The parts of {_the_image(image)} do not follow each other: frame {expected + 1} "
                f"should come next, a part begins with frame {part.first_frame + 1}; a part is "
                "missing, or its Concatenation Frame Offset Number."
            )
        expected += part.frames
    return None


def frames_missing(image: SlideImage) -> str | None:
    """TILED_FULL has a frame for every tile (PS3.3 C.7.6.17.3)."""
    if image.header.is_whole(image.frames):
        return None
    return (
        f"{_the_image(image)[0].upper()}{_the_image(image)[1:]} has {image.frames} frames; its "
        f"tiling needs {image.header.tiled_full_frames}."
    )


def places_missing(image: SlideImage) -> str | None:
    """Frames that no rule puts in order say where they lie."""
    stated = len(image.places.rows)
    if stated == image.frames or (stated == 0 and is_full(image)):
        return None
    if stated:
        return (
            f"{stated} of {image.frames} frames say where they lie (Plane Position Slide); all or, "
            "with Dimension Organization Type TILED_FULL, none are needed."
        )
    return (
        "No frame says where it lies (Plane Position Slide), and the Dimension Organization Type "
        "is not TILED_FULL, which would tell by their order."
    )


def off_the_grid(image: SlideImage) -> str | None:
    """Every frame begins where a tile begins, inside of the matrix."""
    places, header = image.places, image.header
    if not len(places.rows) or not header.frame_rows or not header.frame_cols:
        return None
    row_rest = (places.rows - 1) % header.frame_rows
    col_rest = (places.cols - 1) % header.frame_cols
    outside = (places.rows < 1) | (places.rows > header.rows)
    outside |= (places.cols < 1) | (places.cols > header.cols)
    wrong = np.flatnonzero((row_rest != 0) | (col_rest != 0) | outside)
    if not len(wrong):
        return None
    return (
        f"{len(wrong)} of {image.frames} frames do not lie on the grid of "
        f"{header.frame_rows} x {header.frame_cols} pixel tiles; their first pixels are said to be "
        f"at (row, column) {_named(places.rows, places.cols, wrong)}."
    )


def places_contradict_order(image: SlideImage) -> str | None:
    """TILED_FULL and the places of the frames, where both are stated, say the same."""
    places, header = image.places, image.header
    if header.organization != "TILED_FULL" or not len(places.rows):
        return None
    cells = np.arange(image.frames) % max(header.cells, 1)
    across = -(-header.cols // header.frame_cols)
    rows = cells // across * header.frame_rows + 1
    cols = cells % across * header.frame_cols + 1
    wrong = np.flatnonzero((rows != places.rows) | (cols != places.cols))
    if not len(wrong):
        return None
    at = int(wrong[0])
    return (
        f"The image says TILED_FULL, but {len(wrong)} of its {image.frames} frames say that they "
        f"lie elsewhere: frame {at + 1} at (row, column) "
        f"({places.rows[at]}, {places.cols[at]}) instead of ({rows[at]}, {cols[at]})."
    )


def places_repeat(image: SlideImage) -> str | None:
    """No two frames are at one place and height."""
    places = image.places
    if len(places.rows) < 2:
        return None
    order, same_cell, same_height = in_columns(image)
    again = same_cell & same_height
    if not again.any():
        return None
    wrong = order[1:][again]
    return (
        f"{len(wrong)} of {image.frames} frames lie where another frame lies already, at (row, "
        f"column) {_named(places.rows, places.cols, np.sort(wrong))}; one frame a place is needed."
    )


def is_full(image: SlideImage) -> bool:
    """Whether the order of the frames says where they lie: TILED_FULL, or one frame a plane."""
    header = image.header
    one_each = header.cells == 1 and image.frames == header.focal_planes
    return header.organization == "TILED_FULL" or one_each


def in_columns(image: SlideImage) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """Frames [F] by cell and then by height, and for each but the first [F - 1] whether it has the
    cell, and whether it has the height, of the one before; heights not stated are equal."""
    places = image.places
    z_um = np.nan_to_num(places.z_um)
    order = np.lexsort((z_um, places.cols, places.rows))
    rows, cols, heights = places.rows[order], places.cols[order], z_um[order]
    same_cell = (rows[1:] == rows[:-1]) & (cols[1:] == cols[:-1])
    return order, same_cell, np.abs(np.diff(heights)) < 1e-6


def _the_image(image: SlideImage) -> str:
    return f"the image of {image.pixels}"


def _named(rows: NDArray[np.int64], cols: NDArray[np.int64], wrong: NDArray[np.intp]) -> str:
    named = ", ".join(f"({rows[n]}, {cols[n]})" for n in wrong[:_MOST_NAMED].tolist())
    more = len(wrong) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named
