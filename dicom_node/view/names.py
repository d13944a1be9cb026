"""A person's name in its parts, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.valuerep import PersonName

_ALPHABETIC, *_OTHERS = ("", " (ideographic)", " (phonetic)")
"""What follows the label of each component group (PS3.5 6.2.1.1)."""


def name_parts(
    label: str, name: PersonName | Sequence[PersonName] | str | None
) -> Iterator[tuple[str, str]]:
    """(label, text) of each component group that is not empty, family name first.

    The alphabetic one has a comma behind the family name, and a prefix before the given names;
    the others are written as their readers write them, without.
    """
    if not name:
        return
    names = [name] if isinstance(name, (PersonName, str)) else name
    for one in names:
        for ending, group in zip((_ALPHABETIC, *_OTHERS), str(one).split("="), strict=False):
            parts = [part.strip() for part in group.split("^")]
            shown = _with_commas(parts) if ending == _ALPHABETIC else " ".join(filter(None, parts))
            if shown:
                yield f"{label}{ending}", shown


def whole_name(name: PersonName | Sequence[PersonName] | str | None) -> str:
    """The component groups in one line: Hong, Gildong · 洪 吉洞 · 홍 길동."""
    return " · ".join(text for _, text in name_parts("", name))


def _with_commas(parts: Sequence[str]) -> str:
    """Family, prefix given middle, suffix."""
    family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
    rest = " ".join(filter(None, (prefix, given, middle)))
    return ", ".join(filter(None, (family, rest, suffix, *parts[5:])))
