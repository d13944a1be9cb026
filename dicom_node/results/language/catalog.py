"""The catalog: what results say to people, in English and in each other language, side by side.

A sentence is said once, in English, where it arises: in the results, and in the analysis, whose
words are stored and go to logs. The catalog has its template in each language. In a template
`{name}` stands for text that stays as it is and is part of one sentence, `{name:n}` for a number or
several (`3`, `0.5`, `50%`, `2 x 3`), `{name:s}` for a phrase that the catalog has, too, or several
in a list, `{name:word}` for one without a colon, `{name:said}` for whole sentences that it may
have, and `{name:all}` for words of others to the end.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("catalog")
_HOLE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_SENTENCE_ENDS = r"(?:(?![.!?] ).)+?"
_NUMBER = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?"
_KINDS = {
    None: _SENTENCE_ENDS,
    "s": _SENTENCE_ENDS,
    "n": rf"(?:{_NUMBER}(?: x {_NUMBER})*%?|-?inf|nan)",
    "word": r"[^:.]+?",
    "name": _SENTENCE_ENDS,
    "said": r".+?",
    "all": r".+",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is said."""

    en: str
    translated: dict[str, str]
    """By language."""
    pattern: re.Pattern[str]
    """What it matches in English, each hole a group."""
    kinds: dict[str, str | None]
    """Of each hole, by its name."""

    ends: tuple[str, str]
    """What stands before the first hole and behind the last one."""

    def match(self, text: str) -> dict[str, str] | None:
        """What is in each hole of a text that it says; None for another text."""
        if not (text.startswith(self.ends[0]) and text.endswith(self.ends[1])):
            return None  # as the pattern would say, in a fraction of the time
        found = self.pattern.fullmatch(text)
        return None if found is None else found.groupdict()

    @property
    def literal(self) -> int:
        """Letters of its own: of two that fit, the one with more is meant."""
        return len(_HOLE.sub("", self.en))

    @property
    def is_open(self) -> bool:
        """Whether it goes on to the end of a text, whatever follows."""
        last = _HOLE.search(self.en[self.en.rfind("{") :]) if self.en.endswith("}") else None
        return last is not None and last[2] in ("said", "all")


@cache
def entries() -> tuple[Entry, ...]:
    """All of them, the most specific first. Raises ValueError for one that is not well formed."""
    found = [_entry(table) for path in sorted(_FOLDER.glob("*.toml")) for table in _tables(path)]
    return tuple(sorted(found, key=lambda entry: -entry.literal))


def holes(template: str) -> dict[str, str | None]:
    """The holes of a template and their kinds."""
    return {name: kind or None for name, kind in _HOLE.findall(template)}


def filled(template: str, values: dict[str, str]) -> str:
    """A template with a text in the place of each hole."""
    return _HOLE.sub(lambda hole: values[hole[1]], template)


def _tables(path: Path) -> list[dict[str, str]]:
    said: list[dict[str, str]] = tomllib.loads(path.read_text(encoding="utf-8"))["said"]
    return said


def _entry(table: dict[str, str]) -> Entry:
    en = table["en"]
    kinds = holes(en)
    if unknown := set(kinds.values()) - set(_KINDS):
        raise ValueError(f"catalog, {en!r}: found a hole of kind {unknown}, expected {set(_KINDS)}")
    translated = {language: text for language, text in table.items() if language != "en"}
    for language, text in translated.items():
        if set(holes(text)) != set(kinds):
            raise ValueError(f"catalog, {en!r}: {language} has other holes than English")
    parts = re.split(r"\{[^}]*\}", en)
    return Entry(en, translated, re.compile(_matching(en)), kinds, (parts[0], parts[-1]))


def _matching(template: str) -> str:
    parts, at, seen = [], 0, set()
    for hole in _HOLE.finditer(template):
        parts.append(re.escape(template[at : hole.start()]))
        again = hole[1] in seen
        parts.append(f"(?P={hole[1]})" if again else f"(?P<{hole[1]}>{_KINDS[hole[2] or None]})")
        seen.add(hole[1])
        at = hole.end()
    return "".join([*parts, re.escape(template[at:])])
