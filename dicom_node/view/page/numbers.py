"""Numbers of a report as rows of a table, each with what it must not be read without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from html import escape

from dicom_node.view.page.markup import bar, note
from dicom_node.view.reading import Measurement

MARK = '<span class="mark">research</span>'
_LOW, _HIGH = re.compile(r"\b(lower|low)\b", re.I), re.compile(r"\b(upper|high)\b", re.I)
_OFFSET = re.compile("uncertainty", re.I)
_INTERVAL = re.compile(r"interval|uncertain|confidence|calibrat", re.I)


def is_of_a_region(name: str) -> bool:
    """Whether a number is counted on a map: how much of it lies in a region."""
    return bool(re.search(r"\bregion\b", name, re.I))


def rows(measurements: Iterable[Measurement], comments: Sequence[str], *, mark: bool) -> str:
    """Rows of a table; `mark` puts the mark of research at each."""
    return "".join(_row(m, comments, mark=mark) for m in measurements)


def said_of_a_number(comment: str, measurements: Iterable[Measurement]) -> bool:
    """Whether a comment stands below a number already."""
    return any(_said_of(m, [comment]) for m in measurements)


def speaks_of_intervals(text: str) -> bool:
    """Whether a sentence says how sure a number is, or that nobody knows."""
    return bool(_INTERVAL.search(text))


def states_interval(measurement: Measurement) -> bool:
    """Whether the report says how sure the number is, or that nobody knows."""
    return any(_INTERVAL.search(name) or _is_end(name) for name, _ in measurement.details)


def _row(measurement: Measurement, comments: Sequence[str], *, mark: bool) -> str:
    below = _chance(measurement)
    below += "".join(map(note, (*_details(measurement), *_said_of(measurement, comments))))
    unit = "of 100" if measurement.is_percentile else measurement.unit
    return (
        f'<tr><th scope="row">{escape(measurement.name)}{below}</th>'
        f'<td class="value">{escape(measurement.value)}</td>'
        f'<td class="unit">{escape(unit)}{MARK if mark else ""}</td></tr>'
    )


def _chance(measurement: Measurement) -> str:
    """A bar below a probability; a rank, which looks like one, never has any."""
    if measurement.unit != "%" or not measurement.is_probability:
        return ""
    label = f"{measurement.name}: {measurement.value} %"
    return bar(float(measurement.value) / 100, label)


def _details(measurement: Measurement) -> Iterable[str]:
    """Ends of an interval in one line, everything else a line by itself."""
    ends = [(name, value) for name, value in measurement.details if _is_end(name)]
    low = next((_end(measurement, *e, -1) for e in ends if _LOW.search(e[0])), "")
    high = next((_end(measurement, *e, +1) for e in ends if _HIGH.search(e[0])), "")
    is_whole = bool(low and high)
    if is_whole:
        yield f"Interval {low} to {high} {measurement.unit}".strip()
    yield from (_told(*d) for d in measurement.details if not (is_whole and d in ends))


def _end(measurement: Measurement, name: str, said: str, sign: int) -> str:
    """An end of the interval: as said, or as far from the value as an uncertainty says (PS3.16
    TID 310); empty where that is no number."""
    number = said.removesuffix(measurement.unit).strip()
    try:
        end = Decimal(number)
        around = Decimal(measurement.value) + sign * end if _OFFSET.search(name) else end
    except InvalidOperation:
        return ""
    return f"{around.normalize():f}"


def _is_end(name: str) -> bool:
    return bool(re.search(r"\b(lower|upper)\b|\b(low|high) (end|limit|bound)", name, re.I))


def _said_of(measurement: Measurement, comments: Sequence[str]) -> list[str]:
    """The comments that are of this number alone."""
    start = "Percentiles refer to: " if measurement.is_percentile else f"{measurement.name}: "
    said = [c.removeprefix(start) for c in comments if c.startswith(start)]
    if measurement.is_percentile:
        return [f"A rank, not a probability, among: {text}" for text in said]
    return [text[:1].upper() + text[1:] for text in said]


def _told(name: str, value: str) -> str:
    return f"{name}: {value}" if name else value
