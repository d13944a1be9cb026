"""Areas and shares of the same tissue in one line each: the page has no room for more."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.results.pdf.said import Number

_AREA, _SHARE = " mm2", " %"


def together(numbers: Sequence[Number]) -> list[Number]:
    """The numbers in their order; where two are area and share of the same classes they are one,
    named by these. Of what is beside them their intervals stay."""
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
            found.append(number)
        elif number.counted not in done:
            done.add(number.counted)
            beside = dict.fromkeys(text for n in same for text in n.interval)
            value = f"{share[0].value}, {area[0].value}"
            found.append(Number(number.counted, value, (), number.counted, tuple(beside)))
    return found
