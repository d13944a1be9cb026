"""Where the tissue is: a classical rule on a low-magnification view of the slide.

Glass is bright and gray; H&E and most other stains are colored, however pale. So tissue is where
the color differs from gray by more than a threshold that Otsu's method picks within limits. Inks
whose hue no stain has are taken out, specks are dropped, small holes are filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from inference.errors import FramesUnreadable, never
from inference.slide.frames import Level, read_rectangles
from inference.slide.prepare import WHITE, reduce
from inference.slide.slide import Slide
from inference.tissue.dispute import find_disputed
from inference.tissue.light import STRIP_PX, balanced, has_ink_hue, smooth_strips, white
from inference.tissue.presence import fill_from_others
from inference.tissue.regions import Regions, dilate, drop_small, fill_holes, halved
from inference.tissue.unscanned import EVEN, REACH_PX, Unscanned, find_unscanned
from inference.tissue.view import View, tissue_level, view_of

CHROMA_LIMITS = (11.0, 22.0)
"""Least and largest threshold on max(RGB) - min(RGB) of 255, after white balance. Glass stays below
10 on the slides looked at; without the upper limit Otsu splits a full field within the tissue."""
SMALLEST_TISSUE_MM2 = 0.05
LARGEST_HOLE_MM2 = 0.05
PEN_REACH_UM = 60.0
"""How far the faded rim of an ink reaches beyond what its hue gives away."""
PEN_SHARE = 0.5
"""A region with at least this share of ink is all ink: faded and overlapping strokes change hue."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Pixel (r, c) covers base pixels [r * downsample, (r + 1) * downsample) and alike for c."""

    mask: NDArray[np.bool_]
    """[h, w]"""
    mpp: float
    downsample: float
    """Base-level pixels per mask pixel."""
    disputed_mm2: float = 0.0
    """Area outside of the tissue that takes light as tissue does (dispute.py)."""
    unscanned: Unscanned | None = None
    """What was not scanned; None where all was."""

    @property
    def area_mm2(self) -> float:
        """Area of the tissue."""
        return self._mm2(self.mask)

    @property
    def unscanned_mm2(self) -> float:
        """Area of what was not scanned."""
        return 0.0 if self.unscanned is None else self._mm2(self.unscanned.mask)

    def cell_shares(self, stride_px: int, rows: int, cols: int) -> NDArray[np.float64]:
        """Share of tissue [rows, cols] in each cell of a grid; what is off the slide is glass."""
        cell = stride_px / self.downsample
        by_row = _sums_to(self.mask, np.arange(rows + 1, dtype=np.float64) * cell)
        by_cell = _sums_to(by_row.T, np.arange(cols + 1, dtype=np.float64) * cell).T
        return np.asarray(np.diff(np.diff(by_cell, axis=0), axis=1) / cell**2)

    def _mm2(self, mask: NDArray[np.bool_]) -> float:
        return float(mask.sum()) * (self.mpp / 1000) ** 2


def tissue_and_view(slide: Slide, stop: Callable[[], bool] = never) -> tuple[TissueMask, View]:
    """The tissue of a slide, and half of the view that it was found in. Raises FramesUnreadable,
    and Stopped when `stop` says so."""
    level = tissue_level(slide)
    view = view_of(level, stop)
    pixels, mpp, downsample = view.pixels, view.mpp, view.downsample
    fill_from_others(pixels, level, slide.levels, downsample)
    empty = find_unscanned(pixels, lambda row, col: _is_even(slide.levels[0], downsample, row, col))
    unscanned = None
    if empty.any():
        unscanned = Unscanned.of(empty, pixels, downsample)
        glass = white(pixels)
        pixels = pixels.copy()
        pixels[empty] = WHITE if glass is None else glass  # as if glass had been scanned there
    tissue = find_tissue(pixels, mpp) & ~empty
    half, half_tissue = reduce(pixels, 2), halved(tissue)
    disputed = find_disputed(half, half_tissue, 2 * mpp)
    mask = TissueMask(
        tissue,
        mpp,
        downsample,
        disputed_mm2=float(disputed.sum()) * (2 * mpp / 1000) ** 2,
        unscanned=unscanned,
    )
    unsaid = halved(dilate(empty, REACH_PX))
    return mask, View(level, half, 2 * mpp, 2 * downsample, unsaid)


