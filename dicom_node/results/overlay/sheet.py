"""A picture that explains itself: the slide with its heatmap between a banner and a legend.

No patient data is drawn: the viewer shows that beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset

from dicom_node.config.languages import Language
from dicom_node.results.language.speaking import phrase, sentences
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
from inference.outputs.units import for_people
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
    top_px: float
    """Rows above the slide."""
    geometry: SlideGeometry
    """Of the slide as it lies in the picture, in pixels of the picture."""
    label: str


def sheet_of(making: Making, segmentation: Dataset) -> Sheet:
    """The slide with one of its heatmaps. Raises SlideUnreadable where it cannot be opened."""
    result = making.result
    if not isinstance(result, Prediction):
        raise ValueError("found a refusal, expected a prediction: there is no heatmap to draw")
    pixels = slide_picture(making, LONGEST_PX)
    if isinstance(pixels, str):
        raise SlideUnreadable(pixels)
    layer = layer_of(segmentation, result.geometry)
    drawn = over(pixels, layer, result.geometry)
    geometry = _of_picture(result.geometry, drawn.shape[0], drawn.shape[1])
    for _ in range(3):
        if not _upright(geometry):
            drawn, geometry = np.rot90(drawn), _turned(geometry)
    height, width = drawn.shape[:2]
    canvas = Image.new(
        "RGB", (max(width, _LEAST_WIDTH_PX), _BANNER_PX + height + _LEGEND_PX), _PAPER
    )
    canvas.paste(Image.fromarray(np.ascontiguousarray(drawn)), (0, _BANNER_PX))
    _banner(canvas, making)
    _explain(canvas, making, layer, _BANNER_PX + height, geometry.spacing_col_mm)
    return Sheet(np.asarray(canvas), _BANNER_PX, geometry, layer.name)


def smaller(sheet: Sheet, times: int) -> Sheet:
    """The same picture with pixels `times` as wide and high, from the same corner; what is missing
    of the last ones is white."""
    height, width = sheet.pixels.shape[:2]
    padded = np.pad(
        sheet.pixels, ((0, -height % times), (0, -width % times), (0, 0)), constant_values=255
    )
    geometry = replace(
        sheet.geometry,
        rows=padded.shape[0] // times,
        cols=padded.shape[1] // times,
        spacing_row_mm=sheet.geometry.spacing_row_mm * times,
        spacing_col_mm=sheet.geometry.spacing_col_mm * times,
    )
    pixels = np.asarray(Image.fromarray(padded).reduce(times))
    return Sheet(pixels, sheet.top_px / times, geometry, sheet.label)


def origin_mm(sheet: Sheet) -> tuple[float, float, float]:
    """Where the top left corner of the sheet lies on the slide: above it by the banner."""
    return sheet.geometry.to_slide_mm(-sheet.top_px, 0)


def _of_picture(geometry: SlideGeometry, height: int, width: int) -> SlideGeometry:
    """The same place in pixels of a picture of the slide."""
    return replace(
        geometry,
        rows=height,
        cols=width,
        spacing_row_mm=geometry.spacing_row_mm * geometry.rows / height,
        spacing_col_mm=geometry.spacing_col_mm * geometry.cols / width,
    )


def _upright(geometry: SlideGeometry) -> bool:
    """Whether +X of the slide points down: viewers of slides turn what they show so, and writing on
    a picture that lies otherwise would stand on its head or on its side."""
    _, _, _, x, y, _ = geometry.orientation
    return x > 0 and x >= abs(y)


def _turned(geometry: SlideGeometry) -> SlideGeometry:
    """A quarter to the left, as `numpy.rot90` turns: what was the right end is the top."""
    x, y, _ = geometry.to_slide_mm(0, geometry.cols)
    right, down = geometry.orientation[:3], geometry.orientation[3:]
    return replace(
        geometry,
        origin_x_mm=x,
        origin_y_mm=y,
        orientation=(*down, 0.0 - right[0], 0.0 - right[1], 0.0 - right[2]),
        spacing_row_mm=geometry.spacing_col_mm,
        spacing_col_mm=geometry.spacing_row_mm,
        rows=geometry.cols,
        cols=geometry.rows,
    )


def _banner(canvas: Image.Image, making: Making) -> None:
    drawing = ImageDraw.Draw(canvas)
    is_product = making.manifest is not None and making.manifest.status == "product"
    text = "AI result, not verified" if is_product else _BANNER
    text = sentences(text, making.provenance.language)
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
    _length(drawing, left + bar_width + 110, y + 14, column_mm, making.provenance.language)
    y += 40
    found = layer.drawn
    drawn = f"Drawn here: {found.min():.2g} to {found.max():.2g}. " if found.size else ""
    covers = (
        f"Color covers {FAINTEST:.0%} (0) to {STRONGEST:.0%} (1) of the tissue; no color: no value."
    )
    told = sentences(f"{drawn}{covers}", making.provenance.language)
    drawing.text((left, y), told, fill=_INK, font=_font(22))
    if making.manifest is not None:
        whose = f"{making.manifest.title} {making.manifest.version}, {making.provenance.engine}"
        drawing.text((left, y + 30), whose, fill=_INK, font=_font(22))


def _length(
    drawing: ImageDraw.ImageDraw, left: int, y: int, column_mm: float, language: Language
) -> None:
    """A round length of at most 300 pixels."""
    rounds = [n * 10.0**e for e in range(-4, 4) for n in (1, 2, 5)]
    length = max((mm for mm in rounds if mm / column_mm <= 300), default=column_mm)
    end = left + round(length / column_mm)
    drawing.line((left, y, end, y), fill=_INK, width=4)
    for x in (left, end):
        drawing.line((x, y - 10, x, y + 10), fill=_INK, width=4)
    told = f"{length:g} mm" if length >= 0.1 else f"{length * 1000:g} um"
    told = for_people(phrase(told, language))
    drawing.text((end + 16, y), told, fill=_INK, font=_font(26), anchor="lm")


def _font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Without Raqm, which not every machine has: the same pixels everywhere.
    return ImageFont.truetype(
        str(font_file(bold=bold)), size_px, layout_engine=ImageFont.Layout.BASIC
    )
