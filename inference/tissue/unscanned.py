"""Where a slide was not scanned: black, or a gray or green that no camera gives so evenly.

Scanners and converters fill what they did not scan with black, with gray or with white, and with
zeros that turn out to be YCbCr.
At a low magnification such a place has one value, whatever its coding; glass, tissue and ink have
noise, which the mean of a pixel does not take away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.slide.prepare import WHITE
from inference.tissue.light import has_ink_hue
from inference.tissue.regions import Mask, Regions, dilate, drop_small

BLACKEST = 2
"""Largest value of a pixel without any light: ink and dark tissue lie above 10."""
EVEN = 1
"""How far neighbors of one color differ by rounding."""
MOST_TINT = 10
"""A fill is gray, or has a hue that no stain has: what differs more between its channels may be
stained, however even."""
GLASS_LEAST = 200
"""From here on one color is white, and glass or padding with white are alike."""
LEAST_PX = 16
"""Smallest number of even pixels that are a fill: a frame of 240 pixels at 0.25 um has 25 of 8 um
that have even ones on all sides."""
STRAIGHT_PX, STRAIGHT_SHARE = 4, 0.8
"""Fills other than black are made of rectangles: share of their border in straight runs."""
ALIKE_SHARE = 0.9
"""Share of a fill that has its one color: JPEG rings where it ends in the middle of a block."""
REACH_PX = 2
"""How far beyond its even pixels a fill may reach: they are means, and JPEG rings."""
LIKE_IT = 32
"""How far beyond its even pixels a color may be from that of a fill: more would be nuclei."""
_STRIP_PX = 256

Confirm = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Unscanned:
    """What of a slide was not scanned: made white wherever its pixels are read."""

    mask: Mask
    """[h, w] of the view of the tissue mask."""
    downsample: float
    """Base-level pixels per pixel of the view."""
    _near: Mask
    _colors: NDArray[np.uint8]
    """[h, w, 3] the view."""

    @classmethod
    def of(cls, mask: Mask, rgb: NDArray[np.uint8], downsample: float) -> Unscanned:
        """What `find_unscanned` found in a view."""
        return cls(mask, downsample, dilate(mask, REACH_PX), rgb)

    def whiten(self, pixels: NDArray[np.uint8], top: int, left: int, downsample: float) -> None:
        """RGB pixels [H, W, 3] at (top, left) of a level with that downsample, changed in place."""
        rows = self._places(top, pixels.shape[0], downsample, self.mask.shape[0])
        cols = self._places(left, pixels.shape[1], downsample, self.mask.shape[1])
        here = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        if not self._near[here].any():
            return
        around = tuple(slice(max(at.start - REACH_PX, 0), at.stop + REACH_PX) for at in here)
        pixels[self.mask[np.ix_(rows, cols)]] = WHITE
        is_near = self._near[np.ix_(rows, cols)]
        for color in _few_colors(self._colors[around][self.mask[around]]):
            distance = np.abs(pixels.astype(np.int16) - color).max(2)
            pixels[is_near & (distance <= LIKE_IT)] = WHITE

    def _places(self, start: int, count: int, downsample: float, size: int) -> NDArray[np.int64]:
        """Rows (or columns) of the view under `count` ones of a level."""
        at = (start + np.arange(count) + 0.5) * (downsample / self.downsample)
        return np.minimum(at.astype(np.int64), size - 1)


def find_unscanned(rgb: NDArray[np.uint8], is_even: Confirm) -> Mask:
    """What of a view [h, w, 3] at about 8 um per pixel shows nothing: [h, w].

    `is_even` looks at a pixel (row, col) of the view in full detail: a level that was compressed
    hard has even squares too, of tissue.
    """
    black = np.empty(rgb.shape[:2], np.bool_)
    even = np.empty(rgb.shape[:2], np.bool_)
    for rows, strip, inside in _strips(rgb):
        red, green, blue = (np.ascontiguousarray(strip[..., n]) for n in range(3))
        flat = (_spread(green) <= EVEN)[inside]
        brightest = np.maximum(np.maximum(red, green), blue)[inside]
        darkest = np.minimum(np.minimum(red, green), blue)[inside]
        black[rows] = brightest <= BLACKEST
        is_gray = brightest - darkest <= MOST_TINT
        tinted = flat & ~is_gray
        # A buffer of zeros read as YCbCr is green.
        tinted[tinted] = has_ink_hue(*strip[inside][tinted].astype(np.int16).T)
        even[rows] = (flat & is_gray & (darkest < GLASS_LEAST)) | tinted
    black = drop_small(black, LEAST_PX)
    return black | _fills(drop_small(even & ~black, LEAST_PX), rgb, is_even)


def _few_colors(colors: NDArray[np.uint8]) -> list[NDArray[np.int16]]:
    """The colors [n, 3] of fills, each once: those near to one before are left out."""
    found: list[NDArray[np.int16]] = []
    left = colors.astype(np.int16)
    while len(left):
        found.append(left[0])
        left = left[np.abs(left - left[0]).max(1) > 2 * EVEN]
    return found


def _strips(rgb: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8], slice]]:
    """Which rows, the view there with one row more on both sides, and where the rows are in it."""
    for top in range(0, len(rgb), _STRIP_PX):
        bottom = min(top + _STRIP_PX, len(rgb))
        first = max(top - 1, 0)
        yield slice(top, bottom), rgb[first : bottom + 1], slice(top - first, bottom - first)


def _spread(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[h, w] largest difference of a value to its neighbors up, down, left and right."""
    found = np.zeros(values.shape, np.uint8)
    for view, into in ((values, found), (values.T, found.T)):
        step = np.maximum(view[1:], view[:-1]) - np.minimum(view[1:], view[:-1])
        np.maximum(into[1:], step, out=into[1:])
        np.maximum(into[:-1], step, out=into[:-1])
    return found


