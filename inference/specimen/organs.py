"""The organs that a slide or a model may name, and which of them are parts of others."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("organs.toml")


@dataclass(frozen=True, slots=True)
class Organ:
    """An organ and how it is named. Two of one name are the same."""

    name: str
    within: str | None = field(compare=False)
    """The organ that it is a part of and that may be named in its place."""
    sct: dict[str, str] = field(compare=False, repr=False)
    """SNOMED CT codes of it and of its parts, with their meanings."""
    icdo: tuple[str, ...] = field(compare=False, repr=False)
    """Beginnings of its ICD-O-3 topography codes, without the dot."""
    words: tuple[str, ...] = field(compare=False, repr=False)
    """As they are written; `vocabulary.folded` makes them comparable. One with ^ counts only
    where a text begins with it."""

    def __hash__(self) -> int:
        return hash(self.name)


@cache
def organs() -> dict[str, Organ]:
    """All organs by their names, read once."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        name: Organ(
            name=name,
            within=row.get("within"),
            sct=dict(line.split(" ", 1) for line in row["sct"].strip().splitlines()),
            icdo=tuple(row["icdo"]),
            words=tuple(" ".join(w.split()) for w in row["words"].split(";")),
        )
        for name, row in table.items()
    }


def narrowest(found: Collection[Organ]) -> Organ | None:
    """The one organ that all of `found` may mean: itself, or what lies within all others."""
    for organ in found:
        if all(other in (organ, organs().get(organ.within or "")) for other in found):
            return organ
    return None


def is_covered(organ: Organ, wanted: Collection[Organ]) -> bool:
    """Whether whoever takes the organs `wanted` takes this one.

    It is one of them or a part of one, or all of its own parts are among them.
    """
    names = {one.name for one in wanted}
    if organ.name in names or organ.within in names:
        return True
    parts = {one.name for one in organs().values() if one.within == organ.name}
    return len(parts) > 1 and parts <= names
