"""The page: A4, what decides on top, the same bytes for the same report."""

from __future__ import annotations

import io
from dataclasses import dataclass

from reportlab import rl_config
from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas

from dicom_node.results.language.speaking import phrase, sentences
from dicom_node.results.pdf.fonts import font_name, paragraph
from dicom_node.results.pdf.picture import EDGE, PICTURE_WIDTH, Picture, draw_picture
from dicom_node.results.pdf.said import Said
from dicom_node.results.pdf.text import Column, finding_of, height_of, mm, sentences_of

WIDTH, HEIGHT = float(A4[0]), float(A4[1])
_INNER = WIDTH - 2 * EDGE
_GAP = 6 * mm
_INK, _FAINT, _PALE = HexColor("#1f2933"), HexColor("#5f6c7b"), HexColor("#eef1f4")
_WARNING = HexColor("#9c1c1c")
_BANNER = "RESEARCH USE ONLY. Not for diagnosis or treatment."


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that stands on the page."""

    identity: tuple[tuple[str, str], ...]
    """Label and value, in two columns from left to right."""
    said: Said
    picture: Picture | str
    """Or why there is none."""
    made_on: str
    """Date, YYYYMMDD."""
    maker: str
    engine: str
    bundle_digest: str
    report_uid: str
    uid: str
    """Of the document: its identifier in the file."""
    subject: str = "one slide"
    """Of what it is the summary."""


def page_bytes(page: Page) -> bytes:
    """The PDF file. Raises FontsMissing."""
    stream = io.BytesIO()
    # Else the picture is written in letters: a quarter more bytes, and most of the time.
    rl_config.useA85 = 0
    # Invariant: no clock and no name of this machine in the file.
    canvas = Canvas(
        stream,
        pagesize=A4,
        invariant=True,
        pageCompression=1,
        initialFontName=font_name(),
        lang=page.said.language,
    )
    canvas.setTitle(_title(page))
    canvas.setAuthor(page.maker)
    canvas.setSubject(phrase(f"Summary of report {page.report_uid}", page.said.language))
    canvas.setCreator(page.maker)
    top = _head(canvas, page)
    foot = _foot(canvas, page)
    left = draw_picture(canvas, page.picture, page.said, top)
    column = Column(canvas, EDGE + PICTURE_WIDTH + _GAP, WIDTH - EDGE, top)
    finding_of(column, page.said)
    below = min(left, column.y) - 3 * mm
    sentences_of(canvas, page.said, (EDGE, foot, WIDTH - EDGE, below))
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def _title(page: Page) -> str:
    return phrase(f"AI summary of {page.subject}", page.said.language)


def _head(canvas: Canvas, page: Page) -> float:
    """Banner, title and identity; where the rest begins."""
    y = HEIGHT - EDGE
    if page.said.is_research:
        canvas.setFillColor(_WARNING)
        canvas.rect(EDGE, y - 9 * mm, _INNER, 9 * mm, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont(font_name(bold=True), 12)
        canvas.drawCentredString(WIDTH / 2, y - 6.3 * mm, sentences(_BANNER, page.said.language))
        y -= 12 * mm
    canvas.setFillColor(_INK)
    canvas.setFont(font_name(bold=True), 15)
    canvas.drawString(EDGE, y - 5.5 * mm, _title(page))
    canvas.setFont(font_name(), 8.5)
    canvas.setFillColor(_FAINT)
    day = page.made_on
    dated = f"{day[:4]}-{day[4:6]}-{day[6:8]}"
    told = phrase(f"{page.maker}, {dated}, not verified", page.said.language)
    canvas.drawRightString(WIDTH - EDGE, y - 5.5 * mm, told)
    return _identity(canvas, page, y - 9 * mm) - 5 * mm


def _identity(canvas: Canvas, page: Page, top: float) -> float:
    """A box of labels and values, two to a line; where it ends."""
    pad, label = 2 * mm, 21 * mm
    half = _INNER / 2
    style = ParagraphStyle(
        "value", fontName=font_name(bold=True), fontSize=9, leading=11, textColor=_INK
    )
    cells = []
    for name, value in page.identity:
        found = paragraph(value, style, bold=True)
        cells.append((name, found, height_of(found, half - label - 2 * pad)))
    lines = [cells[n : n + 2] for n in range(0, len(cells), 2)]
    heights = [max(height for _, _, height in line) + 1.2 * mm for line in lines]
    bottom = top - sum(heights) - 2 * pad
    canvas.setFillColor(_PALE)
    canvas.rect(EDGE, bottom, _INNER, top - bottom, stroke=0, fill=1)
    y = top - pad
    for line, height in zip(lines, heights, strict=True):
        for place, (name, value, own) in enumerate(line):
            x = EDGE + place * half + pad
            canvas.setFillColor(_FAINT)
            canvas.setFont(font_name(), 8)
            canvas.drawString(x, y - 8.4, name)
            value.drawOn(canvas, x + label, y - own)
        y -= height
    return bottom


def _foot(canvas: Canvas, page: Page) -> float:
    """What was computed by what; where it begins."""
    language = page.said.language
    algorithm = [(n, value) for n, value in page.said.algorithm if n != "parameter"]
    parts = [phrase(f"{label} {value}", language) for label, value in algorithm]
    bundle = phrase(f"bundle {page.bundle_digest}", language)
    made = "; ".join(filter(None, [" ".join(parts), page.engine, bundle]))
    told = (
        f"Summary of report {page.report_uid}, which holds all that is said; where they differ, "
        "the report counts."
    )
    text = f"{made}. {sentences(told, language)}"
    style = ParagraphStyle("foot", fontName=font_name(), fontSize=6.5, leading=8, textColor=_FAINT)
    found = paragraph(text, style)
    height = height_of(found, _INNER)
    found.drawOn(canvas, EDGE, EDGE - 4 * mm)
    y = EDGE - 4 * mm + height + 1.5 * mm
    canvas.setStrokeColor(_FAINT)
    canvas.setLineWidth(0.4)
    canvas.line(EDGE, y, WIDTH - EDGE, y)
    return y + 2 * mm
