"""What tissue a slide is made of: the table of its numbers, and the picture of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from dicom_node.view import pictures
from dicom_node.view.classes import ClassMap, ClassShown
from dicom_node.view.page.drawing import drawing
from dicom_node.view.page.markup import bar, card, note
from dicom_node.view.page.numbers import MARK
from dicom_node.view.reading import Measurement
from inference.types import SlideGeometry

_AREA, _SHARE = "mm²", "%"
_ABOUT = (
    "Each tile has the color of its most probable class. Glass and other background has none. "
    "Areas and shares are of whole tiles, counted on this picture's grid."
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
    maps: Sequence[ClassMap], pixels: NDArray[np.uint8], uri: str, geometry: SlideGeometry
) -> str:
    """A card for each map of classes, over the slide's picture [H, W, 3] at `uri`."""
    return "".join(_card(one, pixels, uri, geometry) for one in maps)


def _pair(found: Sequence[Measurement]) -> tuple[Measurement, Measurement] | None:
    """Area and share; None where there are other numbers of the same classes, or one is lacking."""
    by_unit = {m.unit: m for m in found}
    if len(found) != 2 or set(by_unit) != {_AREA, _SHARE}:
        return None
    return by_unit[_AREA], by_unit[_SHARE]


def _row(name: str, area: Measurement, share: Measurement, *, mark: bool) -> str:
    below = bar(float(share.value) / 100, f"{name}: {share.value} % of the tissue")
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


def _card(one: ClassMap, pixels: NDArray[np.uint8], uri: str, geometry: SlideGeometry) -> str:
    aspect = pixels.shape[1] / pixels.shape[0]
    named = ", ".join(c.name for c in one.classes if c.area_mm2)
    alt = f"Classes of tissue over the slide: {named or 'none'}"
    body = (
        f'<div class="frame" style="--aspect: {aspect:.3f}">'
        f'<img src="{uri}" alt="The slide under the classes of its tissue">'
        f'<img class="over heat" src="{pictures.data_uri(one.pixels, "png")}" alt="{escape(alt)}">'
        f"{drawing(geometry, (), (), {})}</div>"
        '<div class="controls"><label>Opacity <input type="range" data-sets="opacity" min="0" '
        'max="100" value="90"></label></div>'
        f'<table class="composition">{"".join(_legend(c, one.area_mm2) for c in one.classes)}'
        f"</table>{note(_ABOUT)}"
    )
    return card(f"Classes of tissue: {one.name}", body, "wide map")


def _legend(one: ClassShown, of_mm2: float) -> str:
    share = one.area_mm2 / of_mm2 if of_mm2 else 0.0
    return (
        '<tr><th scope="row"><svg class="swatch" viewBox="0 0 18 12" aria-hidden="true">'
        f'<rect width="18" height="12" fill="rgb{one.rgb}"/></svg>{escape(one.name)}'
        f"{bar(share, f'{one.name}: {100 * share:.3g} % of the area drawn')}</th>"
        f'<td class="value">{one.area_mm2:.3g}</td><td class="unit">{_AREA}</td>'
        f'<td class="value">{100 * share:.3g}</td><td class="unit">{_SHARE}</td></tr>'
    )
