"""The page: A4, what decides on top, the same bytes for the same report."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dicom_node.config.languages import Language
from dicom_node.results.language.speaking import phrase, sentences
from dicom_node.results.overlay.drawing import FAINTEST, STRONGEST, legend, over
from dicom_node.results.pdf.fonts import font, paragraph
from dicom_node.results.pdf.said import Said
from dicom_node.results.pdf.text import MOST_PLACES, Column, finding_of, height_of, mm, sentences_of
from dicom_node.results.seg.layers import Layer
from dicom_node.results.sr.derived import to_pixels
from inference.types import SlideGeometry

WIDTH, HEIGHT = float(A4[0]), float(A4[1])
EDGE = 14 * mm
_INNER = WIDTH - 2 * EDGE
_PICTURE_WIDTH, _PICTURE_HEIGHT = 92 * mm, 88 * mm
_GAP = 6 * mm
_INK, _FAINT, _PALE = HexColor("#1f2933"), HexColor("#5f6c7b"), HexColor("#eef1f4")
_WARNING = HexColor("#9c1c1c")
_BANNER = "RESEARCH USE ONLY. Not for diagnosis or treatment."


@dataclass(frozen=True, slots=True)
class Picture:
    """The slide, and the heatmap that is drawn over it."""

    pixels: NDArray[np.uint8]
    """RGB [H, W, 3] of the whole slide."""
    geometry: SlideGeometry | None
    layer: Layer | None
    heatmaps: int
    """How many the slide has; the first is drawn."""


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
    # Invariant: no clock and no name of this machine in the file.
    canvas = Canvas(
        stream,
        pagesize=A4,
        invariant=True,
        pageCompression=1,
        initialFontName=_name(),
        lang=page.said.language,
    )
    canvas.setTitle(_title(page))
    canvas.setAuthor(page.maker)
    canvas.setSubject(phrase(f"Summary of report {page.report_uid}", page.said.language))
    canvas.setCreator(page.maker)
    top = _head(canvas, page)
    foot = _foot(canvas, page)
    left = _picture(canvas, page, top)
    column = Column(canvas, EDGE + _PICTURE_WIDTH + _GAP, WIDTH - EDGE, top)
    finding_of(column, page.said)
    below = min(left, column.y) - 3 * mm
    sentences_of(canvas, page.said, (EDGE, foot, WIDTH - EDGE, below))
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def _title(page: Page) -> str:
    return phrase(f"AI summary of {page.subject}", page.said.language)


def _name(*, bold: bool = False) -> str:
    return str(font("", bold=bold).fontName)


def _head(canvas: Canvas, page: Page) -> float:
    """Banner, title and identity; where the rest begins."""
    y = HEIGHT - EDGE
    if page.said.is_research:
        canvas.setFillColor(_WARNING)
        canvas.rect(EDGE, y - 9 * mm, _INNER, 9 * mm, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont(_name(bold=True), 12)
        canvas.drawCentredString(WIDTH / 2, y - 6.3 * mm, sentences(_BANNER, page.said.language))
        y -= 12 * mm
    canvas.setFillColor(_INK)
    canvas.setFont(_name(bold=True), 15)
    canvas.drawString(EDGE, y - 5.5 * mm, _title(page))
    canvas.setFont(_name(), 8.5)
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
        "value", fontName=_name(bold=True), fontSize=9, leading=11, textColor=_INK
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
            canvas.setFont(_name(), 8)
            canvas.drawString(x, y - 8.4, name)
            value.drawOn(canvas, x + label, y - own)
        y -= height
    return bottom


def _picture(canvas: Canvas, page: Page, top: float) -> float:
    """The picture with its marks, its scale and its legend; where it ends."""
    picture = page.picture
    style = ParagraphStyle("caption", fontName=_name(), fontSize=7.5, leading=9.5, textColor=_FAINT)
    if isinstance(picture, str):
        found = paragraph(picture, style)
        height = height_of(found, _PICTURE_WIDTH)
        found.drawOn(canvas, EDGE, top - height)
        return top - height
    pixels, layer, geometry = picture.pixels, picture.layer, picture.geometry
    if layer is not None and geometry is not None:
        pixels = over(pixels, layer, geometry)
    scale = min(_PICTURE_WIDTH / pixels.shape[1], _PICTURE_HEIGHT / pixels.shape[0])
    width, height = pixels.shape[1] * scale, pixels.shape[0] * scale
    x, y = EDGE + (_PICTURE_WIDTH - width) / 2, top - height
    canvas.drawImage(_image(pixels), x, y, width, height)
    canvas.setStrokeColor(Color(0.75, 0.78, 0.82))
    canvas.setLineWidth(0.5)
    canvas.rect(x, y, width, height, stroke=1, fill=0)
    if geometry is not None:
        _marks(canvas, page.said, geometry, (x, y, width, height))
        _scale_bar(canvas, geometry, (x, y - 4.5 * mm), width, page.said.language)
        y -= 6 * mm
    return _legend(canvas, picture, y, style, page.said.language) if layer is not None else y


def _marks(
    canvas: Canvas, said: Said, geometry: SlideGeometry, box: tuple[float, float, float, float]
) -> None:
    """Frames with the numbers that the marked places have in the list beside the picture."""
    left, bottom, width, height = box
    canvas.setLineWidth(0.8)
    canvas.setFont(_name(bold=True), 7)
    for number, place in enumerate(said.places[:MOST_PLACES], start=1):
        points = to_pixels(geometry, np.array(place.place_mm))
        across, down = points[:, 0] / geometry.cols * width, points[:, 1] / geometry.rows * height
        x, y = left + across.min(), bottom + height - down.max()
        canvas.setStrokeColor(_INK)
        canvas.rect(x, y, np.ptp(across), np.ptp(down), stroke=1, fill=0)
        canvas.setFillColor(_INK)
        canvas.drawString(x + np.ptp(across) + 0.6, y + np.ptp(down) - 5.5, str(number))


def _scale_bar(
    canvas: Canvas,
    geometry: SlideGeometry,
    at: tuple[float, float],
    width: float,
    language: Language,
) -> None:
    """A round length, about a fifth of the picture or less, from `at` on to the right."""
    x, y = at
    across_mm = geometry.cols * geometry.spacing_col_mm
    most = across_mm / 5
    rounds = [n * 10.0**e for e in range(-4, 4) for n in (1, 2, 5) if n * 10.0**e <= most]
    length_mm = max(rounds, default=most)
    told = f"{length_mm:g} mm" if length_mm >= 0.1 else f"{length_mm * 1000:g} um"
    end = x + width * length_mm / across_mm
    canvas.setStrokeColor(_INK)
    canvas.setLineWidth(1.2)
    canvas.line(x, y, end, y)
    for tick in (x, end):
        canvas.line(tick, y - 1 * mm, tick, y + 1 * mm)
    canvas.setFillColor(_INK)
    canvas.setFont(_name(), 7.5)
    canvas.drawString(end + 2 * mm, y - 2.5, phrase(told, language))


def _legend(
    canvas: Canvas, picture: Picture, top: float, style: ParagraphStyle, language: Language
) -> float:
    """Bar, ends and what the colors stand for; where it ends."""
    layer = picture.layer
    if layer is None:
        return top
    left, right, high = EDGE + 7 * mm, EDGE + _PICTURE_WIDTH - 7 * mm, 3.5 * mm
    y = top - 1 * mm - high
    canvas.drawImage(_image(legend(400, 8), lossless=True), left, y, right - left, high)
    canvas.setFillColor(_INK)
    canvas.setFont(_name(), 8.5)
    canvas.drawRightString(left - 1.5 * mm, y + 0.6 * mm, "0")
    canvas.drawString(right + 1.5 * mm, y + 0.6 * mm, "1")
    drawn = layer.drawn
    found = f"Drawn here: {drawn.min():.2g} to {drawn.max():.2g}." if drawn.size else "None drawn."
    others = picture.heatmaps - 1
    more = f" {others} more heatmap{'s' if others > 1 else ''} not shown." if others else ""
    covers = f"Color covers {FAINTEST:.0%} (0) to {STRONGEST:.0%} (1) of the tissue."
    text = sentences(f"{found} {covers} No color: no value.{more}", language)
    caption = paragraph(f"{layer.name}. {text}", style)
    height = height_of(caption, _PICTURE_WIDTH)
    caption.drawOn(canvas, EDGE, y - 1.5 * mm - height)
    return y - 1.5 * mm - height


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
    style = ParagraphStyle("foot", fontName=_name(), fontSize=6.5, leading=8, textColor=_FAINT)
    found = paragraph(text, style)
    height = height_of(found, _INNER)
    found.drawOn(canvas, EDGE, EDGE - 4 * mm)
    y = EDGE - 4 * mm + height + 1.5 * mm
    canvas.setStrokeColor(_FAINT)
    canvas.setLineWidth(0.4)
    canvas.line(EDGE, y, WIDTH - EDGE, y)
    return y + 2 * mm


def _image(pixels: NDArray[np.uint8], *, lossless: bool = False) -> ImageReader:
    """An image for the page; a photograph as JPEG, which a PDF holds as it is."""
    stream = io.BytesIO()
    kind = "PNG" if lossless else "JPEG"
    Image.fromarray(pixels).save(stream, kind, quality=88)
    stream.seek(0)
    return ImageReader(stream)
