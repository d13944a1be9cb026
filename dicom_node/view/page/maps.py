"""Cards of the pictures: each heatmap over the slide with its legend, and the slide alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from dicom_node.view import pictures
from dicom_node.view.page.drawing import drawing
from dicom_node.view.page.markup import card, note
from dicom_node.view.reading import Group
from dicom_node.view.segments import CLEAREST, DENSEST, HeatmapPicture, Overlays, Region
from inference.heatmap import color
from inference.slide.slide import Slide
from inference.types import SlideGeometry

_STEPS = 40
_WITHOUT = re.compile(r"Stored 0: (not analyzed or below [\d.]*\d)")
"""What the description says of places without a value."""
_ENCODING = re.compile(r"Stored 0: .*?at least 1[.] *")
"""What the description says of stored pixels, which nobody sees here."""
_TOP_PATCH = re.compile(r"(.+) top patch \d+")
"""Title of a marked place in a report of the node."""
_NO_PARENTHESES = str.maketrans("", "", "()")
_CUT, _LONGEST = "...", 64
"""How a Tracking ID (UT, but 64 characters here) ends that had no room for the whole name."""
_FINDING = (
    "A value is of its tile alone: the map does not say why the slide has the numbers of the "
    "report."
)
_ATTENTION = "Where the model looked to find the number of the slide. It is no finding."


def slide_card(slide: Slide, pixels: NDArray[np.uint8], uri: str, name: str) -> str:
    """The slide without anything over it but a scale bar."""
    base = slide.levels[0]
    about = (
        f"{base.cols} × {base.rows} pixels at {base.mpp:.3g} µm, as stored; "
        "viewers may turn the slide."
    )
    alt = f"The slide {name}, {_size_mm(slide.geometry)}, without anything over it"
    frame = _frame(pixels, _image(uri, alt), drawing(slide.geometry, (), (), {}))
    return card("Slide", frame + note(about))


def map_cards(
    geometry: SlideGeometry,
    pixels: NDArray[np.uint8],
    uri: str,
    shown: Overlays,
    groups: Sequence[Group],
    *,
    has_numbers: bool,
) -> str:
    """A card a heatmap, the findings first; the regions are drawn on those. `has_numbers` says
    that the report has numbers for the slide that are not counted on a map."""
    cards = []
    for number, heat in enumerate(shown.heatmaps):
        own_groups = [g for g in groups if not g.is_patch or _map_of(g, shown) is heat]
        regions = () if heat.is_attention else shown.regions
        over = drawing(geometry, own_groups, regions, _numbers(groups))
        alt = f"The slide under the heatmap {heat.name}"
        heat_alt = (
            f"Heatmap: {heat.name}, values from {heat.lowest:.2f} to {heat.highest:.2f} "
            f"over {heat.area_mm2:.3g} mm²"
        )
        layer = (
            f'<img class="over heat" data-levels="{pictures.data_uri(heat.levels, "png")}" '
            f'src="{pictures.data_uri(heat.pixels, "png")}" alt="{escape(heat_alt)}">'
        )
        body = _frame(pixels, _image(uri, alt), layer + over)
        body += _legend(heat) + _controls(f"map-{number}", own_groups, regions)
        body += "".join(map(note, _about(heat, regions, has_numbers=has_numbers)))
        heading = "Where the model looked" if heat.is_attention else "Heatmap"
        cards.append(card(f"{heading}: {heat.name}", body, "wide map"))
    if shown.regions and not any(not heat.is_attention for heat in shown.heatmaps):
        cards.insert(0, _region_card(geometry, pixels, uri, shown.regions, groups))
    return "".join(cards) or card("Heatmap", "<p>The report came without a heatmap.</p>")


def _region_card(
    geometry: SlideGeometry,
    pixels: NDArray[np.uint8],
    uri: str,
    regions: Sequence[Region],
    groups: Sequence[Group],
) -> str:
    """Regions that came without the map that they are of."""
    image = _image(uri, "The slide under the border of a region")
    body = _frame(pixels, image, drawing(geometry, groups, regions, _numbers(groups)))
    return card("Region", body + "".join(map(note, map(_of_region, regions))), "wide map")


def _numbers(groups: Sequence[Group]) -> dict[str, int]:
    """The number of each patch, by its title: in the order of the report."""
    patches = [group for group in groups if group.is_patch]
    return {group.title: number for number, group in enumerate(patches, start=1)}


def _map_of(patch: Group, shown: Overlays) -> HeatmapPicture | None:
    """The map that a top patch is of, by the name that both track; None where that is not certain:
    a box on another map would mark what is not there."""
    found = _TOP_PATCH.fullmatch(patch.title)
    if not found or not any(heat.tracking for heat in shown.heatmaps):
        return shown.heatmaps[0] if len(shown.heatmaps) == 1 else None
    named = [heat for heat in shown.heatmaps if _is_tracked(heat, found[1])]
    return named[0] if len(named) == 1 else None


def _is_tracked(heat: HeatmapPicture, name: str) -> bool:
    """Whether a map tracks this name: a report has it whole and without parentheses, a Segmentation
    with them and, where it is long, cut."""
    tracked = heat.tracking.removeprefix("heatmap ").translate(_NO_PARENTHESES)
    whole = name.translate(_NO_PARENTHESES)
    if tracked.endswith(_CUT) and len(heat.tracking) >= _LONGEST - len(_CUT):
        return whole.startswith(tracked.removesuffix(_CUT))
    return whole == tracked


def _image(uri: str, alt: str) -> str:
    return f'<img src="{uri}" alt="{escape(alt)}">'


def _frame(pixels: NDArray[np.uint8], image: str, over: str) -> str:
    """Pictures on each other, no higher than a screen: `--aspect` is width by height."""
    aspect = pixels.shape[1] / pixels.shape[0]
    return f'<div class="frame" style="--aspect: {aspect:.3f}">{image}{over}</div>'


def _legend(heat: HeatmapPicture) -> str:
    stated = _WITHOUT.search(heat.description)
    without = stated[1] if stated else "not analyzed"
    return (
        f'<div class="legend"><span class="scale">0 {color_bar()} 1</span>'
        '<span class="scale"><svg class="swatch" viewBox="0 0 18 12" aria-hidden="true">'
        '<rect class="clear" x="0.5" y="0.5" width="17" height="11"/></svg>'
        f"no color: {without}</span></div>"
    )


def color_bar() -> str:
    """The colors from 0 to 1, as dense as over the slide; drawn, so that printers keep them."""
    at = ((np.arange(_STEPS) + 0.5) / _STEPS).astype(np.float32)
    dense = ((CLEAREST + at * (DENSEST - CLEAREST)) / 255)[:, None]
    on_white = np.rint(255 * (1 - dense) + color(at).astype(np.float64) * dense).astype(int)
    steps = "".join(
        f'<rect x="{n}" width="{_STEPS - n}" height="1" fill="rgb({r},{g},{b})"/>'
        for n, (r, g, b) in enumerate(on_white.tolist())
    )
    return (
        f'<svg class="bar" viewBox="0 0 {_STEPS} 1" preserveAspectRatio="none" role="img">'
        "<title>Colors from dark purple at 0 over green to yellow at 1</title>"
        f"{steps}</svg>"
    )


def _controls(key: str, groups: Sequence[Group], regions: Sequence[Region]) -> str:
    """Work with the script of the page only and are hidden without it."""
    switches = [
        ("boxes", "Boxes", any(g.is_patch for g in groups)),
        ("outlines", "Outline", any(len(g.region_mm) and not g.is_patch for g in groups)),
        ("regions", "Region", bool(regions)),
    ]
    boxes = "".join(
        f'<label><input type="checkbox" data-shows="{what}" checked> {label}</label>'
        for what, label, is_there in switches
        if is_there
    )
    return (
        '<div class="controls"><label>Opacity <input type="range" data-sets="opacity" '
        'min="0" max="100" value="90"></label>'
        '<label>Show from <input type="range" data-sets="threshold" min="0" max="1" step="0.05" '
        f'value="0" aria-describedby="{key}"> <output id="{key}">0.00</output></label>'
        f"{boxes}</div>"
    )


def _about(heat: HeatmapPicture, regions: Sequence[Region], *, has_numbers: bool) -> list[str]:
    values = f"Values {heat.lowest:.2f} to {heat.highest:.2f} over {heat.area_mm2:.3g} mm²."
    shows = "" if heat.is_attention else _about_what(heat)
    what = _ATTENTION if heat.is_attention else _FINDING if has_numbers else ""
    described = _ENCODING.sub("", heat.description)
    texts = (what, " ".join(filter(None, (values, shows, described))))
    return [*filter(None, texts), *map(_of_region, regions)]


def _about_what(heat: HeatmapPicture) -> str:
    """The coded type as a sentence; alone it would be read as what was found."""
    if not heat.shows or heat.shows.casefold() in heat.name.casefold():
        return ""
    return f"What the values are about is coded as “{heat.shows}”, which is no finding."


def _of_region(region: Region) -> str:
    """Its size, and what its own description says."""
    area = f"{region.area_mm2:.3g} mm²" if region.area_mm2 else "nowhere on this slide"
    return f"Region (red line): {region.name}, {area}. {region.description}".strip()


def _size_mm(geometry: SlideGeometry) -> str:
    width, height = geometry.cols * geometry.spacing_col_mm, geometry.rows * geometry.spacing_row_mm
    return f"{width:.3g} × {height:.3g} mm"
