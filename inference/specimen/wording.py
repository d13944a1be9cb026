"""Which organs a text names: whole words in English, German and Latin.

A text that denies, doubts or speaks of a metastasis names what is not there, or where a tumor may
have come from: no organ is to be believed of it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from inference.specimen.organs import Organ, organs

MOST_CHARACTERS = 10240
"""Of a text: what PS3.5 6.2 allows an LT. What is longer is cut off and not read to its end."""
_TABLE = Path(__file__).with_name("wording.toml")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_WORD = re.compile(r"[a-z0-9]+")
_NUMBERED = re.compile(r" no(?= [0-9])")
"""As in "block no. 3", which denies nothing."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a text names."""

    organs: frozenset[Organ]
    is_doubted: bool = False
    """Whether it denies, doubts or leaves a choice."""
    is_of_metastasis: bool = False


@dataclass(frozen=True, slots=True)
class _Words:
    """Everything known, folded."""

    organs: dict[str, Organ]
    leading: frozenset[str]
    """Those that count only where a text begins with them."""
    longest: int
    """Words of the longest phrase of an organ."""
    endings: tuple[str, ...]
    metastases: tuple[str, ...]
    secondary: tuple[str, ...]
    doubts: tuple[str, ...]


def folded(text: str) -> str:
    """Small letters without accents, umlauts written out, one blank for all between words."""
    small = unicodedata.normalize("NFC", text[:MOST_CHARACTERS]).casefold().translate(_UMLAUTS)
    plain = unicodedata.normalize("NFKD", small)
    return " ".join(_WORD.findall("".join(c for c in plain if not unicodedata.combining(c))))


def read(text: str) -> Read:
    """The organs that the words of a text name, the longest phrases first."""
    known = _words()
    plain = f" {folded(text)} "
    words = plain.split()
    found: set[Organ] = set()
    at = 0
    while at < len(words):
        organ, length = _phrase_at(words, at, known)
        if organ is not None:
            found.add(organ)
        at += length
    denied = _NUMBERED.sub("", plain)
    return Read(
        frozenset(found),
        is_doubted="?" in text or any(f" {phrase} " in denied for phrase in known.doubts),
        is_of_metastasis=any(part in plain for part in known.metastases)
        or any(f" {phrase} " in plain for phrase in known.secondary),
    )


def _phrase_at(words: list[str], at: int, known: _Words) -> tuple[Organ | None, int]:
    """The organ that the longest known phrase from there on names, and its length in words."""
    for length in range(min(known.longest, len(words) - at), 0, -1):
        phrase = " ".join(words[at : at + length])
        if phrase in known.organs and (at == 0 or phrase not in known.leading):
            return known.organs[phrase], length
    return _compound(words[at], known), 1


def _compound(word: str, known: _Words) -> Organ | None:
    """The organ of a German compound such as Lungengewebe or Prostatastanze."""
    for ending in known.endings:
        stem = word.removesuffix(ending)
        for name in (stem, stem.removesuffix("s")):
            if stem != word and name in known.organs:
                return known.organs[name]
    return None


@cache
def _words() -> _Words:
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    every = [(word, organ) for organ in organs().values() for word in organ.words]
    named = {folded(word): organ for word, organ in every}
    return _Words(
        organs=named,
        leading=frozenset(folded(word) for word, _ in every if word.startswith("^")),
        longest=max(phrase.count(" ") + 1 for phrase in named),
        endings=tuple(folded(table["endings"]).split()),
        metastases=tuple(folded(table["metastases"]).split()),
        secondary=_phrases(table["secondary"]),
        doubts=_phrases(table["doubts"]),
    )


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(folded(phrase) for phrase in text.split(";"))
