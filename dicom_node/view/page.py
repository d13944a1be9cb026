"""One HTML page that shows a slide, its heatmap and its report side by side.

Everything is read from the DICOM files: numbers and outlines from the Structured Report, the
heatmap from the Segmentation. Only the condition of the slide is in none of them and is handed in.
The page needs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_node.view import pictures
from dicom_node.view.condition import condition_rows
from dicom_node.view.names import name_parts
from dicom_node.view.reading import Group, Measurement, read_groups
from inference.errors import SlideError
from inference.phantom.draw import DRAWN, Kind
from inference.slide.characters.header import in_unicode
from inference.slide.slide import Slide, open_slide
from inference.types import Condition

_WIDTH_PX = 1000
_PATCH_PX = 224
_KIND_COLORS = {
    Kind.GLASS: (250, 250, 250),
    Kind.STROMA: (240, 176, 200),
    Kind.GLAND: (150, 96, 190),
    Kind.TUMOR: (196, 40, 60),
    Kind.LYMPHOCYTES: (40, 52, 120),
    Kind.FAT: (250, 226, 140),
    Kind.PEN: (40, 140, 230),
    Kind.FOLD: (70, 70, 70),
}


def write_page(
    out: Path,
    *,
    slide_paths: Sequence[Path],
    seg_path: Path | None,
    sr_path: Path,
    truth: NDArray[np.uint8] | None = None,
    condition: Condition | None = None,
) -> Path:
    """Writes the page to `out`; returns `out`.

    `seg_path` None says that there is no heatmap, `condition` None that the condition of the slide
    was not measured. `truth` is the label map of a drawn slide. A
    slide whose pixels cannot be shown gives a page that says why, with the report. Raises
    ValueError for a report or heatmap that is none, or that belongs to another slide.
    """
    sr = dcmread(sr_path)
    groups = read_groups(sr)
    header = in_unicode(pictures.header_of(slide_paths, sr))
    patches = [g for g in groups if g.is_patch]
    try:
        with open_slide(slide_paths, base_uid=str(header.SOPInstanceUID)) as slide:
            shown = _pictures(slide, seg_path, groups)
            close_ups = _close_ups(slide, patches)
    except SlideError as error:
        shown, close_ups = (
            _card("Slide", f"<p>The slide cannot be shown. {escape(str(error))}</p>"),
            "",
        )
    page = Template(resources.files("dicom_node.view").joinpath("page.html").read_text("utf-8"))
    out.write_text(
        page.substitute(
            title=escape(f"Slide {header.get('ContainerIdentifier') or 'without identifier'}"),
            banner=_banner(header, sr, groups),
            identity=_identity(sr),
            color_bar=pictures.COLOR_BAR_CSS,
            pictures=shown,
            condition=_card(
                "Condition of the slide", f"<table>{condition_rows(condition)}</table>", "wide"
            ),
            report=_report(groups, patches),
            patches=close_ups,
            truth="" if truth is None else _truth(truth),
        ),
        encoding="utf-8",
    )
    return out


def _banner(header: Dataset, sr: Dataset, groups: Sequence[Group]) -> str:
    sentences = []
    if any(meaning == "For Research" for group in groups for _, meaning in group.evaluations):
        sentences.append("Research demonstration: predicts nothing about a patient.")
    if header.get("SeriesDescription") == DRAWN:
        sentences.append("This slide is drawn; there is no patient.")
    flags = (sr.get("PreliminaryFlag"), sr.get("VerificationFlag"))
    status = " and ".join(str(flag).lower() for flag in flags if flag)
    sentences.append(f"The report is {status or 'not verified'}.")
    return escape(" ".join(sentences))


def _identity(sr: Dataset) -> str:
    facts = [
        *name_parts("Patient", sr.get("PatientName")),
        ("Patient ID", sr.get("PatientID")),
        ("Accession", sr.get("AccessionNumber")),
        ("Report", sr.get("SeriesDescription")),
        ("Made" if "InstanceCreationDate" in sr else "Date of the slide", _moment(sr)),
    ]
    return "".join(_fact(name, str(value)) for name, value in facts if value)


def _moment(sr: Dataset) -> str:
    """Content Date and Time, with their zone where the report tells it."""
    date, time = str(sr.get("ContentDate") or ""), str(sr.get("ContentTime") or "")
    if len(date) != 8:
        return ""
    shown = f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}".strip(" :")
    return f"{shown} {_zone(sr)}".rstrip() if time else shown


def _zone(sr: Dataset) -> str:
    """Zone of the report's dates: stated for all of them, or with the moment we contributed."""
    stated = str(sr.get("TimezoneOffsetFromUTC") or "")
    made = [str(i.get("ContributionDateTime")) for i in sr.get("ContributingEquipmentSequence", ())]
    offset = stated or next((text[-5:] for text in made if text[-5:-4] in ("+", "-")), "")
    return f"UTC{offset if offset.strip('+-0') else ''}" if offset else ""


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _named(name: str, value: str) -> tuple[str, str]:
    """A parameter "engine: CPU" as engine, CPU."""
    if name != "Parameter" or ": " not in value:
        return name, value
    own, _, rest = value.partition(": ")
    return own.capitalize(), rest


