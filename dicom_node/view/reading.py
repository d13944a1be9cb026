"""What a report says, read from the Structured Report itself (PS3.16 TID 1500, TID 1410).

Nothing here knows how the node made the report: what is shown is what a receiver can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

_MEASUREMENTS = ("126010", "DCM")
_GROUP = ("125007", "DCM")
_TRACKING_IDENTIFIER = ("112039", "DCM")
_FINDING = ("121071", "DCM")
_COMMENT = ("121106", "DCM")
_ALGORITHM = {
    ("111001", "DCM"): "Algorithm",
    ("111003", "DCM"): "Version",
    ("111002", "DCM"): "Parameter",
    ("122405", "DCM"): "Manufacturer",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its name and unit, as written in the report."""

    name: str
    value: str
    unit: str


@dataclass(frozen=True, slots=True)
class Group:
    """One measurement group: what was measured where, and what the report adds in words."""

    title: str
    finding: str
    measurements: tuple[Measurement, ...]
    evaluations: tuple[tuple[str, str], ...]
    """Name and meaning of each coded statement."""
    comments: tuple[str, ...]
    algorithm: tuple[tuple[str, str], ...]
    region_mm: NDArray[np.float64]
    """Outline [K, 2] (x_mm, y_mm) on the slide; [0, 2] where the report gives no place on it."""
    is_patch: bool
    """Whether the region is a filled polygon, which is how single patches are drawn."""


def read_groups(sr: Dataset) -> tuple[Group, ...]:
    """The measurement groups of a report, in its order.

    Raises ValueError where there is none: not a measurement report.
    """
    groups = tuple(
        _group(item)
        for part in _items(sr)
        if _name(part) == _MEASUREMENTS
        for item in _items(part)
        if _name(item) == _GROUP
    )
    if not groups:
        raise ValueError(
            f"SOP instance {sr.get('SOPInstanceUID')}: no measurement group found; "
            "expected a report after PS3.16 TID 1500"
        )
    return groups


def _group(container: Dataset) -> Group:
    items = list(_items(container))
    region = next((i for i in items if i.ValueType == "SCOORD3D"), None)
    return Group(
        title=_text(items, _TRACKING_IDENTIFIER),
        finding=next((_meaning(i) for i in items if _name(i) == _FINDING), ""),
        measurements=tuple(_measurement(i) for i in items if i.ValueType == "NUM"),
        evaluations=tuple(_evaluations(items)),
        comments=tuple(str(i.TextValue) for i in items if _name(i) == _COMMENT),
        algorithm=tuple(
            (_ALGORITHM[_name(i)], str(i.TextValue)) for i in items if _name(i) in _ALGORITHM
        ),
        region_mm=np.empty((0, 2)) if region is None else _points(region),
        is_patch=region is not None and region.GraphicType == "POLYGON",
    )


def _evaluations(items: list[Dataset]) -> Iterator[tuple[str, str]]:
    """Coded statements; codes that say how the group came about are none (TID 4019, TID 1419)."""
    about = {_FINDING, ("111000", "DCM"), ("121058", "DCM")}
    for item in items:
        if item.ValueType == "CODE" and _name(item) not in about:
            yield str(item.ConceptNameCodeSequence[0].CodeMeaning), _meaning(item)


def _measurement(item: Dataset) -> Measurement:
    name = str(item.ConceptNameCodeSequence[0].CodeMeaning)
    values = item.get("MeasuredValueSequence")
    if not values:
        return Measurement(name, "no value", "")
    unit = values[0].MeasurementUnitsCodeSequence[0]
    return Measurement(name, str(values[0].NumericValue), _unit(unit))


def _unit(unit: Dataset) -> str:
    """How people write a unit: the UCUM value, without the braces of annotations, 1 left out."""
    value = str(unit.CodeValue)
    return "" if value == "1" else value.replace("{", "").replace("}", "").replace("mm2", "mm²")


def _points(region: Dataset) -> NDArray[np.float64]:
    return np.array(region.GraphicData, np.float64).reshape(-1, 3)[:, :2]


def _items(parent: Dataset) -> Iterator[Dataset]:
    yield from parent.get("ContentSequence") or ()


def _name(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return "", ""
    code = names[0].get("CodeValue") or names[0].get("LongCodeValue") or ""
    return str(code), str(names[0].get("CodingSchemeDesignator", ""))


def _meaning(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeMeaning)


def _text(items: list[Dataset], name: tuple[str, str]) -> str:
    return next((str(i.TextValue) for i in items if _name(i) == name), "")
