"""Words of the page: the finding beside the picture, and the sentences below, as large as fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

from dicom_node.config.languages import Language
from dicom_node.results.language.speaking import phrase, sentences
from dicom_node.results.pdf.composition import together
from dicom_node.results.pdf.fonts import Marked, font, paragraph, ready
from dicom_node.results.pdf.said import Number, Said, Section

mm = 72 / 25.4
"""In points, which a page is measured in."""
_INK, _FAINT, _REFUSAL = HexColor("#1f2933"), HexColor("#5f6c7b"), HexColor("#8a5a00")
_SIZES = (9.0, 8.5, 8.0, 7.5, 7.0, 6.5)
_MOST_NUMBERS, _MOST_COUNTED = 14, 14
"""Those counted over classes of tissue are smaller."""
_MOST_ALIKE = 3
"""Of more statements with one value the page says how many they are, not each."""
MOST_PLACES = 5
"""So many of the marked places are on the page."""


@dataclass
class Column:
    """A column that is filled from above."""

    canvas: Canvas
    left: float
    right: float
    y: float

    def put(self, found: Paragraph, gap: float = 0, *, indent: float = 0) -> None:
        """A paragraph, and `gap` below it."""
        height = height_of(found, self.right - self.left - indent)
        found.drawOn(self.canvas, self.left + indent, self.y - height)
        self.y -= height + gap

    def pair(self, name: Paragraph, value: Paragraph, gap: float, *, split: float = 0.62) -> None:
        """A name, and at the right of it its value, which begins at that share of the width."""
        width = self.right - self.left
        split *= width
        heights = [height_of(name, split), height_of(value, width - split)]
        name.drawOn(self.canvas, self.left, self.y - heights[0])
        value.drawOn(self.canvas, self.left + split, self.y - heights[1])
        self.y -= max(heights) + gap


def height_of(found: Paragraph, width: float) -> float:
    """How high a paragraph is in a column of `width`; it is ready to be drawn then."""
    return float(found.wrap(width, 500 * mm)[1])


def style(size: float, color: HexColor = _INK, *, bold: bool = False) -> ParagraphStyle:
    """A style of the page's font."""
    name = str(font("", bold=bold).fontName)
    return ParagraphStyle(
        "text", fontName=name, fontSize=size, leading=size * 1.28, textColor=color
    )


def finding_of(column: Column, said: Said) -> None:
    """What was found, or that nothing can be predicted and why, with every number of the slide, or
    of the case: those of its single slides are many, and stand in the sentences."""
    if said.reason:
        box = style(13, _REFUSAL, bold=True)
        column.put(paragraph(_refused(said), box, bold=True), 1 * mm)
        if said.why:
            column.put(paragraph(said.why, style(9.5)), 2 * mm)
    left, hidden = _MOST_NUMBERS, 0
    last = ""
    told: set[tuple[str, str]] = set()
    for section in said.sections:
        if said.is_of_case and section.is_of_specimen:
            hidden += len(section.numbers)
            continue
        title = section.finding or (section.title if section.numbers else "")
        is_said = bool(said.reason) and not section.numbers
        if title and title != last and not is_said and (section.numbers or section.statements):
            head = style(10.5, bold=True)
            column.put(paragraph(title, head, bold=True), 1 * mm)
            last = title
        if section.result and not said.reason:
            column.put(paragraph(section.result, style(12, bold=True), bold=True), 1 * mm)
            told.add((section.finding, section.result))
        numbers = together(section.numbers)
        counted = [n for n in numbers if n.counted]
        others = [n for n in numbers if not n.counted]
        for number in others[:left]:
            _number(column, number)
        _counted(column, counted[:_MOST_COUNTED], said.language)
        hidden += len(others[left:]) + len(counted[_MOST_COUNTED:])
        left -= min(left, len(others))
        for text in _stated(section, said, told):
            column.put(paragraph(text, style(8.5)), 0.6 * mm)
    if hidden > 0:
        more = sentences(f"{hidden} more values stand in the report.", said.language)
        column.put(paragraph(more, style(8, _FAINT)))
    _places(column, said.places, said.language)


def _stated(section: Section, said: Said, told: set[tuple[str, str]]) -> Iterator[str]:
    """What is coded of a section and was not `told` above, nor by the title of a refusal."""
    refused = (phrase("Not predictable", said.language), said.reason) if said.reason else ()
    alike = Counter(value for _, value in section.statements)
    for name, value in section.statements:
        many = alike[value] > _MOST_ALIKE
        statement = ("", value) if many else (name, value)
        if value in refused or statement in told:
            continue
        told.add(statement)
        count = phrase(f"{alike[value]} values", said.language)
        yield f"{count if many else name}: {value}"


