"""Connected regions of a mask and their outlines, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """4-connected regions of a mask, as the runs of their rows: no picture of labels is needed."""

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    """[r] row of each run, in raster order."""
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """[r] first column and last + 1."""
    numbers: NDArray[np.int64]
    """[r] region of each run, 0..n-1."""
    areas: NDArray[np.int64]
    """[n] pixels."""

    @classmethod
    def of(cls, mask: Mask) -> Regions:
        """Runs of each row are nodes, touching runs of neighboring rows are edges; numbers spread
        along the edges to their minimum, halving paths, until nothing changes."""
        rows, starts, stops = _runs(mask)
        parent = np.arange(len(rows), dtype=np.int64)
        upper, lower = _touching(mask.shape[0], rows, starts, stops)
        while True:
            low = np.minimum(parent[upper], parent[lower])
            before = parent.copy()
            np.minimum.at(parent, parent[upper], low)
            np.minimum.at(parent, parent[lower], low)
            parent = parent[parent]
            if np.array_equal(parent, before):
                break
        _, numbers = np.unique(parent, return_inverse=True)
        count = int(numbers.max(initial=-1)) + 1
        areas = np.bincount(numbers, stops - starts, count).astype(np.int64)
        return cls((mask.shape[0], mask.shape[1]), rows, starts, stops, numbers, areas)

    def counts(self, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[n] set values of each region, of `inside` [pixels of all regions] in raster order."""
        if not len(self.rows):
            return np.zeros(0, np.int64)
        first = np.concatenate(([0], np.cumsum(self.stops - self.starts)[:-1]))
        of_run = np.add.reduceat(inside.astype(np.int32), first)
        return np.bincount(self.numbers, of_run, len(self.areas)).astype(np.int64)

    def extents(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[n] heights and [n] widths of the boxes around the regions."""
        top, left = (np.full(len(self.areas), max(self.shape)) for _ in range(2))
        bottom, right = (np.zeros(len(self.areas), np.int64) for _ in range(2))
        np.minimum.at(top, self.numbers, self.rows)
        np.maximum.at(bottom, self.numbers, self.rows + 1)
        np.minimum.at(left, self.numbers, self.starts)
        np.maximum.at(right, self.numbers, self.stops)
        return bottom - top, right - left

    def cut_out(self, number: int) -> tuple[Mask, int, int]:
        """One region as a mask of the box around it, and the first row and column of the box."""
        runs = np.flatnonzero(self.numbers == number)
        rows, starts, stops = self.rows[runs], self.starts[runs], self.stops[runs]
        top, left = int(rows.min()), int(starts.min())
        steps = np.zeros((int(rows.max()) + 1 - top, int(stops.max()) + 1 - left), np.int8)
        steps[rows - top, starts - left] = 1
        steps[rows - top, stops - left] = -1
        return steps.cumsum(1, dtype=np.int8)[:, :-1].astype(np.bool_), top, left

    def painted(self, keep: NDArray[np.bool_]) -> Mask:
        """The mask of the regions [n] to keep."""
        kept = keep[self.numbers]
        steps = np.zeros((self.shape[0], self.shape[1] + 1), np.int8)
        steps[self.rows[kept], self.starts[kept]] = 1
        steps[self.rows[kept], self.stops[kept]] = -1  # runs never touch: one step a place
        return steps.cumsum(1, dtype=np.int8)[:, :-1].astype(np.bool_)


def label(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels [h, w] of 4-connected regions (0 outside, then 1..n) and areas [n + 1] in pixels."""
    regions = Regions.of(mask)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(regions.numbers + 1, regions.stops - regions.starts)
    outside = mask.size - int(regions.areas.sum())
    return labels, np.concatenate(([outside], regions.areas))


def drop_small(mask: Mask, smallest_px: float) -> Mask:
    """The mask without regions of fewer than `smallest_px` pixels."""
    if not mask.any():
        return mask.copy()
    regions = Regions.of(mask)
    return regions.painted(regions.areas >= smallest_px)


def fill_holes(mask: Mask, largest_px: float) -> Mask:
    """The mask with enclosed holes of up to `largest_px` pixels filled."""
    outside = Regions.of(~mask)
    fill = outside.areas <= largest_px
    at_border = (outside.rows == 0) | (outside.rows == mask.shape[0] - 1)
    at_border |= (outside.starts == 0) | (outside.stops == mask.shape[1])
    fill[outside.numbers[at_border]] = False
    return mask | outside.painted(fill)


def dilate(mask: Mask, reach_px: int) -> Mask:
    """The mask grown by `reach_px` pixels in every direction, corners included."""
    if not mask.any():
        return mask.copy()
    return _grown(_grown(mask, reach_px).T, reach_px).T  # a square is a row of columns


def halved(mask: Mask) -> Mask:
    """[ceil(h / 2), ceil(w / 2)] whether any of 2 x 2 pixels is set."""
    rows = mask[::2].copy()
    rows[: len(mask) // 2] |= mask[1::2]
    cols = rows[:, ::2].copy()
    cols[:, : rows.shape[1] // 2] |= rows[:, 1::2]
    return cols


def _grown(mask: Mask, reach_px: int) -> Mask:
    """The mask grown by `reach_px` rows up and down: windows of twice the length each time."""
    window = 2 * reach_px + 1
    found = np.zeros((len(mask) + 2 * reach_px, mask.shape[1]), np.bool_)
    found[reach_px : reach_px + len(mask)] = mask
    length = 1
    while length < window:
        step = min(length, window - length)
        found[:-step] |= found[step:].copy()
        length += step
    return found[: len(mask)]


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, first and last + 1 column of each run of set pixels, in raster order."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    _, stops = np.nonzero(change == -1)
    return rows, starts, stops


def _touching(
    height: int, rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs (upper, lower) of neighboring rows that share a column."""
    if len(rows) == 0:
        return rows, rows
    # One sorted key for (row, column) lets searchsorted look into the row above.
    width = int(stops.max()) + 1
    first_of_row = np.searchsorted(rows, np.arange(height + 1))
    above = rows - 1
    has_above = above >= 0
    lowest = np.searchsorted(rows * width + stops, above * width + starts, side="right")
    highest = np.searchsorted(rows * width + starts, above * width + stops, side="left")
    lowest = np.maximum(lowest, first_of_row[np.maximum(above, 0)])
    highest = np.minimum(highest, first_of_row[np.maximum(above, 0) + 1])
    count = np.where(has_above, np.maximum(highest - lowest, 0), 0)
    lower = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(lower)) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(lowest, count) + offset, lower
