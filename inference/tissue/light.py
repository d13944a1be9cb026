"""Light and color of a view: its glass, balanced and smoothed, and the hues that no stain has."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

STRIP_PX = 256
"""Rows of a view that are looked at together: what is held beside it stays small."""
_GLASS_LEAST = 200
_GLASS_TINT = 15


def smooth_strips(rgb: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Strips of the view after a 3 x 3 mean, and which rows they are."""
    for top in range(0, len(rgb), STRIP_PX):
        bottom = min(top + STRIP_PX, len(rgb))
        first, last = max(top - 1, 0), min(bottom + 1, len(rgb))
        smooth = np.asarray(Image.fromarray(rgb[first:last]).filter(ImageFilter.BoxBlur(1)))
        yield slice(top, bottom), smooth[top - first : bottom - first]


def white(rgb: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """[3] the color of the glass where bright and nearly gray pixels are found, else None."""
    counts = np.zeros((3, 256), np.int64)
    for _, strip in smooth_strips(rgb):
        red, green, blue = np.moveaxis(strip, 2, 0)
        darkest = np.minimum(np.minimum(red, green), blue)
        brightest = np.maximum(np.maximum(red, green), blue)
        is_glass = (darkest >= _GLASS_LEAST) & (brightest - darkest <= _GLASS_TINT)
        for n, channel in enumerate((red, green, blue)):
            counts[n] += np.bincount(channel[is_glass], minlength=256)
    if not counts.any():
        return None
    return np.array([_percentile(channel, 0.75) for channel in counts])


def balanced(strip: NDArray[np.uint8], white: NDArray[np.float64] | None) -> NDArray[np.int16]:
    """The strip with its glass made white."""
    if white is None:
        return strip.astype(np.int16)
    levels = np.arange(256)[:, None] * (255.0 / white)
    table = np.minimum(levels, 255).astype(np.int16)
    return np.stack([table[strip[..., n], n] for n in range(3)], axis=2)


def has_ink_hue(
    red: NDArray[np.int16], green: NDArray[np.int16], blue: NDArray[np.int16]
) -> NDArray[np.bool_]:
    """Green, blue and red marker: hues that hematoxylin, eosin, blood and DAB do not have."""
    cool = green - red > 18  # stains absorb green at least as much as red
    warm = (red - green > 60) & (blue - green < 0.25 * (red - green))  # eosin and blood are pinker
    return np.asarray(cool | warm)


def _percentile(counts: NDArray[np.int64], share: float) -> float:
    """Of values 0..255 by how often each occurs, as numpy.percentile interpolates it."""
    until = counts.cumsum()
    place = share * (until[-1] - 1)
    below, above = (int(np.searchsorted(until, n, "right")) for n in (floor(place), ceil(place)))
    return float(below + (above - below) * (place - floor(place)))
