"""Cards of the top patches: the pixels of each, and its value."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dicom_node.view import pictures
from dicom_node.view.page.markup import Named, card, note
from dicom_node.view.page.numbers import MARK
from dicom_node.view.reading import Group
from inference.slide.slide import Slide

_PATCH_PX = 224
_NUMBERED = "The numbers are those of the boxes on the heatmap."


def close_ups(slide: Slide, patches: Sequence[Group], *, mark: bool) -> str:
    """A card for the patches of each map, numbered as their boxes are; empty without any."""
    cards: dict[str, list[str]] = {}
    abouts: dict[str, str] = {}
    for number, group in enumerate(patches, start=1):
        of_map, _, _ = group.title.partition(" top patch")
        cards.setdefault(of_map, []).append(_figure(slide, number, group, mark=mark))
        names = ", ".join(m.name for m in group.measurements)
        abouts.setdefault(of_map, f"{names}: {group.finding}. {_NUMBERED}")
    several = len(cards) > 1
    return "".join(
        card(
            f"Top patches: {of_map}" if several else "Top patches",
            f'<div class="patches">{"".join(figures)}</div>{note(abouts[of_map])}',
            "wide",
        )
        for of_map, figures in cards.items()
    )


def _figure(slide: Slide, number: int, group: Group, *, mark: bool) -> str:
    outline = pictures.to_pixels(slide.geometry, group.region_mm)
    uri = pictures.data_uri(pictures.patch(slide, outline, _PATCH_PX), "jpeg")
    values = ", ".join(f"{m.name} {m.value} {m.unit}".strip() for m in group.measurements)
    shown = ", ".join(f"{m.value} {m.unit}".strip() for m in group.measurements)
    return (
        f'<figure><img src="{uri}" alt="{escape(f"Patch {number}: {values}")}">'
        f"<figcaption><span>{number}.</span> <b>{escape(shown)}</b>{MARK if mark else ''}"
        "</figcaption></figure>"
    )


def places(patches: Sequence[Group]) -> list[Named]:
    """Where the middle of each patch lies, for a viewer that shows coordinates."""
    found = []
    for number, group in enumerate(patches, start=1):
        x_mm, y_mm = group.region_mm[:-1].mean(0)
        found.append((f"Patch {number}", f"x {x_mm:.2f}, y {y_mm:.2f} mm"))
    return found
