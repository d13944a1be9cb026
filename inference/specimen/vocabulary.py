"""The words by which texts name organs and speak of them, made comparable."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from inference.specimen.organs import Organ, organs

MOST_CHARACTERS = 10240
"""Of a text: what PS3.5 6.2 allows an LT. What is longer is cut off and not read to its end."""
_TABLE = Path(__file__).with_name("wording.toml")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything known, folded; `wording.toml` tells what each is."""

    organs: dict[str, Organ]
    leading: frozenset[str]
    """Those that count only where a text begins with them."""
    longest: int
    """Words of the longest phrase of an organ."""
    endings: tuple[str, ...]
    tumors: tuple[str, ...]
    malignant: frozenset[str]
    adjectives: frozenset[str]
    structures: frozenset[str]
    around: frozenset[str]
    nodes: tuple[str, ...]
    """How compounds end that name lymph nodes."""
    vessels: tuple[str, ...]
    places: tuple[str, ...]
    elsewhere: tuple[str, ...]
    lobes: tuple[str, ...]
    lobed: frozenset[str]
    """Names of organs that have lobes."""
    everywhere: frozenset[str]
    """Names of organs that are in all places."""
    metastases: tuple[str, ...]
    secondary: tuple[str, ...]
    harmless: tuple[str, ...]
    denied: re.Pattern[str]
    """A denial and the metastasis that it denies."""
    doubts: tuple[str, ...]
    turns: re.Pattern[str]

    def compound(self, word: str, endings: Collection[str]) -> Organ | None:
        """The organ of a German compound such as Lungengewebe or Prostatastanze."""
        for ending in endings:
            stem = word.removesuffix(ending)
            for name in (stem, stem.removesuffix("s")):
                if stem != word and name in self.organs:
                    return self.organs[name]
        return None

    def is_structure(self, word: str) -> bool:
        """Whether it is a compound that names a structure by an organ, such as Nierenarterie."""
        return self.compound(word, self.structures) is not None


def folded(text: str) -> str:
    """Small letters without accents, umlauts written out, one blank for all between words."""
    small = unicodedata.normalize("NFC", text[:MOST_CHARACTERS]).casefold().translate(_UMLAUTS)
    plain = unicodedata.normalize("NFKD", small)
    return " ".join(_WORD.findall("".join(c for c in plain if not unicodedata.combining(c))))


@cache
def vocabulary() -> Vocabulary:
    """All of it, read once."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    every = [(word, organ) for organ in organs().values() for word in organ.words]
    named = {folded(word): organ for word, organ in every}
    words = {key: tuple(folded(table[key]).split()) for key in table}
    phrases = {key: tuple(folded(one) for one in table[key].split(";")) for key in table}
    kept = ("vessels", "places", "elsewhere", "lobes", "secondary", "harmless", "doubts")
    denials, parts = _any(phrases["denials"]), "|".join(words["metastases"])
    return Vocabulary(
        organs=named,
        leading=frozenset(folded(word) for word, _ in every if word.startswith("^")),
        longest=max(phrase.count(" ") + 1 for phrase in named),
        endings=words["endings"],
        tumors=words["tumors"],
        malignant=frozenset(words["malignant"]),
        adjectives=frozenset(words["adjectives"]),
        structures=frozenset(words["structures"]),
        around=frozenset(words["around"]),
        nodes=("lymphknoten", "lymphnode", "lymphnodes"),
        lobed=frozenset(phrases["lobed"]),
        everywhere=frozenset(phrases["everywhere"]),
        metastases=words["metastases"],
        denied=re.compile(rf"\b{denials}(?: [a-z]+){{0,2}}? [a-z]*(?:{parts})[a-z]*"),
        turns=re.compile(rf"\b{_any(phrases['turns'])}\b"),
        **{key: phrases[key] for key in kept},
    )


def _any(phrases: Collection[str]) -> str:
    """A pattern for the longest of them."""
    return "(?:" + "|".join(sorted(phrases, key=len, reverse=True)) + ")"
