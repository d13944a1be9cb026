"""Outlines of the regions of a mask: closed polylines along pixel edges, simplified."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.tissue.regions import Mask, fill_holes, label

Points = NDArray[np.float64]

MOST_OUTLINES = 20
MOST_POINTS = 200
_LONGEST_SIDE_PX = 1024
"""Masks are traced at no more than this size: 200 points cannot say more."""
_FIRST_TOLERANCE_PX = 0.75
# Directions in turning order: right, down, left, up
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def outlines(mask: Mask, scale: float) -> tuple[Points, ...]:
    """Outer boundaries of the largest regions [K, 2] (row, col), mask pixels times `scale`.

    Closed (the first point is repeated last), free of self-intersections, largest area first, at
    most MOST_OUTLINES of at most MOST_POINTS points. Holes are not drawn.
    """
    factor = -(-max(mask.shape) // _LONGEST_SIDE_PX)
    small = fill_holes(_shrink(mask, factor), mask.size)
    labels, areas = label(small)
    order = np.argsort(-areas[1:], kind="stable")[:MOST_OUTLINES] + 1
    found = [_simplify(_trace(labels == number)) for number in order]
    # Pixels at the far edge may be cut off by the shrinking grid; the mask itself is the limit.
    limit = np.array(mask.shape, np.float64)
    return tuple(np.minimum(points * factor, limit) * scale for points in found)


def area(points: Points) -> float:
    """Area enclosed by a closed polyline (shoelace formula), in squared units of the points."""
    row, col = points.T
    return float(abs(np.sum(row[:-1] * col[1:] - row[1:] * col[:-1])) / 2)


def crosses_itself(points: Points) -> bool:
    """Whether two segments of a closed polyline cross; touching at a point is no crossing."""
    start, end = points[:-1], points[1:]
    s, e = start[:, None], end[:, None]
    other_start = _side(s, e, start[None])
    other_end = _side(s, e, end[None])
    straddles = other_start * other_end < 0
    return bool(np.any(straddles & straddles.T))


def _side(start: Points, end: Points, point: Points) -> Points:
    """Sign tells on which side of the line start-end a point lies; 0 on it."""
    line, to = end - start, point - start
    return np.asarray(line[..., 0] * to[..., 1] - line[..., 1] * to[..., 0])


def _shrink(mask: Mask, factor: int) -> Mask:
    """Blocks of factor x factor pixels of which at least half are set."""
    if factor == 1:
        return mask
    rows, cols = (-(-side // factor) for side in mask.shape)
    padded = np.zeros((rows * factor, cols * factor), np.bool_)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    counts = padded.reshape(rows, factor, cols, factor).sum((1, 3), dtype=np.int32)
    return np.asarray(2 * counts >= factor**2)


def _trace(region: Mask) -> Points:
    """Corners [K, 2] of the outer boundary of one 4-connected region, clockwise, closed.

    Walks along pixel edges with the region on the right hand and turns right where it can, so
    that pixels which only touch at a corner are not crossed over.
    """
    inside = np.pad(region, 1)
    first_row = int(np.argmax(inside.any(1)))
    row, col = first_row, int(np.argmax(inside[first_row]))
    start, direction = (row, col), 0
    corners = [start]
    while True:
        row, col = row + _STEPS[direction][0], col + _STEPS[direction][1]
        if (row, col) == start:
            break
        turn = next(t for t in (1, 0, 3) if _edge(inside, row, col, (direction + t) % 4))
        if turn:
            corners.append((row, col))
            direction = (direction + turn) % 4
    return np.array([*corners, start], np.float64) - 1


def _edge(inside: Mask, row: int, col: int, direction: int) -> bool:
    """Whether the boundary runs from corner (row, col) in a direction: region right, not left."""
    ahead = {
        0: ((row, col), (row - 1, col)),
        1: ((row, col - 1), (row, col)),
        2: ((row - 1, col - 1), (row, col - 1)),
        3: ((row - 1, col), (row - 1, col - 1)),
    }
    right, left = ahead[direction]
    return bool(inside[right]) and not inside[left]


def _simplify(points: Points) -> Points:
    """The polyline with few enough points: the finest tolerance that leaves no crossing."""
    tolerance = _FIRST_TOLERANCE_PX
    weights = _weights(points, tolerance)
    while True:
        kept = points[weights > tolerance]
        if len(kept) < 4:  # a speck or a sliver: its bounding box is what is left to say
            return _bounding_box(points)
        if len(kept) <= MOST_POINTS and not crosses_itself(kept):
            return kept
        tolerance *= 1.3


def _weights(points: Points, least: float) -> NDArray[np.float64]:
    """[K] the tolerance up to which Douglas and Peucker (1973) keep each point of a closed
    polyline; 0 for those dropped at `least` already."""
    far = int(np.argmax(np.sum((points - points[0]) ** 2, axis=1)))
    weights = np.zeros(len(points))
    weights[[0, far, -1]] = np.inf
    stack = [(0, far, np.inf), (far, len(points) - 1, np.inf)]
    while stack:
        first, last, most = stack.pop()
        if last - first < 2:
            continue
        between = points[first + 1 : last]
        length = float(np.hypot(*(points[last] - points[first])))
        if length == 0:
            distance = np.hypot(*(between - points[first]).T)
        else:
            distance = np.abs(_side(points[first], points[last], between)) / length
        at = int(np.argmax(distance))
        if distance[at] > least:
            middle = first + 1 + at
            # A point is reached only where all that split the line before it were kept.
            weights[middle] = min(most, float(distance[at]))
            stack += [(first, middle, weights[middle]), (middle, last, weights[middle])]
    return weights


def _bounding_box(points: Points) -> Points:
    (top, left), (bottom, right) = points.min(0), points.max(0)
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
