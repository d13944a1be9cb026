"""Where the scan lies in the overview: as both state it, and as their tissue confirms it.

The camera for the overview is another one than the microscope, and its picture is registered
coarsely. So the tissue of the scan is looked for around its stated place: found nearby, it corrects
the place; found elsewhere, or not at all, the place is no use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.slide.frames import Level
from inference.tissue.macro.picture import Overview
from inference.tissue.presence import unknown_to_all
from inference.tissue.regions import Mask, dilate
from inference.tissue.tissue import TissueMask
from inference.types import SlideGeometry

FARTHEST_MM = 1.5
"""How far the tissue may lie from where the overview says: cameras and stages are adjusted to less
than 1 mm, and a wrong convention of directions or corners is off by much more."""
_SEARCHED_MM = 3.0
LEAST_AGREEMENT = 0.6
"""Cohen's kappa of the tissue of the scan and of the overview, by pixels of the scanned area: 1 is
the same, 0 what chance gives. 0.6 and more is called substantial (Landis and Koch 1977)."""
LEAST_TISSUE_MM2 = 0.5
"""Less tissue tells no place."""
_RIM_MM = 0.3
"""Edges of tissue are blurred in an overview: so near to them nothing is compared."""
_FFT_STEP = 24
"""Lengths with small factors are transformed faster."""

Shift = tuple[int, int]
"""Rows and columns of the view by which the tissue lies beside its stated place."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """The scan, over the pixels of a view of the overview."""

    shown: Mask
    """[h, w] what the analyzed scan shows."""
    tissue: Mask
    """[h, w] its tissue."""
    seen: Mask
    """[h, w] what any scan of the slide shows."""

    def moved(self, by: Shift) -> Scan:
        """The same elsewhere; what comes in from outside of the view is empty."""
        return Scan(*(_moved(mask, by) for mask in (self.shown, self.tissue, self.seen)))


def laid_over(
    overview: Overview,
    geometry: SlideGeometry,
    tissue: TissueMask,
    levels: tuple[Level, ...],
    others: tuple[SlideGeometry, ...],
) -> Scan:
    """The scan with this geometry, and what `others` cover, where they say to lie.

    What was filled in or left out in all levels was not scanned.
    """
    rows, cols = _places(overview, geometry)
    at = (
        np.clip(rows / tissue.downsample, 0, tissue.mask.shape[0] - 1).astype(np.intp),
        np.clip(cols / tissue.downsample, 0, tissue.mask.shape[1] - 1).astype(np.intp),
    )
    inside = _is_inside(rows, cols, geometry)
    there = np.ones(tissue.mask.shape, np.bool_)
    if not any(level.has_all_frames for level in levels):
        there = ~unknown_to_all(levels, tissue.mask.shape, tissue.downsample)
    if tissue.unscanned is not None:
        there &= ~tissue.unscanned.mask
    shown = inside & there[at]
    seen = shown.copy()
    for other in others:
        seen |= _is_inside(*_places(overview, other), other)
    return Scan(shown, inside & tissue.mask[at], seen)


def found_shift(scan: Scan, colored: Mask, pixel_mm: tuple[float, float]) -> Shift | None:
    """Where the tissue of the scan is in the overview, whose `colored` [h, w] may be tissue, beside
    its stated place; None where that is not near, or not clear."""
    if not scan.shown.any():
        return None
    reach = tuple(max(1, round(_SEARCHED_MM / size)) for size in pixel_mm)
    window = _window(scan.shown, reach)
    shown, tissue = scan.shown[window], scan.tissue[window]
    template = np.where(shown, tissue - tissue[shown].mean(), 0.0)
    shape = tuple(
        -(-(n + r) // _FFT_STEP) * _FFT_STEP for n, r in zip(shown.shape, reach, strict=True)
    )
    spectrum = np.fft.rfft2(colored[window].astype(np.float32), shape)
    spectrum *= np.conj(np.fft.rfft2(template.astype(np.float32), shape))
    score = np.fft.irfft2(spectrum, shape)
    rows, cols = (np.arange(-r, r + 1) for r in reach)
    score = score[np.ix_(rows % shape[0], cols % shape[1])]
    best = np.unravel_index(int(score.argmax()), score.shape)
    shift = int(rows[best[0]]), int(cols[best[1]])
    off_mm = float(np.hypot(shift[0] * pixel_mm[0], shift[1] * pixel_mm[1]))
    if off_mm > FARTHEST_MM or agreement(scan.moved(shift), colored, pixel_mm) < LEAST_AGREEMENT:
        return None
    return shift


def _window(mask: Mask, reach: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of a view that holds what is set in a mask, and so many pixels on all sides."""
    found = []
    for axis, more in enumerate(reach):
        places = np.flatnonzero(mask.any(1 - axis))
        found.append(slice(max(int(places[0]) - more, 0), int(places[-1]) + 1 + more))
    return tuple(found)


def agreement(scan: Scan, colored: Mask, pixel_mm: tuple[float, float]) -> float:
    """Cohen's kappa of the tissue of the scan and of what is colored, in the scanned area away from
    the edges of tissue; 0 where either has only tissue or only glass there."""
    rim = max(1, round(_RIM_MM / min(pixel_mm)))
    core, glass = ~dilate(~scan.tissue, rim), ~dilate(scan.tissue, rim)
    compared = scan.shown & (core | glass)
    one, other = core[compared], colored[compared]
    if not len(one):
        return 0.0
    same, p, q = float((one == other).mean()), float(one.mean()), float(other.mean())
    by_chance = p * q + (1 - p) * (1 - q)
    return (same - by_chance) / (1 - by_chance) if by_chance < 1 and 0 < p < 1 else 0.0


def _places(
    overview: Overview, geometry: SlideGeometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[h, w] row and column, in pixels of a matrix, under the center of each pixel of a view."""
    height, width = overview.rgb.shape[:2]
    right, down = np.array(geometry.orientation).reshape(2, 3)[:, :2]
    corner = np.array((geometry.origin_x_mm, geometry.origin_y_mm))

    def at(row: float, col: float) -> NDArray[np.float64]:
        factor = overview.factor
        x, y, _ = overview.geometry.to_slide_mm((row + 0.5) * factor, (col + 0.5) * factor)
        off = np.array((x, y)) - corner
        return np.array(
            (off @ down / geometry.spacing_row_mm, off @ right / geometry.spacing_col_mm)
        )

    first = at(0, 0)
    by_row, by_col = at(1, 0) - first, at(0, 1) - first
    i, j = np.arange(height)[:, None], np.arange(width)[None]
    return (
        first[0] + by_row[0] * i + by_col[0] * j,
        first[1] + by_row[1] * i + by_col[1] * j,
    )


def _is_inside(
    rows: NDArray[np.float64], cols: NDArray[np.float64], geometry: SlideGeometry
) -> Mask:
    inside = (rows >= 0) & (rows < geometry.rows)
    inside &= (cols >= 0) & (cols < geometry.cols)
    return inside


def _moved(mask: Mask, by: Shift) -> Mask:
    found = np.zeros_like(mask)
    (to_row, from_row), (to_col, from_col) = (
        _slices(n, size) for n, size in zip(by, mask.shape, strict=True)
    )
    found[to_row, to_col] = mask[from_row, from_col]
    return found


def _slices(by: int, size: int) -> tuple[slice, slice]:
    """Where to, and where from, along one axis."""
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
