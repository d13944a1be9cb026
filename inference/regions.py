"""Connected regions of a mask and their outlines, in plain numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def label(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels [h, w] of 4-connected regions (0 outside, then 1..n) and areas [n + 1] in pixels.

    Runs of each row are nodes, touching runs of neighboring rows are edges; labels spread along
    the edges to their minimum, halving paths, until nothing changes.
    """
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
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(numbers + 1, stops - starts)
    return labels, np.bincount(labels.ravel(), minlength=1)


def drop_small(mask: Mask, smallest_px: float) -> Mask:
    """The mask without regions of fewer than `smallest_px` pixels."""
    labels, areas = label(mask)
    keep = areas >= smallest_px
    keep[0] = False
    return keep[labels]


def fill_holes(mask: Mask, largest_px: float) -> Mask:
    """The mask with enclosed holes of up to `largest_px` pixels filled."""
    labels, areas = label(~mask)
    fill = areas <= largest_px
    fill[0] = False
    border = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    fill[border] = False
    return mask | fill[labels]


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
