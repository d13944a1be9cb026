"""Synthetic changes of ordinary tiles, and drawn tiles: kept apart from what is really foreign."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from engines.manifest.tensors import TileInput
from inference.phantom.draw import MPP, STEP, draw
from inference.phantom.plan import Kind

Tiles = NDArray[np.uint8]
_BLUR_UM = 2.0
"""Standard deviation; nuclei of 7 um are spots without texture then."""
_DRAWN_PX, _MOST_GLASS = 2048, 0.5


def blurred(tiles: Tiles, mpp: float) -> Tiles:
    """Out of focus."""
    blur = ImageFilter.GaussianBlur(_BLUR_UM / mpp)
    return np.stack([np.asarray(Image.fromarray(tile).filter(blur)) for tile in tiles])


def inverted(tiles: Tiles, mpp: float) -> Tiles:
    """As a negative, which is what a wrong photometric interpretation looks like."""
    return 255 - tiles


def swapped(tiles: Tiles, mpp: float) -> Tiles:
    """Red and blue exchanged."""
    return np.ascontiguousarray(tiles[..., ::-1])


def gray(tiles: Tiles, mpp: float) -> Tiles:
    """Without color."""
    brightness = (tiles @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    return np.repeat(brightness[..., None], 3, axis=-1)


def pale(tiles: Tiles, mpp: float) -> Tiles:
    """A third of the optical density: stain that has faded."""
    shade = (np.arange(256) / 255) ** (1 / 3) * 255
    return shade.round().astype(np.uint8)[tiles]


CHANGES: dict[str, Callable[[Tiles, float], Tiles]] = {
    "blurred": blurred,
    "inverted": inverted,
    "red and blue exchanged": swapped,
    "gray": gray,
    "pale": pale,
}


def drawn(seed: int, wanted: TileInput, most: int) -> Tiles:
    """Tiles of a drawn slide that are not mostly glass; at the drawing's own spacing."""
    slide, side = draw(seed, rows=_DRAWN_PX, cols=_DRAWN_PX), wanted.tile_px
    if abs(wanted.mpp - MPP) > wanted.mpp_tolerance * wanted.mpp:
        return np.empty((0, side, side, 3), np.uint8)
    found = []
    for top in range(0, _DRAWN_PX - side + 1, side):
        for left in range(0, _DRAWN_PX - side + 1, side):
            rows = slice(top // STEP, (top + side) // STEP)
            truth = slide.truth[rows, left // STEP : (left + side) // STEP]
            if (truth == Kind.GLASS).mean() <= _MOST_GLASS:
                found.append(slide.pixels[top : top + side, left : left + side])
    return np.stack(found[:most]) if found else np.empty((0, side, side, 3), np.uint8)
