"""What is said in English, said in another language: each sentence by its line in the catalog.

Words of others, such as the limits that a bundle states, are in no catalog and stay as they came:
`sentences` marks them, so that nobody wonders about a second language.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dicom_node.config.languages import Language
from dicom_node.results.language.catalog import Entry, entries, filled

_ENDS = re.compile(r"(?<=[.!?]) ")
_LISTS = (("; ", "; "), (", ", ", "), (" and ", " {and} "), (" or ", " {or} "))
_JOINED_BY: dict[Language, dict[str, str]] = {"de": {"and": "und", "or": "oder"}}
_ORIGINAL: dict[Language, str] = {"de": "[Originalwortlaut] "}
_POINT = re.compile(r"(?<=\d)\.(?=\d)")


def phrase(text: str, language: Language) -> str:
    """A title, a label or a part of a sentence; one that is not in the catalog stays as it is, and
    so does a list of which no part is: it may be a name of others."""
    return text if language == "en" else _phrase(text, language, is_alone=True)


def sentences(text: str, language: Language) -> str:
    """One sentence or several; words of others are marked as such."""
    return text if language == "en" else _sentences(text, language)


def number(text: str, language: Language) -> str:
    """A number in prose: never for a value that a machine reads."""
    if language == "en":
        return text
    return re.sub(r"(?<=\d)%", " %", _POINT.sub(",", text))


@lru_cache(maxsize=4096)
def _sentences(text: str, language: Language) -> str:
    whole = _said(text, language, only_open=True)
    if whole is not None:
        return whole
    pieces = _ENDS.split(text)
    said: list[str] = []
    others: list[str] = []
    at = 0
    while at < len(pieces):
        end, found = _first_said(pieces, at, language)
        if found is None:
            others.append(pieces[at])
        else:
            said += [*_marked(others, language), found]
            others = []
        at = end
    return " ".join([*said, *_marked(others, language)])


def _first_said(pieces: list[str], at: int, language: Language) -> tuple[int, str | None]:
    """The shortest run of pieces that the catalog has, and where it ends."""
    for end in range(at + 1, len(pieces) + 1):
        found = _said(" ".join(pieces[at:end]), language)
        if found is not None:
            return end, found
    return at + 1, None


def _marked(words: list[str], language: Language) -> list[str]:
    """Words of others; a single one is a name."""
    text = " ".join(words)
    return [_ORIGINAL[language] + text if " " in text else text] if words else []


@lru_cache(maxsize=4096)
def _phrase(text: str, language: Language, *, is_alone: bool = False) -> str:
    found = _said(text, language)
    if found is not None:
        return found
    apart = [(_parts(text, by), by, glue) for by, glue in _LISTS if by in text]
    lists = [_listed(parts, by, glue, language) for parts, by, glue in apart if len(parts) > 1]
    if not lists:
        return text
    unknown, of, joined = min(lists, key=lambda found: found[0])
    return text if is_alone and unknown == of else joined


def _parts(text: str, by: str) -> list[str]:
    """The parts of a list: what stands in brackets belongs to one of them."""
    parts: list[str] = []
    is_open = False
    for piece in text.split(by):
        if is_open:
            parts[-1] += by + piece
        else:
            parts.append(piece)
        is_open = parts[-1].count("(") > parts[-1].count(")")
    return parts


def _listed(parts: list[str], by: str, joined: str, language: Language) -> tuple[int, int, str]:
    """How many of the parts of a list nobody knows, of how many, and the list in the language: of
    several ways to take a text apart, the one with the fewest unknown is right."""
    told: list[str] = []
    unknown = at = 0
    while at < len(parts):
        ends = range(at + 1, len(parts) + 1)
        runs = ((end, _said(by.join(parts[at:end]), language)) for end in ends)
        end, found = next((run for run in runs if run[1] is not None), (at + 1, None))
        if found is None:
            found = _phrase(parts[at], language)
            unknown += found == parts[at]
        told.append(found)
        at = end
    return unknown, len(told), joined.format_map(_JOINED_BY[language]).join(told)


def _said(text: str, language: Language, *, only_open: bool = False) -> str | None:
    """The text by the one line of the catalog that it is; None where it is none."""
    for entry in entries():
        if only_open and not entry.is_open:
            continue
        found = entry.match(text)
        if found is not None:
            return _filled(entry, found, language)
    return None


def _filled(entry: Entry, found: dict[str, str], language: Language) -> str:
    values = {name: _value(text, entry.kinds[name], language) for name, text in found.items()}
    return filled(entry.translated[language], values)


def _value(text: str, kind: str | None, language: Language) -> str:
    if kind == "n":
        return number(text, language)
    if kind in ("s", "word"):
        return _phrase(text, language)
    if kind == "name":
        return _phrase(text, language, is_alone=True)
    return _sentences(text, language) if kind == "said" else text
