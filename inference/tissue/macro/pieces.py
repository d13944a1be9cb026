"""Pieces of what may be tissue on the glass: not the label, not pen, not edges of glass."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray

from inference.tissue.macro.stain import Colors
from inference.tissue.regions import Mask, Regions, dilate

MARGIN_MM = 1.0
"""What is so near to a scan counts as scanned: after the correction by their tissue, overview and
scan still differ by the blur, the distortion and the coarse pixels of the overview."""
SMALLEST_MM2 = 1.0
"""The smallest piece that is said: dust, drops and bubbles are smaller."""
EDGE_MM = 1.5
"""The edge of a picture, and of what is black around it, is the edge of the glass."""
THINNEST_MM = 0.5
"""Narrower things are print, scratches and edges of cover slips; a needle biopsy is wider."""
AROUND_MM, MOST_AROUND = 1.0, 0.1
"""Around a piece is glass: share of anything else from which on it belongs to that."""
LABEL_MM, LABEL_SHARE = 27.0, 0.4
"""Length of the part of a slide that can have a label, and its share of a short picture."""
PRINTED = 0.01
"""Share of an end of the slide that is neither glass nor tissue from which on it is a label."""
BLACKED_MM = 10.0
"""A black end longer than this is no border: the label was made black, and ends where it ends."""
RECTANGLE = 0.85
"""Share of its bounding box that a sticker fills and no tissue does: an ellipse fills 0.79."""
_DARK_SHARE = 0.7

Size = tuple[float, float]


def pieces_outside(colors: Colors, dark: Mask, seen: Mask, pixel_mm: Size) -> Mask:
    """[h, w] what may be tissue outside of what was scanned; `dark` is black in the overview.

    A piece counts when it is as large as SMALLEST_MM2, has glass on all sides, is no rectangle,
    and lies neither at the edge of the glass nor in an end of it where print is.
    """
    finest = min(pixel_mm)
    near_scan = dilate(seen, ceil(MARGIN_MM / finest))
    reach = max(1, round(THINNEST_MM / 2 / finest))
    solid = dilate(~dilate(~colors.tissue, reach), reach)
    found = solid & ~near_scan
    if not found.any():
        return found
    barred = _edges(dark, pixel_mm)
    barred |= _labels(colors, dark, near_scan | barred, pixel_mm)
    regions = Regions.of(found)
    smallest = SMALLEST_MM2 / (pixel_mm[0] * pixel_mm[1])
    keep = regions.areas >= smallest
    around = max(1, round(AROUND_MM / finest))
    for number in np.flatnonzero(keep).tolist():
        keep[number] = _is_piece(regions, number, colors.other, barred, around)
    return regions.painted(keep)


def _is_piece(regions: Regions, number: int, other: Mask, barred: Mask, around: int) -> bool:
    here = regions.numbers == number
    rows, starts, stops = regions.rows[here], regions.starts[here], regions.stops[here]
    top, left = max(int(rows.min()) - around, 0), max(int(starts.min()) - around, 0)
    bottom, right = int(rows.max()) + 1 + around, int(stops.max()) + around
    box = (slice(top, bottom), slice(left, right))
    piece = np.zeros(other[box].shape, np.bool_)
    for row, start, stop in zip(rows - top, starts - left, stops - left, strict=True):
        piece[row, start:stop] = True
    height, width = int(np.ptp(rows)) + 1, int(stops.max() - starts.min())
    if piece.sum() >= RECTANGLE * height * width or (piece & barred[box]).any():
        return False
    ring = dilate(piece, around) & ~piece
    return bool(other[box][ring].mean() <= MOST_AROUND)


def _edges(dark: Mask, pixel_mm: Size) -> Mask:
    """What is near to the border of the picture, or to black that reaches it."""
    frame = np.ones(dark.shape, np.bool_)
    frame[1:-1, 1:-1] = False
    regions = Regions.of(dark | frame)
    at_border = np.zeros(len(regions.areas), np.bool_)
    at_border[regions.numbers[0]] = True  # the frame itself, and all that touches it
    return dilate(regions.painted(at_border), ceil(EDGE_MM / min(pixel_mm)))


def _labels(colors: Colors, dark: Mask, left_out: Mask, pixel_mm: Size) -> Mask:
    """The ends of the slide that have print, ink or a frosted part of another brightness."""
    found = np.zeros(dark.shape, np.bool_)
    for end in _ends(dark, pixel_mm):
        counted = ~left_out[end]
        others = int((colors.other[end] & counted).sum())
        found[end] = others > PRINTED * max(int(counted.sum()), 1)
    return found


def _ends(dark: Mask, pixel_mm: Size) -> Iterator[tuple[slice, slice]]:
    """Both ends of the long side of the glass; all four where no side is long."""
    spans = [_span(~(dark.mean(1 - axis) > _DARK_SHARE)) for axis in (0, 1)]
    sizes = [(stop - start) * mm for (start, stop), mm in zip(spans, pixel_mm, strict=True)]
    for axis in (0, 1):
        if sizes[axis] * 1.3 < sizes[1 - axis]:
            continue
        (start, stop), length = spans[axis], sizes[axis]
        last = dark.shape[axis]
        reach = ceil(min(LABEL_MM, LABEL_SHARE * length) / pixel_mm[axis])
        blacked = BLACKED_MM / pixel_mm[axis]
        first_end = reach if start > blacked else start + reach
        second_end = last - reach if last - stop > blacked else stop - reach
        for part in (slice(0, first_end), slice(max(second_end, 0), None)):
            yield (part, slice(None)) if axis == 0 else (slice(None), part)


def _span(there: NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(there)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, len(there))
