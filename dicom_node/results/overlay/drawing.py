"""A slide's picture with a heatmap over it, as plain pixels: for the page and for images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.making import Making
from dicom_node.results.seg.layers import Layer
from inference.errors import FramesUnreadable, Refused, SlideUnreadable
from inference.heatmap import color
from inference.overview import overview
from inference.slide.slide import open_slide
from inference.types import SlideGeometry

FAINTEST, STRONGEST = 0.2, 0.65
"""How much of a cell's color covers the tissue, at the lowest value and at the highest: a low value
must not hide what is under it."""
_TISSUE = 235
"""Gray of the light tissue that a legend is drawn on."""


def slide_picture(making: Making, longest_px: int) -> NDArray[np.uint8] | str:
    """RGB [H, W, 3] of the slide of a result, or a sentence that says why there is none."""
    try:
        with open_slide(making.slide.paths, base_uid=making.result.base) as slide:
            return overview(slide, longest_px)
    except Refused as refusal:
        return f"No picture of the slide: {refusal.verdict.detail}"
    except SlideUnreadable:
        return "No picture of the slide: its files cannot be read."
    except FramesUnreadable:  # often why the slide is not assessable, which a page has to say
        return "No picture of the slide: its pixels cannot be read."


def over(picture: NDArray[np.uint8], layer: Layer, geometry: SlideGeometry) -> NDArray[np.uint8]:
    """The picture [H, W, 3] of the whole slide with the cells of a heatmap over it."""
    rows, cols = _cells(layer, geometry, (picture.shape[0], picture.shape[1]))
    # A line of cells at a time: what is drawn is as large as the picture, what is held is not.
    drawn = picture.copy()
    shares, colors = _paint(layer.values)
    for row in np.unique(rows):
        lines = slice(*np.searchsorted(rows, [row, row + 1]))
        drawn[lines] = _blended(picture[lines], shares[row, cols], colors[row, cols])
    return drawn


def legend(width_px: int, height_px: int) -> NDArray[np.uint8]:
    """A bar RGB [H, W, 3] of the values 0 to 1 from left to right, as they look on light tissue."""
    shares, colors = _paint(np.linspace(0.001, 1, width_px))
    tissue = np.full((height_px, width_px, 3), _TISSUE, np.uint8)
    return _blended(tissue, shares, colors)


def _paint(values: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much of a color covers what is below it, [..., 1], and the color, [..., 3]."""
    share = np.where(values > 0, FAINTEST + (STRONGEST - FAINTEST) * values, 0)[..., None]
    return share.astype(np.float32), color(values.astype(np.float32)).astype(np.float32)


def _blended(
    picture: NDArray[np.uint8], shares: NDArray[np.float32], colors: NDArray[np.float32]
) -> NDArray[np.uint8]:
    blended: NDArray[np.uint8] = np.rint(picture * (1 - shares) + colors * shares).astype(np.uint8)
    return blended


def _cells(
    layer: Layer, geometry: SlideGeometry, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the cell under each line [H] and column [W] of a picture of the slide."""
    sides = (geometry.rows, geometry.cols)
    rows, cols = (
        np.minimum(
            ((np.arange(n) + 0.5) * side / n / stride).astype(np.int64),
            layer.values.shape[axis] - 1,
        )
        for axis, (n, side, stride) in enumerate(zip(shape, sides, layer.stride_px, strict=True))
    )
    return rows, cols
