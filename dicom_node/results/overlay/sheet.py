"""A picture that explains itself: the slide with its heatmap between a banner and a legend.

No patient data is drawn: the viewer shows that beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset

from dicom_node.results.making import Making
from dicom_node.results.overlay.drawing import (
    FAINTEST,
    STRONGEST,
    legend,
    over,
    slide_picture,
)
from dicom_node.results.overlay.font_files import font_file
from dicom_node.results.seg.layers import Layer, layer_of
from inference.errors import SlideUnreadable
from inference.types import Prediction, SlideGeometry

LONGEST_PX = 2048
_LEAST_WIDTH_PX = 1024
_BANNER_PX, _LEGEND_PX = 72, 176
_INK, _PAPER, _WARNING, _PLAIN = (31, 41, 51), (255, 255, 255), (156, 28, 28), (238, 241, 244)
_BANNER = "RESEARCH USE ONLY. Not for diagnosis or treatment."


@dataclass(frozen=True, slots=True)
class Sheet:
    """The drawn picture, and where the slide lies in it."""

    pixels: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    top_px: int
    """Rows above the slide."""
    spacing_mm: tuple[float, float]
    """Distance between rows and between columns, on the slide."""
    label: str


def sheet_of(making: Making, segmentation: Dataset) -> Sheet:
    """The slide with one of its heatmaps. Raises SlideUnreadable where it cannot be opened."""
    result = making.result
    if not isinstance(result, Prediction):
        raise ValueError("found a refusal, expected a prediction: there is no heatmap to draw")
    pixels = slide_picture(making, LONGEST_PX)
    if isinstance(pixels, str):
        raise SlideUnreadable(pixels)
    geometry = result.geometry
    layer = layer_of(segmentation, geometry)
    height, width = pixels.shape[:2]
    spacing = (
        geometry.spacing_row_mm * geometry.rows / height,
        geometry.spacing_col_mm * geometry.cols / width,
    )
    canvas = Image.new(
        "RGB", (max(width, _LEAST_WIDTH_PX), _BANNER_PX + height + _LEGEND_PX), _PAPER
    )
    canvas.paste(Image.fromarray(over(pixels, layer, geometry)), (0, _BANNER_PX))
    _banner(canvas, making)
    _explain(canvas, making, layer, _BANNER_PX + height, spacing[1])
    return Sheet(np.asarray(canvas), _BANNER_PX, spacing, layer.name)


def origin_mm(sheet: Sheet, geometry: SlideGeometry) -> tuple[float, float, float]:
    """Where the top left corner of the sheet lies on the slide: above it by the banner."""
    return geometry.to_slide_mm(-sheet.top_px * sheet.spacing_mm[0] / geometry.spacing_row_mm, 0)


def _banner(canvas: Image.Image, making: Making) -> None:
    drawing = ImageDraw.Draw(canvas)
    is_product = making.manifest is not None and making.manifest.status == "product"
    text = "AI result, not verified" if is_product else _BANNER
    paint, ink = (_PLAIN, _INK) if is_product else (_WARNING, _PAPER)
    drawing.rectangle((0, 0, canvas.width, _BANNER_PX - 1), fill=paint)
    drawing.text(
        (canvas.width / 2, _BANNER_PX / 2), text, fill=ink, font=_font(34, bold=True), anchor="mm"
    )


def _explain(canvas: Image.Image, making: Making, layer: Layer, top: int, column_mm: float) -> None:
    """Legend: name, bar with its ends, what the colors mean, a length, and whose result it is."""
    drawing = ImageDraw.Draw(canvas)
    left, bar_width, y = 24, min(560, canvas.width // 2), top + 16
    drawing.text((left, y), layer.name, fill=_INK, font=_font(30, bold=True))
    y += 48
    drawing.text((left, y + 14), "0", fill=_INK, font=_font(26), anchor="lm")
    canvas.paste(Image.fromarray(legend(bar_width, 28)), (left + 30, y))
    drawing.text((left + 40 + bar_width, y + 14), "1", fill=_INK, font=_font(26), anchor="lm")
    _length(drawing, left + bar_width + 110, y + 14, column_mm)
    y += 40
    found = layer.drawn
    drawn = f"Drawn here: {found.min():.2g} to {found.max():.2g}. " if found.size else ""
    covers = f"Color covers {FAINTEST:.0%} (0) to {STRONGEST:.0%} (1) of the tissue; no color: "
    drawing.text((left, y), f"{drawn}{covers}no value.", fill=_INK, font=_font(22))
    if making.manifest is not None:
        whose = f"{making.manifest.title} {making.manifest.version}, {making.provenance.engine}"
        drawing.text((left, y + 30), whose, fill=_INK, font=_font(22))


def _length(drawing: ImageDraw.ImageDraw, left: int, y: int, column_mm: float) -> None:
    """A round length of at most 300 pixels."""
    rounds = [n * 10.0**e for e in range(-4, 4) for n in (1, 2, 5)]
    length = max((mm for mm in rounds if mm / column_mm <= 300), default=column_mm)
    end = left + round(length / column_mm)
    drawing.line((left, y, end, y), fill=_INK, width=4)
    for x in (left, end):
        drawing.line((x, y - 10, x, y + 10), fill=_INK, width=4)
    told = f"{length:g} mm" if length >= 0.1 else f"{length * 1000:g} um"
    drawing.text((end + 16, y), told, fill=_INK, font=_font(26), anchor="lm")


def _font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Without Raqm, which not every machine has: the same pixels everywhere.
    return ImageFont.truetype(
        str(font_file(bold=bold)), size_px, layout_engine=ImageFont.Layout.BASIC
    )
