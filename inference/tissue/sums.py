"""Sums over rectangles of a view, many at a time: each is four numbers of a table of sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.slide.prepare import WHITE
from inference.tissue.regions import Mask
from inference.tissue.view import View


@dataclass(frozen=True, slots=True, eq=False)
class SummedView:
    """A view of which the mean colors of rectangles are asked."""

    view: View
    _sums: tuple[NDArray[np.uint32], ...]

    @classmethod
    def of(cls, view: View) -> SummedView:
        """With the sums of its three channels."""
        return cls(view, tuple(summed(view.pixels[..., channel]) for channel in range(3)))

    def edges(self, rectangles: NDArray[np.int64], downsample: float) -> NDArray[np.int64]:
        """Rectangles [N, 4] (top, left, bottom, right) of a level with that downsample, in whole
        pixels of the view."""
        scale = downsample / self.view.downsample
        return np.asarray(np.rint(rectangles * scale), np.int64)

    def means(self, edges: NDArray[np.int64]) -> NDArray[np.float32]:
        """[N, 3] means within edges [N, 4]; outside of the view it is white."""
        return np.stack([_means(sums, edges) for sums in self._sums], 1)


def summed(values: NDArray[np.uint8] | Mask) -> NDArray[np.uint32]:
    """[h + 1, w + 1] sums of [h, w] above and left; they wrap, which differences undo."""
    found = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.uint32)
    np.cumsum(values, axis=0, dtype=np.uint32, out=found[1:, 1:])
    np.cumsum(found[1:, 1:], axis=1, out=found[1:, 1:])
    return found


def block_sums(sums: NDArray[np.uint32], edges: NDArray[np.int64]) -> NDArray[np.uint32]:
    """[N] sums within edges [N, 4], of what is inside of the view."""
    top, bottom = (np.clip(edges[:, n], 0, len(sums) - 1) for n in (0, 2))
    left, right = (np.clip(edges[:, n], 0, sums.shape[1] - 1) for n in (1, 3))
    within: NDArray[np.uint32] = sums[bottom, right] - sums[top, right]
    return within - sums[bottom, left] + sums[top, left]


def _means(sums: NDArray[np.uint32], edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """[N] means within edges [N, 4]; outside of the view it is white."""
    heights = _lengths(edges[:, 0::2], len(sums))
    widths = _lengths(edges[:, 1::2], sums.shape[1])
    areas = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
    white = (areas - heights * widths) * float(WHITE)
    means = (block_sums(sums, edges) + white) / np.maximum(areas, 1)
    return np.asarray(means, np.float32)


def _lengths(spans: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """[N] lengths of spans [N, 2] inside of a view with so many edges."""
    inside = np.clip(spans, 0, size - 1)
    return inside[:, 1] - inside[:, 0]
