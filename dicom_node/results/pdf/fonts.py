"""Fonts of the page, embedded: a name is read at any desk, whatever fonts its viewer has."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

from dicom_node.results.overlay.font_files import font_file
from dicom_node.results.pdf.direction import as_handed_over, has_to_left

_SCRIPTS = ("", "JP", "KR", "SC", "TC")
"""Files of the family: the general one, then those of the scripts of East Asia."""
_KANA = ("HIRAGANA", "KATAKANA")
_COMPLEX = range(0x0900, 0x1900)
"""Scripts of South and Southeast Asia, whose letters change by what stands beside them."""


@lru_cache(maxsize=16)
def font(script: str, *, bold: bool) -> TTFont:
    """One file of the family, known to ReportLab by its name. Raises FontsMissing."""
    path = font_file(script, bold=bold)
    made = TTFont(path.stem, str(path), shapable=True)
    pdfmetrics.registerFont(made)
    return made


@dataclass(frozen=True, slots=True)
class Marked:
    """A text with its fonts, to be set in one size or in several."""

    markup: str
    is_shaped: bool

    def at(self, style: ParagraphStyle) -> Paragraph:
        """One line or many."""
        bent = ParagraphStyle("shaped", parent=style, shaping=1) if self.is_shaped else style
        return Paragraph(self.markup, bent)


def ready(text: str, *, bold: bool = False) -> Marked:
    """A text of any script; a character that no font has is written by its number."""
    return Marked(marked(text, bold=bold), needs_shaping(text))


def paragraph(text: str, style: ParagraphStyle, *, bold: bool = False) -> Paragraph:
    """The same, in one size."""
    return ready(text, bold=bold).at(style)


def font_name(*, bold: bool = False) -> str:
    """Of the general font, as ReportLab knows it."""
    return str(font("", bold=bold).fontName)


def needs_shaping(text: str) -> bool:
    """Whether its letters are right only when they are set with regard to each other."""
    return has_to_left(text) or any(ord(c) in _COMPLEX for c in set(text))


def marked(text: str, *, bold: bool = False) -> str:
    """ReportLab's markup of a text, each part of it in a font that has its letters."""
    scripts = preferred(text)

    handed = as_handed_over(text)
    of = {c: next((s for s in scripts if _has(s, bold, c)), None) for c in set(handed)}
    parts = []
    for script, group in groupby(handed, key=of.get):
        run = "".join(group)
        if script is None:
            run, script = "".join(f"[U+{ord(c):04X}]" for c in run), ""
        parts.append(f'<font name="{font(script, bold=bold).fontName}">{escape(run)}</font>')
    return "".join(parts)


def preferred(text: str) -> tuple[str, ...]:
    """Scripts in the order in which they are asked for letters.

    One Han character is drawn in several ways: as where the text is from, as far as it shows.
    """
    names = {c: unicodedata.name(c, "") for c in set(text)}
    first = {name.split(" ")[0] for name in names.values()}
    if first & set(_KANA) or any("HALFWIDTH KATAKANA" in name for name in names.values()):
        return ("", "JP", "SC", "TC", "KR")
    if "HANGUL" in first:
        return ("", "KR", "TC", "SC", "JP")
    han = [c for c, name in names.items() if name.startswith("CJK ")]
    whole = [s for s in _SCRIPTS[1:] if all(_has(s, False, c) for c in han)]
    return ("", *dict.fromkeys((*whole, *_SCRIPTS[1:])))


def _has(script: str, bold: bool, character: str) -> bool:
    return ord(character) in font(script, bold=bold).face.charToGlyph
