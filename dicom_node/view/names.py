"""A person's name in its parts, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.valuerep import PersonName

_GROUPS = ("", " (ideographic)", " (phonetic)")
"""What follows the label of each component group (PS3.5 6.2.1.1)."""


def name_parts(
    label: str, name: PersonName | Sequence[PersonName] | str | None
) -> Iterator[tuple[str, str]]:
    """(label, text) of each component group that is not empty, family name first."""
    if not name:
        return
    names = [name] if isinstance(name, (PersonName, str)) else name
    for one in names:
        for ending, group in zip(_GROUPS, str(one).split("="), strict=False):
            shown = " ".join(part.strip() for part in group.split("^") if part.strip())
            if shown:
                yield f"{label}{ending}", shown