def _card(heading: str, body: str, css: str = "") -> str:
    return f'<section class="card {css}"><h2>{escape(heading)}</h2>{body}</section>'


def _pictures(slide: Slide, seg_path: Path | None, groups: Sequence[Group]) -> str:
    pixels = pictures.thumbnail(slide, _WIDTH_PX)
    uri = pictures.data_uri(pixels, "jpeg")
    base = slide.levels[0]
    about = (
        f"{base.cols} × {base.rows} pixels at {base.mpp:.3g} µm, as stored; "
        "viewers may turn the slide."
    )
    picture = (
        f'<div class="frame"><img src="{uri}" alt="The slide"></div><p class="note">{about}</p>'
    )
    first = _card("Slide", picture)
    if seg_path is None:
        return first + _card("Heatmap", "<p>The report came without a heatmap.</p>")
    heat = pictures.heatmap(seg_path, slide.geometry, pixels.shape[:2])
    over = pictures.data_uri(heat.pixels, "png")
    body = (
        f'<div class="frame"><img src="{uri}" alt="The slide under the heatmap">'
        f'<img class="over" id="heat" src="{over}" alt="Heatmap: {escape(heat.name)}">'
        f"{_outlines(slide, groups)}</div>{_legend(heat)}"
    )
    return first + _card(f"Heatmap: {heat.name}", body)


def _legend(heat: pictures.HeatmapPicture) -> str:
    return (
        '<div class="legend"><span class="scale">0 <span class="bar"></span> 1</span>'
        '<span class="scale"><span class="clear"></span> not analyzed</span>'
        '<label>Opacity <input type="range" min="0" max="100" value="60" '
        "oninput=\"document.getElementById('heat').style.opacity=this.value/100\"></label></div>"
        f'<p class="note">Values {heat.lowest:.2f} to {heat.highest:.2f}. '
        f"{escape(heat.description)} Line: tissue outline of the report. Boxes: top patches.</p>"
    )


def _outlines(slide: Slide, groups: Sequence[Group]) -> str:
    """Regions of the report as vector graphics in pixels of the base level."""
    rows, cols = slide.geometry.rows, slide.geometry.cols
    size = cols / 34
    shapes, number = [], 0
    for group in groups:
        if not len(group.region_mm):
            continue
        outline = pictures.to_pixels(slide.geometry, group.region_mm)
        points = " ".join(f"{col:.0f},{row:.0f}" for row, col in outline)
        if not group.is_patch:
            shapes.append(f'<polyline class="outline" points="{points}"/>')
            continue
        number += 1
        row, col = outline[:, 0].min() - size / 4, outline[:, 1].min()
        shapes += [f'<polygon class="{c}" points="{points}"/>' for c in ("cell-edge", "cell")]
        shapes.append(
            f'<text class="number" x="{col:.0f}" y="{row:.0f}" font-size="{size:.0f}" '
            f'stroke-width="{size / 6:.0f}">{number}</text>'
        )
    return f'<svg class="over" viewBox="0 0 {cols} {rows}">{"".join(shapes)}</svg>'


