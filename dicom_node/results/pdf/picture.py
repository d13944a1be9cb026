"""The picture on the page, with its marks, its scale and its legend."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dicom_node.config.languages import Language
from dicom_node.results.language.speaking import phrase, sentences
from dicom_node.results.overlay.drawing import FAINTEST, STRONGEST, legend, over
from dicom_node.results.pdf.fonts import font_name, paragraph
from dicom_node.results.pdf.said import Said
from dicom_node.results.pdf.text import MOST_PLACES, height_of, mm
from dicom_node.results.seg.layers import Layer
from dicom_node.results.sr.derived import to_pixels
from inference.outputs.units import for_people
from inference.types import SlideGeometry

EDGE = 14 * mm
"""Of the page, at each side."""
PICTURE_WIDTH, _PICTURE_HEIGHT = 92 * mm, 88 * mm
_INK, _FAINT = HexColor("#1f2933"), HexColor("#5f6c7b")


@dataclass(frozen=True, slots=True)
class Picture:
    """The slide, and the heatmap that is drawn over it."""

    pixels: NDArray[np.uint8]
    """RGB [H, W, 3] of the whole slide."""
    geometry: SlideGeometry | None
    layer: Layer | None
    heatmaps: int
    """How many the slide has; the first is drawn."""


def draw_picture(canvas: Canvas, picture: Picture | str, said: Said, top: float) -> float:
    """The picture with its marks, its scale and its legend; where it ends."""
    style = ParagraphStyle(
        "caption", fontName=font_name(), fontSize=7.5, leading=9.5, textColor=_FAINT
    )
    if isinstance(picture, str):
        found = paragraph(picture, style)
        height = height_of(found, PICTURE_WIDTH)
        found.drawOn(canvas, EDGE, top - height)
        return top - height
    pixels, layer, geometry = picture.pixels, picture.layer, picture.geometry
    if layer is not None and geometry is not None:
        pixels = over(pixels, layer, geometry)
    scale = min(PICTURE_WIDTH / pixels.shape[1], _PICTURE_HEIGHT / pixels.shape[0])
    width, height = pixels.shape[1] * scale, pixels.shape[0] * scale
    x, y = EDGE + (PICTURE_WIDTH - width) / 2, top - height
    canvas.drawImage(_image(pixels), x, y, width, height)
    canvas.setStrokeColor(Color(0.75, 0.78, 0.82))
    canvas.setLineWidth(0.5)
    canvas.rect(x, y, width, height, stroke=1, fill=0)
    if geometry is not None:
        _marks(canvas, said, geometry, (x, y, width, height))
        _scale_bar(canvas, geometry, (x, y - 4.5 * mm), width, said.language)
        y -= 6 * mm
    return _legend(canvas, picture, y, style, said.language) if layer is not None else y


def _marks(
    canvas: Canvas, said: Said, geometry: SlideGeometry, box: tuple[float, float, float, float]
) -> None:
    """Frames with the numbers that the marked places have in the list beside the picture."""
    left, bottom, width, height = box
    canvas.setLineWidth(0.8)
    canvas.setFont(font_name(bold=True), 7)
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
    canvas.setFont(font_name(), 7.5)
    canvas.drawString(end + 2 * mm, y - 2.5, for_people(phrase(told, language)))


def _legend(
    canvas: Canvas, picture: Picture, top: float, style: ParagraphStyle, language: Language
) -> float:
    """Bar, ends and what the colors stand for; where it ends."""
    layer = picture.layer
    if layer is None:
        return top
    left, right, high = EDGE + 7 * mm, EDGE + PICTURE_WIDTH - 7 * mm, 3.5 * mm
    y = top - 1 * mm - high
    canvas.drawImage(_image(legend(400, 8), lossless=True), left, y, right - left, high)
    canvas.setFillColor(_INK)
    canvas.setFont(font_name(), 8.5)
    canvas.drawRightString(left - 1.5 * mm, y + 0.6 * mm, "0")
    canvas.drawString(right + 1.5 * mm, y + 0.6 * mm, "1")
    drawn = layer.drawn
    found = f"Drawn here: {drawn.min():.2g} to {drawn.max():.2g}." if drawn.size else "None drawn."
    others = picture.heatmaps - 1
    more = f" {others} more heatmap{'s' if others > 1 else ''} not shown." if others else ""
    covers = f"Color covers {FAINTEST:.0%} (0) to {STRONGEST:.0%} (1) of the tissue."
    text = sentences(f"{found} {covers} No color: no value.{more}", language)
    caption = paragraph(f"{layer.name}. {text}", style)
    height = height_of(caption, PICTURE_WIDTH)
    caption.drawOn(canvas, EDGE, y - 1.5 * mm - height)
    return y - 1.5 * mm - height


def _image(pixels: NDArray[np.uint8], *, lossless: bool = False) -> ImageReader:
    """An image for the page; a photograph as JPEG, which a PDF holds as it is."""
    stream = io.BytesIO()
    kind = "PNG" if lossless else "JPEG"
    Image.fromarray(pixels).save(stream, kind, quality=88)
    stream.seek(0)
    return ImageReader(stream)
