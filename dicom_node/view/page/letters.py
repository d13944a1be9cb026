"""Letters that a page carries: a name is read at any desk, whatever fonts its machine has.

Kurinto Sans, of the package `weblate-fonts` (SIL Open Font License 1.1), cut down to what stands on
the page: some kilobytes. Latin, Greek and Cyrillic letters every machine has.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

import uharfbuzz as hb

FAMILY = "Carried letters"
_FONTS = ("static", "weblate_fonts", "kurinto", "ttf")
_EAST_ASIA = ("JP", "KR", "SC", "TC")
_KNOWN_EVERYWHERE = (
    range(0x0590),
    range(0x1E00, 0x2C00),
    range(0xFE00, 0xFE10),
    range(0xFFF0, 0x10000),
)
"""European scripts; punctuation, signs and arrows; what chooses between forms of a letter."""


def carried(text: str) -> str:
    """CSS: an `@font-face` of FAMILY for each font that has letters of the text which not every
    machine has; "" where there are none.

    A letter that no font has is left to the machine. FAMILY stands first in the style: Chromium
    draws boxes, and asks no later one, for a text that is of such letters alone.
    """
    letters = {c for c in set(text) if not any(ord(c) in known for known in _KNOWN_EVERYWHERE)}
    return "".join(_face(script, group) for script, group in fonts_of(letters))


def fonts_of(letters: set[str]) -> Iterator[tuple[str, set[str]]]:
    """Fonts ("" the general one, or JP, KR, SC, TC) and the letters that each is taken for."""
    left = set(letters)
    for script in _preferred(letters):
        found = {c for c in left if ord(c) in _has(script)} if left else set()
        left -= found
        if found:
            yield script, found


def _preferred(letters: set[str]) -> tuple[str, ...]:
    """One Han character is drawn in several ways: as where the text is from, as far as it shows."""
    first = {unicodedata.name(c, "").removeprefix("HALFWIDTH ").split(" ")[0] for c in letters}
    if first & {"HIRAGANA", "KATAKANA"}:
        return ("", "JP", "SC", "TC", "KR")
    if "HANGUL" in first:
        return ("", "KR", "TC", "SC", "JP")
    han = {ord(c) for c in letters if unicodedata.name(c, "").startswith("CJK ")}
    whole = [s for s in _EAST_ASIA if han and han <= _has(s)]
    return ("", *dict.fromkeys((*whole, *_EAST_ASIA)))


def _face(script: str, letters: set[str]) -> str:
    wanted = hb.SubsetInput()
    wanted.sets(hb.SubsetInputSets.UNICODE).set({ord(c) for c in letters})
    cut = base64.b64encode(hb.subset(_font(script), wanted).blob.data).decode()
    places = ", ".join(f"U+{ord(c):X}" for c in sorted(letters))
    return (
        f'@font-face {{ font-family: "{FAMILY}"; src: url(data:font/ttf;base64,{cut}); '
        f"unicode-range: {places}; }}\n"
    )


@lru_cache(maxsize=8)
def _font(script: str) -> hb.Face:
    path = files("weblate_fonts").joinpath(*_FONTS, f"KurintoSans{script}-Rg.ttf")
    return hb.Face(hb.Blob.from_file_path(str(path)))


@lru_cache(maxsize=8)
def _has(script: str) -> frozenset[int]:
    return frozenset(_font(script).unicodes)
