"""Drawings of a report as inline SVG: no scripts, no fonts of their own, colors from the page.

Colors are CSS classes of report.html (c0, c1 ...), so that a drawing follows light, dark and print.
All positions are px of the view box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from training.scoring.curves import Calibration, Curve, RiskGroups
from training.scoring.resample import Interval

WIDE_PX = 760
LINE_PX = 22
SMALL_PX = 340


@dataclass(frozen=True)
class Axis:
    """Values low..high on px start..end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies, px, kept on the axis."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers on the axis."""
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Mark:
    """A value with its interval, drawn in color class c<color>."""

    interval: Interval
    color: int


def dots(rows: Sequence[tuple[str, Sequence[Mark]]], *, line_at: float, title: str) -> str:
    """One band per row (a cohort), one dot with its interval per mark; a line at `line_at`."""
    marks = [mark for _, row in rows for mark in row]
    left, top, gap = 130, 8, 14
    bands = [max(len(row), 1) * gap + 12 for _, row in rows]
    bottom = top + sum(bands)
    axis = _axis_around(marks, line_at, left, WIDE_PX - 60)
    parts, y = _vertical_grid(axis, top, bottom, line_at), float(top)
    for (label, row), band in zip(rows, bands, strict=True):
        parts.append(_text(left - 12, y + band / 2 + 4, label, "end"))
        for at, mark in enumerate(row):
            parts += _dot(axis, y + 12 + at * gap, mark)
        y += band
        parts.append(_line(left, y, WIDE_PX - 60, y, "rule"))
    return _svg(WIDE_PX, bottom + 26, parts, title)


def forest(rows: Sequence[tuple[str, Interval, bool]], *, title: str, unit: str) -> str:
    """Differences with intervals around 0; a row with True is a summary and drawn as a diamond."""
    left, top = 130, 8
    bottom = top + LINE_PX * len(rows)
    right = WIDE_PX - 210
    axis = _axis_around([Mark(interval, 0) for _, interval, _ in rows], 0.0, left, right)
    parts = _vertical_grid(axis, top, bottom, 0.0)
    for at, (label, interval, summary) in enumerate(rows):
        y = top + LINE_PX * at + LINE_PX / 2
        kind = "strong" if summary else ""
        parts.append(_text(left - 12, y + 4, label, "end", kind))
        parts += _diamond(axis, y, interval) if summary else _dot(axis, y, Mark(interval, 0))
        parts.append(_text(right + 14, y + 4, _signed(interval), "start", f"number {kind}"))
    parts.append(_text(axis.at(0.0) + 6, bottom + 38, f"{unit} better →", "start", "faint"))
    return _svg(WIDE_PX, bottom + 46, parts, title)


def kaplan_meier(groups: RiskGroups, *, title: str) -> str:
    """Survival of the low and high half with 95 % bands, and the numbers at risk below."""
    left, right, top, bottom = 60, SMALL_PX - 10, 10, 190
    last = max(groups.low.months[-1], groups.high.months[-1])
    x, y = Axis(0.0, last, left, right), Axis(0.0, 1.0, bottom, top)
    parts = _frame(x, y, groups.low.at_months)
    for color, curve in ((0, groups.low), (1, groups.high)):
        parts.append(f'<path class="band c{color}" d="{_band(x, y, curve)}"/>')
        parts.append(f'<path class="curve c{color}" d="{_steps(x, y, curve)}"/>')
    parts.append(_text(left - 20, bottom + 36, "at risk", "end", "faint"))
    for row, (color, name, curve) in enumerate(((0, "low", groups.low), (1, "high", groups.high))):
        height = bottom + 51 + 15 * row
        parts.append(_text(left - 20, height, name, "end", f"ink c{color}"))
        parts += [
            _text(x.at(at), height, str(number), "middle", "number")
            for at, number in zip(curve.at_months, curve.at_risk, strict=True)
        ]
    return _svg(SMALL_PX, bottom + 76, parts, title)


def calibration(found: Calibration, *, title: str) -> str:
    """Predicted against observed with intervals; the diagonal is perfect."""
    side, left, top = 200, 44, 10
    x = Axis(0.0, 1.0, left, left + side)
    y = Axis(0.0, 1.0, top + side, top)
    parts = _frame(x, y, (0.0, 0.25, 0.5, 0.75, 1.0))
    parts.append(_line(x.at(0), y.at(0), x.at(1), y.at(1), "zero"))
    for point in found.points:
        if math.isnan(point.observed):
            continue
        at = x.at(point.predicted)
        parts.append(_line(at, y.at(point.low), at, y.at(point.high), "whisker c0"))
        size = 2.5 + 3.5 * math.sqrt(point.patients / max(p.patients for p in found.points))
        parts.append(
            f'<circle class="dot c0" cx="{at}" cy="{y.at(point.observed)}" r="{size:.1f}"/>'
        )
    parts.append(_text(left + side / 2, top + side + 34, "predicted", "middle", "faint"))
    parts.append(_text(left + 6, top + 14, "observed", "start", "faint"))
    return _svg(left + side + 14, top + side + 42, parts, title)