def _close_ups(slide: Slide, patches: Sequence[Group]) -> str:
    figures = []
    for number, group in enumerate(patches, start=1):
        outline = pictures.to_pixels(slide.geometry, group.region_mm)
        uri = pictures.data_uri(pictures.patch(slide, outline, _PATCH_PX), "jpeg")
        values = ", ".join(f"{m.value} {m.unit}".strip() for m in group.measurements)
        x_mm, y_mm = group.region_mm[:-1].mean(0)
        figures.append(
            f'<figure><img src="{uri}" alt="Patch {number}"><figcaption>'
            f"<b>{number} &nbsp; {escape(values)}</b><br>x {x_mm:.2f}, y {y_mm:.2f} mm"
            "</figcaption></figure>"
        )
    if not figures:
        return ""
    body = f'<div class="patches">{"".join(figures)}</div>'
    return _card("Top patches", body, "wide")


def _report(groups: Sequence[Group], patches: Sequence[Group]) -> str:
    parts = [_statement(group) for group in groups if group not in patches]
    if patches:
        rows = "".join(
            _row(Measurement(f"{n}. {m.name}", m.value, m.unit))
            for n, group in enumerate(patches, start=1)
            for m in group.measurements
        )
        parts.append(f"<h3>Top patches: {escape(patches[0].finding)}</h3><table>{rows}</table>")
    algorithm = "".join(_fact(*_named(*fact)) for fact in groups[0].algorithm)
    parts.append(f'<h3>Made by</h3><dl class="facts">{algorithm}</dl>')
    return _card("Report", "".join(parts), "report")


def _statement(group: Group) -> str:
    """A group of the whole slide: refusal or cautions first, then numbers, then words."""
    urgent = [c for c in group.comments if c.startswith("Caution")]
    if not group.measurements:
        said = ". ".join(f"{name}: {meaning}" for name, meaning in group.evaluations)
        caution = f'<div class="caution"><b>No prediction</b>{escape(said)}</div>'
    elif urgent:
        caution = f'<div class="caution">{_list(urgent)}</div>'
    else:
        caution = ""
    rows = "".join(map(_row, group.measurements))
    rows += "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="words" colspan="2">{escape(value)}</td></tr>'
        for name, value in group.evaluations
    )
    calm = [c for c in group.comments if c not in urgent]
    words = f"<h3>Comments</h3>{_list(calm)}" if calm else ""
    heading = f"<h3>{escape(group.finding)}: {escape(group.title)}</h3>"
    return f"{caution}{heading}<table>{rows}</table>{words}"


def _row(measurement: Measurement) -> str:
    share = ""
    if measurement.unit == "%":
        share = f'<div class="share"><i style="width:{float(measurement.value):.1f}%"></i></div>'
    return (
        f'<tr><th scope="row">{escape(measurement.name)}{share}</th>'
        f'<td class="value">{escape(measurement.value)}</td>'
        f'<td class="unit">{escape(measurement.unit)}</td></tr>'
    )


def _list(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>"


def _truth(truth: NDArray[np.uint8]) -> str:
    colors = np.zeros((256, 3), np.uint8)
    for kind, color in _KIND_COLORS.items():
        colors[kind] = color
    factor = max(1, truth.shape[1] // _WIDTH_PX + 1)
    small = Image.fromarray(truth[::factor, ::factor])
    uri = pictures.data_uri(colors[np.asarray(small)], "png")
    legend = "".join(
        f'<span><i style="background:rgb{color}"></i>{kind.name.lower()}</span>'
        for kind, color in _KIND_COLORS.items()
    )
    body = (
        f'<div class="frame"><img src="{uri}" alt="What was drawn"></div>'
        f'<div class="legend kinds">{legend}</div>'
    )
    return _card("What was drawn", body)
