"""One HTML page over the slides of a study: a card a slide, with its picture and its headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from pydicom import Dataset, dcmread

from dicom_node.view import pictures
from dicom_node.view.page import identity
from dicom_node.view.page.markup import card, facts, note, sentences
from dicom_node.view.page.sheet import write_sheet
from dicom_node.view.page.statement import headline
from dicom_node.view.reading import Report, read_report
from dicom_node.view.segments import of_the_report, overlays
from inference.errors import SlideError
from inference.slide.characters.header import in_unicode
from inference.slide.slide import open_slide

_WIDTH_PX = 420


@dataclass(frozen=True, slots=True)
class SlideEntry:
    """A slide of the study and what came of it."""

    page: str
    """Place of its page, from the page over all."""
    slide_paths: Sequence[Path]
    sr_path: Path
    seg_paths: Sequence[Path] = ()


def write_overview(
    out: Path, entries: Sequence[SlideEntry], *, without: Sequence[str] = ()
) -> Path:
    """Writes the page to `out`; returns `out`.

    `without` are sentences on slides of the study that have no report. Raises ValueError where
    there is no entry, or for a report or heatmap that is none or of another slide.
    """
    if not entries:
        raise ValueError("found no slide with a report, expected one at least")
    read = sorted(map(_read, entries), key=lambda one: identity.container(one[3]))
    _, sr, report, header = read[0]
    missing = card("Slides without a report", sentences(without), "wide") if without else ""
    cards = "".join(_card(*one) for one in read)
    count = len(entries) + len(without)
    main = (
        f"<header><h1>{count} slides of one study</h1>"
        f"{facts((*identity.patient(sr), *_study(sr)), 'row')}</header>"
        f'<div class="overview">{missing}{cards}</div>'
    )
    return write_sheet(
        out,
        title=f"Study of {len(entries)} slides",
        banner=identity.banner(header, sr, report),
        running=identity.running(sr, f"{count} slides"),
        main=main,
    )


_Read = tuple[SlideEntry, Dataset, Report, Dataset]


def _read(entry: SlideEntry) -> _Read:
    sr = dcmread(entry.sr_path)
    return entry, sr, read_report(sr), in_unicode(pictures.header_of(entry.slide_paths, sr))


def _study(sr: Dataset) -> list[tuple[str, str]]:
    named = dict(identity.slide(Dataset(), sr))
    return [(name, named[name]) for name in ("Study date", "Study")]


def _card(entry: SlideEntry, sr: Dataset, report: Report, header: Dataset) -> str:
    name = identity.container(header) or "without identifier"
    link = f'<a href="{escape(quote(entry.page))}">Slide {escape(name)}</a>'
    made = note(" ".join(identity.when(sr)))
    return (
        f'<section class="card"><h2>{link}</h2>{_picture(entry, sr, header, name)}'
        f"{headline(report)}{made}</section>"
    )


def _picture(entry: SlideEntry, sr: Dataset, header: Dataset, name: str) -> str:
    """The slide, small, under its first map."""
    try:
        with open_slide(entry.slide_paths, base_uid=str(header.SOPInstanceUID)) as slide:
            pixels = pictures.thumbnail(slide, _WIDTH_PX)
            shape = (pixels.shape[0], pixels.shape[1])
            maps = overlays(of_the_report(sr, entry.seg_paths), slide.geometry, shape).heatmaps
    except SlideError as error:
        return f"<p>The slide cannot be shown. {escape(str(error))}</p>"
    alt = escape(f"The slide {name}" + (f" under the heatmap {maps[0].name}" if maps else ""))
    over = "".join(
        f'<img class="over heat" src="{pictures.data_uri(heat.pixels, "png")}" alt="">'
        for heat in maps[:1]
    )
    return (
        f'<div class="frame" style="--aspect: {shape[1] / shape[0]:.3f}">'
        f'<img src="{pictures.data_uri(pixels, "jpeg")}" alt="{alt}">{over}</div>'
    )