def _axis_around(marks: Sequence[Mark], line_at: float, start: float, end: float) -> Axis:
    ends = [line_at]
    for mark in marks:
        ends += [mark.interval.value, mark.interval.low, mark.interval.high]
    known = [value for value in ends if not math.isnan(value)]
    margin = max(0.02, 0.05 * (max(known) - min(known)))
    return Axis(min(known) - margin, max(known) + margin, start, end)


def _vertical_grid(axis: Axis, top: float, bottom: float, line_at: float) -> list[str]:
    step = axis.ticks(6)
    digits = 2 if step[1] - step[0] < 0.1 else 1
    parts = []
    for value in step:
        at = axis.at(value)
        parts.append(_line(at, top, at, bottom, "grid"))
        parts.append(
            _text(
                at, bottom + 18, f"{value:.{digits}f}".replace("-", "−"), "middle", "number faint"
            )
        )
    at = axis.at(line_at)
    return [*parts, _line(at, top - 4, at, bottom, "zero")]


def _frame(x: Axis, y: Axis, x_ticks: Sequence[float]) -> list[str]:
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = y.at(value)
        parts.append(_line(x.start, at, x.end, at, "grid"))
        parts.append(_text(x.start - 8, at + 4, f"{value:g}", "end", "number faint"))
    for value in x_ticks:
        parts.append(_text(x.at(value), y.start + 17, f"{value:g}", "middle", "number faint"))
    return [*parts, _line(x.start, y.start, x.end, y.start, "rule")]


def _dot(axis: Axis, y: float, mark: Mark) -> list[str]:
    found, color = mark.interval, f"c{mark.color}"
    if math.isnan(found.value):
        return [_text(axis.start + 4, y + 4, "undefined", "start", "faint")]
    parts = []
    if not math.isnan(found.low):
        parts.append(_line(axis.at(found.low), y, axis.at(found.high), y, f"whisker {color}"))
    at = axis.at(found.value)
    said = f"<title>{found.value:.3f} ({found.low:.3f} to {found.high:.3f})</title>"
    return [*parts, f'<circle class="dot {color}" cx="{at}" cy="{y}" r="4">{said}</circle>']


def _diamond(axis: Axis, y: float, found: Interval) -> list[str]:
    if math.isnan(found.low):
        return _dot(axis, y, Mark(found, 0))
    low, at, high = axis.at(found.low), axis.at(found.value), axis.at(found.high)
    points = f"{low},{y} {at},{y - 6} {high},{y} {at},{y + 6}"
    return [f'<polygon class="dot c0" points="{points}"/>']


def _steps(x: Axis, y: Axis, curve: Curve) -> str:
    return _path(x, y, curve.months, curve.survival, "M")


def _band(x: Axis, y: Axis, curve: Curve) -> str:
    known = [at for at, low in enumerate(curve.low) if not math.isnan(low + curve.high[at])]
    months = [curve.months[at] for at in known]
    above = _path(x, y, months, [curve.high[at] for at in known], "M")
    corners = _corners(x, y, months, [curve.low[at] for at in known])
    return above + "".join(f"L{across},{down}" for across, down in reversed(corners)) + "Z"


def _path(x: Axis, y: Axis, months: Sequence[float], values: Sequence[float], start: str) -> str:
    corners = _corners(x, y, months, values)
    first, rest = corners[0], corners[1:]
    return f"{start}{first[0]},{first[1]}" + "".join(f"L{a},{b}" for a, b in rest)


def _corners(
    x: Axis, y: Axis, months: Sequence[float], values: Sequence[float]
) -> list[tuple[float, float]]:
    """Corners of a step function that holds a value until the next month."""
    corners = [(x.at(months[0]), y.at(values[0]))]
    for month, value in zip(months[1:], values[1:], strict=True):
        corners.append((x.at(month), corners[-1][1]))
        if y.at(value) != corners[-1][1]:
            corners.append((x.at(month), y.at(value)))
    return corners


def _signed(found: Interval) -> str:
    if math.isnan(found.low):
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})".replace("-", "−")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
