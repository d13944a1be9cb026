"""The standard's tables of modules (PS3.3), as highdicom carries them: what has to be there.

Conditions (types 1C and 2C) are not in the tables: what an object lacks of those is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from highdicom import _standard_utils as standard
from pydicom import Dataset

_ONE, _TWO = standard.AttributeTypeValues("1"), standard.AttributeTypeValues("2")
# Their tables list every macro that an item may have, without saying when: `tree` and `slide`.
_UNSPECIFIC = ("sr-document-content", "key-object-document-content", "functional-groups")


def missing(ds: Dataset, source: Dataset) -> Iterator[str]:
    """What the mandatory modules of an object lack: type 1 absent or empty, type 2 absent.

    Sequences that are the slide's own are not looked into.
    """
    for key in _mandatory(str(ds.SOPClassUID)):
        yield from _lacks(ds, _tree(key), source, "")


@cache
def _mandatory(sop_class: str) -> tuple[str, ...]:
    iod = standard.get_sop_class_iod_map()[sop_class]
    modules = standard.get_iod_module_map()[iod]
    return tuple(
        m["key"] for m in modules if m["usage"] == "M" and not m["key"].endswith(_UNSPECIFIC)
    )


@cache
def _tree(module: str) -> dict[str, Any]:
    tree: dict[str, Any] = standard.construct_module_tree(module)["attributes"]
    return tree


def _lacks(item: Dataset, tree: dict[str, Any], source: Dataset, where: str) -> Iterator[str]:
    for keyword, known in tree.items():
        name = f"{where}{keyword}"
        if keyword not in item:
            if known["type"] in (_ONE, _TWO):
                yield f"{name} is missing (type {known['type'].value})"
            continue
        value = item[keyword].value
        if known["type"] is _ONE and (value is None or (_has_length(value) and not len(value))):
            yield f"{name} is empty (type 1)"
        elif "attributes" in known and not (not where and _is_copied(keyword, value, source)):
            for part in value or ():
                yield from _lacks(part, known["attributes"], source, f"{name}.")


def _has_length(value: object) -> bool:
    return hasattr(value, "__len__")


def _is_copied(keyword: str, value: object, source: Dataset) -> bool:
    return bool(keyword in source and source[keyword].value == value)
