"""Outlines of the regions of a mask: closed polylines along pixel edges, simplified."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.tissue.regions import Mask, Regions, fill_holes

Points = NDArray[np.float64]

MOST_OUTLINES = 20
MOST_POINTS = 200
_LONGEST_SIDE_PX = 1024
"""Masks are traced at no more than this size: 200 points cannot say more."""
_FIRST_TOLERANCE_PX = 0.75
# Directions in turning order: right, down, left, up
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
_AROUND = ((-1, -1), (-1, 0), (0, -1), (0, 0))
"""The pixels around a corner, from its own row and column: bits 0 to 3 of its code."""
_SIDES = ((3, 1), (2, 3), (0, 2), (1, 0))
"""Bits of the pixels to the right and left of whoever leaves a corner in each direction."""


def outlines(mask: Mask, scale: float) -> tuple[Points, ...]:
    """Outer boundaries of the largest regions [K, 2] (row, col), mask pixels times `scale`.

    Closed (the first point is repeated last), free of self-intersections, largest area first, at
    most MOST_OUTLINES of at most MOST_POINTS points. Holes are not drawn.
    """
    factor = -(-max(mask.shape) // _LONGEST_SIDE_PX)
    small = fill_holes(_shrink(mask, factor), mask.size)
    regions = Regions.of(small)
    order = np.argsort(-regions.areas, kind="stable")[:MOST_OUTLINES]
    traced = [_trace(*regions.cut_out(int(number))) for number in order]
    found = [_simplify(*pair) for pair in zip(traced, _weights(traced), strict=True)]
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
    down = np.zeros((rows, cols * factor), np.int32)
    for n in range(factor):  # a sum over short axes takes many times as long
        down += padded[n::factor]
    counts = np.zeros((rows, cols), np.int32)
    for n in range(factor):
        counts += down[:, n::factor]
    return np.asarray(2 * counts >= factor**2)


def _trace(region: Mask, top: int, left: int) -> Points:
    """Corners [K, 2] of the outer boundary of one 4-connected region, clockwise, closed, with the
    region's own corner at (top, left).

    Walks along pixel edges with the region on the right hand and turns right where it can, so
    that pixels which only touch at a corner are not crossed over.
    """
    inside = np.pad(region, 1)
    codes = np.zeros((region.shape[0] + 1, region.shape[1] + 1), np.uint8)
    for bit, (down, along) in enumerate(_AROUND):
        codes |= inside[1 + down :, 1 + along :][: len(codes), : codes.shape[1]] << np.uint8(bit)
    width = codes.shape[1]
    steps = [down * width + along for down, along in _STEPS]
    at = start = int(np.argmax(region[0]))  # its first row has a pixel: the box ends there
    code_at, direction, corners = codes.tobytes(), 0, [start]
    while True:
        at += steps[direction]
        if at == start:
            break
        turned = _TURNS[code_at[at]][direction]
        if turned != direction:
            corners.append(at)
            direction = turned
    places = np.array([*corners, start])
    return np.stack((places // width + top, places % width + left), 1).astype(np.float64)


def _turns(code: int) -> tuple[int, ...]:
    """The direction in which the boundary leaves a corner of that code, by the direction in which
    it came; -1 where there is none."""

    def leads(direction: int) -> bool:
        right, left = _SIDES[direction]
        return bool(code >> right & 1 and not code >> left & 1)

    return tuple(
        next((out for t in (1, 0, 3) if leads(out := (came + t) % 4)), -1) for came in range(4)
    )


_TURNS = tuple(_turns(code) for code in range(16))


def _simplify(points: Points, weights: NDArray[np.float64]) -> Points:
    """The polyline with few enough points: the finest tolerance that leaves no crossing."""
    tolerance = _FIRST_TOLERANCE_PX
    while True:
        kept = points[weights > tolerance]
        if len(kept) < 4:  # a speck or a sliver: its bounding box is what is left to say
            return _bounding_box(points)
        if len(kept) <= MOST_POINTS and not crosses_itself(kept):
            return kept
        tolerance *= 1.3


def _weights(polylines: Sequence[Points]) -> list[NDArray[np.float64]]:
    """[K] of each closed polyline [K, 2]: the tolerance up to which Douglas and Peucker (1973) keep
    each point; 0 for those dropped at the first tolerance already.

    The lines of all polylines are split at once, those of the halves next.
    """
    if not polylines:
        return []
    points = np.concatenate(polylines)
    ends = np.cumsum([len(p) for p in polylines])
    begins = ends - [len(p) for p in polylines]
    far = begins + [int(np.argmax(np.sum((p - p[0]) ** 2, axis=1))) for p in polylines]
    weights = np.zeros(len(points))
    weights[np.concatenate((begins, far, ends - 1))] = np.inf
    first, last = np.concatenate((begins, far)), np.concatenate((far, ends - 1))
    most = np.full(len(first), np.inf)
    while len(first):
        at, distance = _farthest(points, first, last)
        kept = distance > _FIRST_TOLERANCE_PX
        first, at, last = first[kept], at[kept], last[kept]
        # A point is reached only where all that split the line before it were kept.
        weights[at] = most = np.minimum(most, distance)[kept]
        first, last = np.concatenate((first, at)), np.concatenate((at, last))
        most = np.concatenate((most, most))
    return np.split(weights, ends[:-1])


def _farthest(
    points: Points, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[S] which point between each two is the farthest from the line through them, the first of
    several, and its distance; 0 where none is between."""
    farthest, farness = first.copy(), np.zeros(len(first))
    some = np.flatnonzero(last - first >= 2)
    if not len(some):
        return farthest, farness
    counts = (last - first - 1)[some]
    begin = np.cumsum(counts) - counts
    start, end = points[first[some]], points[last[some]]
    length = np.hypot(*(end - start).T)
    between = np.arange(counts.sum()) + np.repeat(first[some] + 1 - begin, counts)
    to = points[between] - np.repeat(start, counts, axis=0)
    along = np.repeat(end - start, counts, axis=0)
    distance = np.abs(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])
    distance /= np.repeat(np.where(length > 0, length, 1), counts)
    is_point = np.repeat(length == 0, counts)
    distance[is_point] = np.hypot(*to[is_point].T)
    farness[some] = np.maximum.reduceat(distance, begin)
    hits = np.flatnonzero(distance == np.repeat(farness[some], counts))
    farthest[some] = between[hits[np.searchsorted(hits, begin)]]
    return farthest, farness


def _bounding_box(points: Points) -> Points:
    (top, left), (bottom, right) = points.min(0), points.max(0)
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