def _is_even(base: Level, downsample: float, row: int, col: int) -> bool:
    """Whether the base level has one color under a pixel of the view."""
    top, left = round(row * downsample), round(col * downsample)
    bottom = min(top + ceil(downsample), base.rows)
    right = min(left + ceil(downsample), base.cols)
    try:
        pixels = next(read_rectangles(base, np.array([[top, left, bottom, right]], np.int64)))
    except FramesUnreadable:  # told when the frame's pixels are needed
        return False
    return int(np.ptp(pixels.reshape(-1, 3), axis=0).max()) <= 2 * EVEN


def find_tissue(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Tissue [h, w] in an RGB view [h, w, 3] of a slide at about MASK_MPP.

    The view is walked in strips, twice, so that little is held beside it.
    """
    glass = white(rgb)
    chroma = np.empty(rgb.shape[:2], np.uint8)
    is_ink_hue = np.empty(rgb.shape[:2], np.bool_)
    for rows, strip in smooth_strips(rgb):
        red, green, blue = np.moveaxis(balanced(strip, glass), 2, 0)
        low = np.minimum(np.minimum(red, green), blue)
        chroma[rows] = np.maximum(np.maximum(red, green), blue) - low
        is_ink_hue[rows] = has_ink_hue(red, green, blue)
    low_limit, high_limit = CHROMA_LIMITS
    colored = chroma > min(max(_otsu(chroma), low_limit), high_limit)
    del chroma
    pixel_mm2 = (mpp / 1000) ** 2
    mask = colored & ~_ink(is_ink_hue, colored, mpp)
    mask = drop_small(mask, SMALLEST_TISSUE_MM2 / pixel_mm2)
    return fill_holes(mask, LARGEST_HOLE_MM2 / pixel_mm2)


def _ink(has_hue: NDArray[np.bool_], colored: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Ink with its faded rim, and all of a region that is mostly ink."""
    core = drop_small(colored & has_hue, SMALLEST_TISSUE_MM2 / (mpp / 1000) ** 2)
    if not core.any():
        return core
    regions = Regions.of(colored)
    share = regions.counts(core[colored]) / regions.areas
    return dilate(core, max(1, round(PEN_REACH_UM / mpp))) | regions.painted(share >= PEN_SHARE)


def _otsu(values: NDArray[np.uint8]) -> float:
    """The threshold of 0..255 that separates two classes best (Otsu 1979)."""
    counts = np.zeros(256)
    for top in range(0, len(values), STRIP_PX):
        counts += np.bincount(values[top : top + STRIP_PX].ravel(), minlength=256)
    weight = counts.cumsum()
    mass = (counts * np.arange(256)).cumsum()
    both = weight * (weight[-1] - weight)
    between = (mass[-1] * weight - mass * weight[-1]) ** 2 / np.where(both > 0, both, np.inf)
    return float(between.argmax())


def _sums_to(
    values: NDArray[np.bool_] | NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[edges, ...] sums of [n, ...] over the first axis up to each edge, fractions of a row
    counted; edges ascend from 0 and count as n behind the end."""
    at = np.minimum(edges, len(values))
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, len(values))
    wanted, places = np.unique(np.concatenate((low, high)), return_inverse=True)
    until = np.zeros((len(wanted), *values.shape[1:]))
    for n, (start, stop) in enumerate(pairwise(wanted.tolist()), start=1):
        until[n] = until[n - 1] + values[start:stop].sum(0)
    part = (at - low)[:, None]
    return np.asarray(until[places[: len(at)]] * (1 - part) + until[places[len(at) :]] * part)