def _fills(even: Mask, rgb: NDArray[np.uint8], is_even: Confirm) -> Mask:
    """The regions that have one color and are made of rectangles, grown by the pixels at their
    border."""
    regions = Regions.of(even)
    keep = np.zeros(len(regions.areas), np.bool_)
    for number in range(len(keep)):
        here = regions.numbers == number
        rows, starts, stops = regions.rows[here], regions.starts[here], regions.stops[here]
        top, left = int(rows.min()), int(starts.min())
        part = np.zeros((int(rows.max()) + 1 - top, int(stops.max()) - left), np.bool_)
        for row, start, stop in zip(rows - top, starts - left, stops - left, strict=True):
            part[row, start:stop] = True
        colors = rgb[top : top + part.shape[0], left : left + part.shape[1]][part]
        off = np.abs(colors.astype(np.int16) - np.median(colors, axis=0)).max(1)
        widest = np.flatnonzero(stops - starts == (stops - starts).max())
        longest = int(widest[len(widest) // 2])
        keep[number] = (
            (off <= EVEN + 0.5).mean() >= ALIKE_SHARE
            and _straight_share(part) >= STRAIGHT_SHARE
            and is_even(int(rows[longest]), int(starts[longest] + stops[longest]) // 2)
        )
    found = regions.painted(keep)
    if not keep.any():
        return found
    rim = np.nonzero(dilate(found, 1) & ~found)
    colors = rgb[rim].astype(np.int16)
    for fill in _few_colors(rgb[found]):
        same = np.abs(colors - fill).max(1) <= 2 * EVEN
        found[rim[0][same], rim[1][same]] = True
    return found


def _straight_share(mask: Mask) -> float:
    """Share of a region's border that lies in straight horizontal or vertical runs."""
    padded = np.pad(mask, 1)
    total = straight = 0
    for turned in (padded, padded.T):
        for edge in (turned[:, 1:] & ~turned[:, :-1], turned[:, :-1] & ~turned[:, 1:]):
            runs = np.diff(np.flatnonzero(np.diff(np.pad(edge.T, 1).ravel().astype(np.int8))))[::2]
            total += int(runs.sum())
            straight += int(runs[runs >= STRAIGHT_PX].sum())
    return straight / total if total else 0.0
