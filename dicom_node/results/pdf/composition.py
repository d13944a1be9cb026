"""Areas and shares of the same tissue in one line each: the page has no room for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dicom_node.results.pdf.said import Number

_AREA, _SHARE = " mm²", " %"


def together(numbers: Sequence[Number]) -> list[Number]:
    """The numbers in their order; where two are area and share of the same classes they are one,
    named by these. Intervals of what is counted stand in brackets."""
    found: list[Number] = []
    done: set[str] = set()
    for number in numbers:
        if not number.counted:
            found.append(number)
            continue
        same = [n for n in numbers if n.counted == number.counted]
        area = [n for n in same if n.value.endswith(_AREA)]
        share = [n for n in same if n.value.endswith(_SHARE)]
        if not (len(same) == 2 and area and share):
            found.append(replace(number, value=with_interval(number)))
        elif number.counted not in done:
            done.add(number.counted)
            values = ", ".join(map(with_interval, (share[0], area[0])))
            beside = tuple(text for n in same for text in n.interval)
            found.append(Number(number.counted, values, (), number.counted, beside))
    return found


def with_interval(number: Number) -> str:
    """The value, and in brackets its interval, which is in the same unit."""
    ends = "; ".join(text.partition(": ")[2] for text in number.interval)
    return f"{number.value} ({ends})" if ends else number.value
