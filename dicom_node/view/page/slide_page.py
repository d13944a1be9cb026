"""One HTML page that shows a slide, its heatmaps and its report.

Everything is read from the DICOM files: numbers and outlines from the Structured Report, maps and
regions from the Segmentations. Only the condition of the slide is in none of them and is handed in.
The page needs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_node.view import pictures
from dicom_node.view.classes import class_maps
from dicom_node.view.page import identity
from dicom_node.view.page.cards.close_ups import close_ups, places
from dicom_node.view.page.cards.composition import class_cards
from dicom_node.view.page.cards.condition import condition_rows
from dicom_node.view.page.cards.drawn import drawn_card
from dicom_node.view.page.cards.glossary import glossary
from dicom_node.view.page.maps import map_cards, slide_card
from dicom_node.view.page.markup import Named, card, facts
from dicom_node.view.page.sheet import write_sheet
from dicom_node.view.page.statement import has_numbers, report_cards
from dicom_node.view.reading import Report, read_report
from dicom_node.view.segments import of_the_report, overlays
from inference.errors import SlideError
from inference.slide.characters.header import in_unicode
from inference.slide.slide import Slide, open_slide
from inference.types import Condition

_WIDTH_PX = 1000


def write_page(
    out: Path,
    *,
    slide_paths: Sequence[Path],
    sr_path: Path,
    seg_paths: Sequence[Path] = (),
    truth: NDArray[np.uint8] | None = None,
    condition: Condition | None = None,
    back: str = "",
) -> Path:
    """Writes the page to `out`; returns `out`.

    `seg_paths` are heatmaps and regions, of which those are shown that the report names;
    `condition` None says that the condition of the slide
    was not measured. `truth` is the label map of a drawn slide. `back` is the place of the page
    over all slides of the study, from this one. A slide whose pixels cannot be shown gives a page
    that says why, with the report. Raises ValueError for a report or heatmap that is none, or that
    belongs to another slide.
    """
    sr = dcmread(sr_path)
    report = read_report(sr)
    header = in_unicode(pictures.header_of(slide_paths, sr))
    name = identity.container(header) or "without identifier"
    try:
        with open_slide(slide_paths, base_uid=str(header.SOPInstanceUID)) as slide:
            shown = _pictures(slide, of_the_report(sr, seg_paths), report, name)
            near = close_ups(slide, report.patches, mark=report.is_research)
    except SlideError as error:
        shown, near = card("Slide", f"<p>The slide cannot be shown. {escape(str(error))}</p>"), ""
    banner = identity.banner(header, sr, report)
    said = report_cards(report, with_patches=not near)
    drawn = "" if truth is None else drawn_card(truth, _WIDTH_PX)
    rows = f"<table>{condition_rows(condition)}</table>"
    measured = card("Condition of the slide", rows, "wide" if drawn else "")
    words = glossary(" ".join((banner, said, shown, near)))
    main = (
        f"{_head(name, sr, back)}"
        f'<div class="layout">{_which(header, sr)}<div class="report">{said}</div>'
        f'<div class="slides">{shown}{drawn}{measured}{near}</div>'
        f'<div class="last">{words}{_technical(report)}</div></div>'
    )
    return write_sheet(
        out,
        title=f"Slide {name}",
        banner=banner,
        running=identity.running(sr, f"slide {name}"),
        main=main,
    )


def _head(name: str, sr: Dataset, back: str) -> str:
    link = f'<a class="back" href="{escape(quote(back))}">All slides of this study</a>'
    return (
        f"{link if back else ''}<header><h1>Slide {escape(name)}</h1>"
        f"{facts(identity.patient(sr), 'row')}</header>"
    )


def _which(header: Dataset, sr: Dataset) -> str:
    """Which slide, which report; after the report where there is little room."""
    pairs = (*identity.slide(header, sr), *identity.made(sr))
    return (
        f'<section class="card which" aria-label="Slide and report">{facts(pairs, "row")}</section>'
    )


def _pictures(slide: Slide, seg_paths: Sequence[Path], report: Report, name: str) -> str:
    pixels = pictures.thumbnail(slide, _WIDTH_PX)
    uri = pictures.data_uri(pixels, "jpeg")
    shape = (pixels.shape[0], pixels.shape[1])
    shown = overlays(seg_paths, slide.geometry, shape)
    maps = map_cards(
        slide.geometry, pixels, uri, shown, report.groups, has_numbers=has_numbers(report)
    )
    classes = class_cards(
        class_maps(seg_paths, slide.geometry, shape),
        pixels,
        uri,
        slide.geometry,
        report.statements,
    )
    return maps + classes + slide_card(slide, pixels, uri, name)


def _technical(report: Report) -> str:
    """What nobody reads beside a result, and what is asked for when something is wrong."""
    made_by = (_named(*fact) for fact in report.algorithm)
    pairs = [*made_by, *places(report.patches)]
    return card("How it was made", facts(pairs, "technical")) if pairs else ""


def _named(name: str, value: str) -> Named:
    """A parameter "engine: CPU" as engine, CPU."""
    if name != "Parameter" or ": " not in value:
        return name, value
    own, _, rest = value.partition(": ")
    return own.capitalize(), rest
