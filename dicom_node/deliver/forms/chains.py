"""Which kind stands for which, in the order of preference. Pure, over the table of kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node.results import kinds
from dicom_node.results.kinds import Kind

Accepted = Mapping[str, Sequence[str]]
"""Transfer syntaxes that a destination accepts, by SOP class, as UIDs."""


def chain(name: str) -> list[Kind]:
    """A kind and all that can stand for it, or for one of those, in the order of preference."""
    found = [kind for kind in kinds.KINDS if kind.name == name]
    for one in found:  # grows meanwhile
        found += [k for k in kinds.KINDS if k.instead_of == one.name and k not in found]
    return found


def next_forms(name: str, accepted: Accepted | None) -> list[str]:
    """Names of the kinds that come after one in a chain, and that may be accepted."""
    for first in (kind for kind in kinds.KINDS if not kind.instead_of):
        names = [kind.name for kind in chain(first.name)]
        if name in names:
            later = chain(first.name)[names.index(name) + 1 :]
            return [k.name for k in later if accepted is None or _may_take(k, accepted)]
    return []


def forms_after(own_kind: str, accepted: Accepted | None) -> list[str]:
    """The same for an object by its own `kind`; after the grid of a level comes that of the
    tiles."""
    kind = kinds.kind_of(own_kind)
    if kind != kinds.LEVEL:
        return [] if kind is None else next_forms(kind.name, accepted)
    usual = kinds.kind_of(own_kind.removeprefix(f"{kinds.LEVEL.name}-"))
    return [] if usual is None else [usual.name]


def _may_take(kind: Kind, accepted: Accepted) -> bool:
    return kind.sop_class.uid not in accepted or bool(accepted[kind.sop_class.uid])


def is_report(name: str) -> bool:
    """Whether an object, by its own `kind`, is a report or stands for one."""
    kind = kinds.kind_of(name)
    return kind is not None and kind in chain(kinds.REPORT.name)