def _refused(said: Said) -> str:
    return f"{phrase('Not predictable', said.language)}: {said.reason}"


def _number(column: Column, number: Number) -> None:
    name = paragraph(number.name, style(9))
    value = paragraph(number.value, style(10, bold=True), bold=True)
    column.pair(name, value, 0.4 * mm)
    for beside in number.beside:
        column.put(paragraph(beside, style(7.5, _FAINT)), 0.3 * mm, indent=2 * mm)


def _counted(column: Column, numbers: list[Number], language: Language) -> None:
    """A line of the tissue each; which tiles were counted stands in the report."""
    for number in numbers:
        name = paragraph(number.name, style(8))
        value = paragraph(number.value, style(8.5, bold=True), bold=True)
        column.pair(name, value, 0.2 * mm, split=0.42)
    if any(number.interval for number in numbers):
        told = sentences("In brackets: the interval.", language)
        column.put(paragraph(told, style(7, _FAINT)), 0.4 * mm)


def _places(column: Column, places: tuple[Section, ...], language: Language) -> None:
    """The places that the report marks: the first ones, by their values."""
    if not places:
        return
    column.y -= 1.5 * mm
    head = phrase(f"Marked on the slide: {len(places)}", language)
    column.put(paragraph(head, style(9, bold=True), bold=True), 0.6 * mm)
    maps = {place.of_map for place in places}
    for number, place in enumerate(places[:MOST_PLACES], start=1):
        values = "; ".join(f"{n.name} {n.value}" for n in place.numbers)
        which = f" ({place.of_map})" if len(maps) > 1 and place.of_map else ""
        told = f"{number}  {place.finding}{which}: {values}"
        column.put(paragraph(told, style(8)), 0.2 * mm)
    if len(places) > MOST_PLACES:
        told = sentences(f"{len(places) - MOST_PLACES} more stand in the report.", language)
        column.put(paragraph(told, style(8, _FAINT)))


def sentences_of(canvas: Canvas, said: Said, box: tuple[float, float, float, float]) -> None:
    """Every sentence of the report in its order, in `box` (left, bottom, right, top).

    As large as all have room; where they have none at the smallest size, limits of the model come
    before what else there is, and the page says how many are left out.
    """
    left, bottom, right, top = box
    every = dict.fromkeys(s for part in said.sections for s in part.sentences)
    # A comment of a group that the result says, too, stands there.
    told = [s for s in every if not any(s != other and s in other for other in every)]
    if not told:
        return
    title = phrase("What the report says", said.language)
    head = paragraph(title, style(10.5, bold=True), bold=True)
    top -= height_of(head, right - left) + 1 * mm
    texts = [ready(f"• {s}") for s in told]
    room = top - bottom
    made, heights = _set(texts, style(_SIZES[-1]), right - left)
    if sum(heights) > room:
        made = _cut(told, heights, room, said)
    else:
        made = _largest(texts, right - left, room) or made
    column = Column(canvas, left, right, box[3])
    column.put(head, 1 * mm)
    for found in made:
        column.put(found, 0.8 * mm)


def _largest(texts: list[Marked], width: float, room: float) -> list[Paragraph]:
    """As large as all have room, by halves; empty where only the smallest size does."""
    found: list[Paragraph] = []
    sizes = list(_SIZES[:-1])
    while sizes:
        middle = len(sizes) // 2
        made, heights = _set(texts, style(sizes[middle]), width)
        if sum(heights) <= room:
            found, sizes = made, sizes[:middle]
        else:
            sizes = sizes[middle + 1 :]
    return found


def _set(
    texts: list[Marked], own: ParagraphStyle, width: float
) -> tuple[list[Paragraph], list[float]]:
    """The sentences in one size, and how high each is with the gap below it."""
    made = [text.at(own) for text in texts]
    return made, [height_of(found, width) + 0.8 * mm for found in made]


def _cut(told: list[str], heights: list[float], room: float, said: Said) -> list[Paragraph]:
    """Limits, then the first of the other sentences, as far as they have room at the smallest size,
    all in their order; and how many there are besides."""
    small = style(_SIZES[-1])
    room -= 2 * small.leading
    kept: set[int] = set()
    for n in sorted(range(len(told)), key=lambda n: told[n] not in said.limits):
        room -= heights[n]
        if room < 0:
            break
        kept.add(n)
    made = [paragraph(f"• {told[n]}", small) for n in sorted(kept)]
    more = f"{len(told) - len(kept)} more sentences have no room here: read the report."
    bold = style(_SIZES[-1], bold=True)
    made.append(paragraph(sentences(more, said.language), bold, bold=True))
    return made
