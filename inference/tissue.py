"""Where the tissue is: a classical rule on a low-magnification view of the slide.

Glass is bright and gray; H&E and most other stains are colored, however pale. So tissue is where
the color differs from gray by more than a threshold that Otsu's method picks within limits. Inks
whose hue no stain has are taken out, specks are dropped, small holes are filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from inference.frames import Level, read_rectangles
from inference.prepare import reduce
from inference.regions import drop_small, fill_holes, label
from inference.slide import Slide

MASK_MPP = 8.0
"""Wanted scale of the mask: cells blur into tissue, and a whole slide is a few megapixels."""
COARSEST_MPP = 12.0
CHROMA_LIMITS = (11.0, 22.0)
"""Least and largest threshold on max(RGB) - min(RGB) of 255, after white balance. Glass stays below
10 on the slides looked at; without the upper limit Otsu splits a full field within the tissue."""
SMALLEST_TISSUE_MM2 = 0.05
LARGEST_HOLE_MM2 = 0.05
PEN_REACH_UM = 60.0
"""How far the faded rim of an ink reaches beyond what its hue gives away."""
PEN_SHARE = 0.5
"""A region with at least this share of ink is all ink: faded and overlapping strokes change hue."""
_BLOCK_PX = 1024
_GLASS_LEAST = 200
_GLASS_TINT = 15


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Pixel (r, c) covers base pixels [r * downsample, (r + 1) * downsample) and alike for c."""

    mask: NDArray[np.bool_]
    """[h, w]"""
    mpp: float
    downsample: float
    """Base-level pixels per mask pixel."""

    @property
    def area_mm2(self) -> float:
        """Area of the tissue."""
        return float(self.mask.sum()) * (self.mpp / 1000) ** 2

    def cell_shares(self, stride_px: int, rows: int, cols: int) -> NDArray[np.float64]:
        """Share of tissue [rows, cols] in each cell of a grid; what is off the slide is glass."""
        cell = stride_px / self.downsample
        total = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1))
        total[1:, 1:] = self.mask.cumsum(0).cumsum(1)
        total = _at_edges(total, np.arange(rows + 1, dtype=np.float64) * cell)
        total = _at_edges(total.T, np.arange(cols + 1, dtype=np.float64) * cell).T
        return np.asarray(np.diff(np.diff(total, axis=0), axis=1) / cell**2)


def tissue_mask(slide: Slide) -> TissueMask:
    """The tissue of a slide. Raises FramesUnreadable."""
    level = tissue_level(slide)
    factor = max(1, round(MASK_MPP / level.mpp))
    mpp = level.mpp * factor
    return TissueMask(find_tissue(_view(level, factor), mpp), mpp, level.downsample * factor)


def tissue_level(slide: Slide) -> Level:
    """The level whose scale is nearest to the mask's; the finest where all are coarser."""
    fine_enough = [level for level in slide.levels if level.mpp <= COARSEST_MPP]
    return min(fine_enough or slide.levels[:1], key=lambda v: abs(log(v.mpp / MASK_MPP)))


def find_tissue(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Tissue [h, w] in an RGB view [h, w, 3] of a slide at about MASK_MPP."""
    smooth = np.asarray(Image.fromarray(rgb).filter(ImageFilter.BoxBlur(1)))
    balanced = _balance(smooth)
    chroma = balanced.max(2) - balanced.min(2)
    low, high = CHROMA_LIMITS
    colored = chroma > min(max(_otsu(chroma), low), high)
    pixel_mm2 = (mpp / 1000) ** 2
    mask = colored & ~_ink(balanced, colored, mpp)
    mask = drop_small(mask, SMALLEST_TISSUE_MM2 / pixel_mm2)
    return fill_holes(mask, LARGEST_HOLE_MM2 / pixel_mm2)


def _view(level: Level, factor: int) -> NDArray[np.uint8]:
    """The whole level reduced by `factor`, block by block so that memory stays bounded."""
    view = np.empty((-(-level.rows // factor), -(-level.cols // factor), 3), np.uint8)
    step = max(1, _BLOCK_PX // factor) * factor
    blocks = [
        (top, left, min(top + step, level.rows), min(left + step, level.cols))
        for top in range(0, level.rows, step)
        for left in range(0, level.cols, step)
    ]
    regions = read_rectangles(level, np.array(blocks, np.int64))
    for (top, left, _, _), region in zip(blocks, regions, strict=True):
        small = reduce(region, factor)
        row, col = top // factor, left // factor
        view[row : row + small.shape[0], col : col + small.shape[1]] = small
    return view


def _balance(rgb: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The view with its glass made white, where bright and nearly gray pixels are found."""
    darkest, brightest = rgb.min(2), rgb.max(2)
    glass = rgb[(darkest >= _GLASS_LEAST) & (brightest - darkest <= _GLASS_TINT)]
    if len(glass) == 0:
        return rgb.astype(np.int16)
    white = np.percentile(glass, 75, axis=0)
    balanced: NDArray[np.int16] = np.minimum(rgb * (255.0 / white), 255).astype(np.int16)
    return balanced


def _ink(rgb: NDArray[np.int16], colored: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Green, blue and red marker: hues that hematoxylin, eosin, blood and DAB do not have."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    cool = green - red > 18  # stains absorb green at least as much as red
    warm = (red - green > 60) & (blue - green < 0.25 * (red - green))  # eosin and blood are pinker
    core = drop_small(colored & (cool | warm), SMALLEST_TISSUE_MM2 / (mpp / 1000) ** 2)
    labels, areas = label(colored)
    share = np.bincount(labels[core], minlength=len(areas)) / np.maximum(areas, 1)
    share[0] = 0
    reach = 2 * max(1, round(PEN_REACH_UM / mpp)) + 1
    grown = Image.fromarray(core.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(reach))
    return (np.asarray(grown) > 0) | (share >= PEN_SHARE)[labels]


def _otsu(values: NDArray[np.int16]) -> float:
    """The threshold of 0..255 that separates two classes best (Otsu 1979)."""
    counts = np.bincount(np.clip(values, 0, 255).ravel(), minlength=256).astype(np.float64)
    weight = counts.cumsum()
    mass = (counts * np.arange(256)).cumsum()
    both = weight * (weight[-1] - weight)
    between = (mass[-1] * weight - mass * weight[-1]) ** 2 / np.where(both > 0, both, np.inf)
    return float(between.argmax())


def _at_edges(total: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of a cumulative sum at fractional row positions (constant behind the end)."""
    at = np.minimum(edges, total.shape[0] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, total.shape[0] - 1)
    part = (at - low)[:, None]
    return np.asarray(total[low] * (1 - part) + total[high] * part)
