"""What tissue a slide is made of: the table of its numbers, and the picture of its classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from dicom_node.view import pictures
from dicom_node.view.classes import ClassMap, ClassShown
from dicom_node.view.page.drawing import drawing
from dicom_node.view.page.markup import bar, card, note
from dicom_node.view.page.numbers import MARK
from dicom_node.view.reading import Group, Measurement
from inference.types import SlideGeometry

_AREA, _SHARE = "mm²", "%"
_ABOUT = (
    "Each tile has the color of its most probable class. Glass and other background has none. "
    "Areas and shares are those of the report: where it states none, none is shown."
)


def composition_table(
    measurements: Sequence[Measurement], *, mark: bool
) -> tuple[str, list[Measurement]]:
    """A table of the classes that have an area and a share, one a row with a bar, and the numbers
    that are not in it; `mark` puts the mark of research at each."""
    pairs = {
        key: pair
        for key in dict.fromkeys(m.counted for m in measurements if m.counted)
        if (pair := _pair([m for m in measurements if m.counted == key]))
    }
    if not pairs:
        return "", list(measurements)
    rows = "".join(_row(name, *pair, mark=mark) for name, pair in pairs.items())
    others = [m for m in measurements if m.counted not in pairs]
    return f'<table class="composition">{rows}</table>', others


def class_cards(
    maps: Sequence[ClassMap],
    pixels: NDArray[np.uint8],
    uri: str,
    geometry: SlideGeometry,
    groups: Sequence[Group],
) -> str:
    """A card for each map of classes, over the slide's picture [H, W, 3] at `uri`; `groups` are
    those of the report, of which that of the map has the only numbers beside the colors."""
    return "".join(_card(one, pixels, uri, geometry, _said_of(one, groups)) for one in maps)


def _said_of(one: ClassMap, groups: Sequence[Group]) -> Sequence[Measurement]:
    """The numbers of the group that is called after the map, without parentheses and with its
    place; none where two maps come out alike."""
    name = " ".join(f"composition {one.name}".replace("(", "").replace(")", "").split())
    title = re.compile(rf"{re.escape(name)} \d+")
    found = [g for g in groups if title.fullmatch(" ".join(g.title.split()))]
    return found[0].measurements if len(found) == 1 else ()


def _pair(found: Sequence[Measurement]) -> tuple[Measurement, Measurement] | None:
    """Area and share; None where there are other numbers of the same classes, or one is lacking."""
    by_unit = {m.unit: m for m in found}
    if len(found) != 2 or set(by_unit) != {_AREA, _SHARE}:
        return None
    return by_unit[_AREA], by_unit[_SHARE]


def _row(name: str, area: Measurement, share: Measurement, *, mark: bool) -> str:
    below = _bar_of(name, share)
    below += note(". ".join(dict.fromkeys((*_details(area), *_details(share)))))
    return (
        f'<tr class="over-note"><th scope="row">{escape(name)}</th>'
        f'<td class="value">{escape(area.value)}</td><td class="unit">{_AREA}</td>'
        f'<td class="value">{escape(share.value)}</td>'
        f'<td class="unit">{_SHARE}{MARK if mark else ""}</td></tr>'
        f'<tr><td class="below" colspan="5">{below}</td></tr>'
    )


def _details(one: Measurement) -> Iterator[str]:
    """What the report says of a number but for its classes, which head the row; an interval with
    the unit that it is in."""
    for name, text in one.details:
        if text == one.counted:
            continue
        yield f"{name}: {text}" + (f" {one.unit}" if "interval" in name.casefold() else "")


def _card(
    one: ClassMap,
    pixels: NDArray[np.uint8],
    uri: str,
    geometry: SlideGeometry,
    said: Sequence[Measurement],
) -> str:
    aspect = pixels.shape[1] / pixels.shape[0]
    named = ", ".join(c.name for c in one.classes if c.is_drawn)
    alt = f"Classes of tissue over the slide: {named or 'none'}"
    body = (
        f'<div class="frame" style="--aspect: {aspect:.3f}">'
        f'<img src="{uri}" alt="The slide under the classes of its tissue">'
        f'<img class="over heat" src="{pictures.data_uri(one.pixels, "png")}" alt="{escape(alt)}">'
        f"{drawing(geometry, (), (), {})}</div>"
        '<div class="controls"><label>Opacity <input type="range" data-sets="opacity" min="0" '
        'max="100" value="90"></label></div>'
        f'<table class="composition">{"".join(_legend(c, said) for c in one.classes)}'
        f"</table>{note(_ABOUT)}"
    )
    return card(f"Classes of tissue: {one.name}", body, "wide map")


def _legend(one: ClassShown, said: Sequence[Measurement]) -> str:
    """The color of a class, with what the report says of it: nothing where it says nothing."""
    own = next(filter(None, ([m for m in said if m.counted == n] for n in one.names)), [])
    by_unit = {unit: next((m for m in own if m.unit == unit), None) for unit in (_AREA, _SHARE)}
    cells = "".join(
        f'<td class="value">{escape(m.value)}</td><td class="unit">{unit}</td>'
        if m is not None
        else '<td class="value"></td><td class="unit"></td>'
        for unit, m in by_unit.items()
    )
    share = by_unit[_SHARE]
    drawn = "" if share is None else _bar_of(one.name, share)
    return (
        '<tr><th scope="row"><svg class="swatch" viewBox="0 0 18 12" aria-hidden="true">'
        f'<rect width="18" height="12" fill="rgb{one.rgb}"/></svg>{escape(one.name)}{drawn}</th>'
        f"{cells}</tr>"
    )


def _bar_of(name: str, share: Measurement) -> str:
    return bar(float(share.value) / 100, f"{name}: {share.value} % of the tissue")
