"""Vector graphics over the picture of a slide: outlines, boxes, regions and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from dicom_node.view import pictures
from dicom_node.view.reading import Group
from dicom_node.view.segments import Region
from inference.types import SlideGeometry

_BAR_AT_MOST, _OF_THE_WIDTH_AT_MOST = 0.22, 0.6
"""Of the picture as people see it, whose height is bounded, and of its width alone."""


def drawing(
    geometry: SlideGeometry,
    groups: Sequence[Group],
    regions: Sequence[Region],
    numbers: Mapping[str, int],
) -> str:
    """All of it as one SVG in pixels of the base level; `numbers` are of the patches by title."""
    outlines: list[str] = []
    boxes: list[str] = []
    for group in groups:
        if not len(group.region_mm):
            continue
        points = _points(geometry, group)
        if group.is_patch:
            boxes.append(_box(geometry, group, points, numbers[group.title]))
        else:
            outlines.append(f'<polyline class="outline" points="{points}"/>')
    borders = "".join(map(_region, regions))
    title = f"<title>{escape(_title(len(outlines), len(boxes), regions))}</title>"
    return (
        f'<svg class="over" viewBox="0 0 {geometry.cols} {geometry.rows}" role="img">{title}'
        f'<g class="outlines">{"".join(outlines)}</g><g class="regions">{borders}</g>'
        f'<g class="boxes">{"".join(boxes)}</g>{scale_bar(geometry)}</svg>'
    )


def scale_bar(geometry: SlideGeometry) -> str:
    """A bar of 1, 2 or 5 times a power of ten, with its length in words."""
    cols, rows, mm = geometry.cols, geometry.rows, geometry.spacing_col_mm
    at_most = min(_BAR_AT_MOST * 34 * _letters(geometry), _OF_THE_WIDTH_AT_MOST * cols)
    length_mm = nice_length(at_most * mm)
    size, width = 0.85 * _letters(geometry), length_mm / mm
    left, top = cols - width - size, rows - size
    text = f"{length_mm:g} mm" if length_mm >= 1 else f"{1000 * length_mm:g} µm"
    return (
        f'<g class="scale-bar"><rect x="{left:.0f}" y="{top:.0f}" width="{width:.1f}" '
        f'height="{size / 4:.0f}"/><text x="{left + width / 2:.0f}" y="{top - size / 3:.0f}" '
        f'text-anchor="middle" font-size="{size:.0f}" stroke-width="{size / 5:.0f}">{text}</text>'
        "</g>"
    )


def nice_length(at_most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no larger."""
    power = 10.0 ** math.floor(math.log10(at_most))
    return next(step * power for step in (5, 2, 1) if step * power <= at_most)


def _letters(geometry: SlideGeometry) -> float:
    """Size of letters in pixels of the base level: as large beside a tall slide as a wide one."""
    return max(geometry.cols / 34, geometry.rows / 26)


def _points(geometry: SlideGeometry, group: Group) -> str:
    outline = pictures.to_pixels(geometry, group.region_mm)
    return " ".join(f"{col:.0f},{row:.0f}" for row, col in outline)


def _box(geometry: SlideGeometry, group: Group, points: str, number: int) -> str:
    size = _letters(geometry)
    outline = pictures.to_pixels(geometry, group.region_mm)
    row, col = outline[:, 0].min() - size / 4, outline[:, 1].min()
    row = row if row > size else outline[:, 0].max() + size  # below, where none fits above
    values = ", ".join(f"{m.name} {m.value} {m.unit}".strip() for m in group.measurements)
    edges = "".join(f'<polygon class="{c}" points="{points}"/>' for c in ("cell-edge", "cell"))
    return (
        f"<g><title>{escape(f'Patch {number}: {values}')}</title>{edges}"
        f'<text class="number" x="{col:.0f}" y="{row:.0f}" font-size="{size:.0f}" '
        f'stroke-width="{size / 6:.0f}">{number}</text></g>'
    )


def _region(region: Region) -> str:
    path = "".join(f"M{a[1]:.0f},{a[0]:.0f}L{b[1]:.0f},{b[0]:.0f}" for a, b in region.borders)
    return f'<path class="region" d="{path}"><title>{escape(region.name)}</title></path>'


def _title(outlines: int, boxes: int, regions: Sequence[Region]) -> str:
    parts = []
    if outlines:
        parts.append("the outline that the report gives")
    if boxes:
        parts.append(f"{boxes} numbered boxes of top patches")
    parts += [f"the border of {region.name}" for region in regions]
    return f"Over the slide: {'; '.join((*parts, 'a scale bar'))}"
