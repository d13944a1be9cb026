"""Content items of a Structured Report (PS3.3 C.17.3): their names, values, units and children."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inference.outputs.units import WRITTEN


def evidence_of(report: Dataset) -> frozenset[str]:
    """SOP Instance UIDs of the instances that a report names as its evidence (PS3.3 C.17.2)."""
    return frozenset(
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    )


def unit_of(unit: Dataset) -> str:
    """How people write a unit: the UCUM value, without the braces of annotations, 1 left out."""
    value = str(unit.CodeValue)
    if value == "1":
        return ""
    plain = value.replace("{", "").replace("}", "").replace("mm2", WRITTEN["mm2"])
    return WRITTEN.get(plain, plain)


def points_mm(region: Dataset) -> NDArray[np.float64]:
    """(x_mm, y_mm) [K, 2] of a SCOORD3D."""
    return np.array(region.GraphicData, np.float64).reshape(-1, 3)[:, :2]


def items_of(parent: Dataset) -> Iterator[Dataset]:
    """Its children, none where there are none."""
    yield from parent.get("ContentSequence") or ()


def walk(parent: Dataset) -> Iterator[Dataset]:
    """All below it, depth first."""
    for item in items_of(parent):
        yield item
        yield from walk(item)


def label_of(item: Dataset) -> str:
    """What its name means; empty for a nameless one."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def value_of(item: Dataset) -> tuple[str, str]:
    """Value and scheme of what a coded item says."""
    return _code(item.get("ConceptCodeSequence"))


def name_of(item: Dataset) -> tuple[str, str]:
    """Value and scheme of its name."""
    return _code(item.get("ConceptNameCodeSequence"))


def _code(codes: Sequence[Dataset] | None) -> tuple[str, str]:
    if not codes:
        return "", ""
    value = codes[0].get("CodeValue") or codes[0].get("LongCodeValue") or ""
    return str(value), str(codes[0].get("CodingSchemeDesignator", ""))


def meaning_of(item: Dataset) -> str:
    """What a coded item says, in words."""
    return str(item.ConceptCodeSequence[0].CodeMeaning)


def text_of(items: list[Dataset], name: tuple[str, str]) -> str:
    """The first text under a name; empty where there is none."""
    return next((str(i.TextValue) for i in items if name_of(i) == name), "")
