"""What a report says, read from the Structured Report itself (PS3.16 TID 1500, TID 1410).

Nothing here knows how the node made the report: what is shown is what a receiver can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.view.items import (
    items_of,
    label_of,
    meaning_of,
    name_of,
    points_mm,
    text_of,
    unit_of,
    value_of,
    walk,
)
from inference.outputs.units import for_people

_MEASUREMENTS = ("126010", "DCM")
_IMAGE_LIBRARY = ("111028", "DCM")
_GROUP = ("125007", "DCM")
_TRACKING_IDENTIFIER = ("112039", "DCM")
_FINDING = ("121071", "DCM")
_COMMENT = ("121106", "DCM")
_PERCENTILE = ("121415", "DCM")
_RESEARCH = ("113009", "DCM")
_CLASSES_COUNTED = ("CLASSES-COUNTED", "99DICOMNODE")
_ANALYZED = {("TISSUE-ANALYZED", "99DICOMNODE"), ("TILES-ANALYZED", "99DICOMNODE")}
_CLASS_PROBABILITY = ("CLASS-PROB", "99DICOMNODE")
_ALGORITHM = {
    ("111001", "DCM"): "Algorithm",
    ("111003", "DCM"): "Version",
    ("111002", "DCM"): "Parameter",
    ("122405", "DCM"): "Manufacturer",
}
_HOW_MADE = {_FINDING, ("111000", "DCM"), ("121058", "DCM")}
"""Codes that say how a group came about (TID 4019, TID 1419) and state nothing."""
_CONTEXT = {"HAS OBS CONTEXT", "HAS CONCEPT MOD", "HAS ACQ CONTEXT"}
"""Relationships of what a statement is about, which is no statement."""

Named = tuple[str, str]
"""A name and what is said under it."""
_FEW = 3
"""So many statements of one meaning are told one by one."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its name and unit, as written in the report."""

    name: str
    value: str
    unit: str
    code: tuple[str, str] = ("", "")
    """Value and scheme of the name."""
    details: tuple[Named, ...] = ()
    """What the report says below the number, such as the ends of its interval."""
    counted: str = ""
    """Of what is counted over classes of tissue: which; empty for other numbers."""
    is_of_class: bool = False
    """Whether it is the probability of a class, under whose code it stands."""

    @property
    def is_of_the_analysis(self) -> bool:
        """Whether it says what was looked at and none of what the model makes of it. By its code:
        a score may be called "level of gene expression"."""
        return self.code in _ANALYZED

    @property
    def is_percentile(self) -> bool:
        """Whether it is a rank among others, which is no probability."""
        return self.code == _PERCENTILE

    @property
    def is_probability(self) -> bool:
        """Whether its name says that it is one: a rank or a share looks alike and is none."""
        is_named = "probability" in self.name.casefold() and not self.is_percentile
        return is_named or self.is_of_class


@dataclass(frozen=True, slots=True)
class Group:
    """One measurement group: what was measured where, and what the report adds in words."""

    title: str
    finding: str
    measurements: tuple[Measurement, ...]
    evaluations: tuple[Named, ...]
    """Name and meaning of each coded statement."""
    comments: tuple[str, ...]
    algorithm: tuple[Named, ...]
    region_mm: NDArray[np.float64]
    """Outline [K, 2] (x_mm, y_mm) on the slide; [0, 2] where the report gives no place on it."""
    is_patch: bool
    """Whether the region is a filled polygon, which is how single patches are drawn."""
    remarks: tuple[Named, ...] = ()
    """Texts under other names than Comment."""

    @property
    def result(self) -> tuple[Named, ...]:
        """What is stated of the very thing that the group is about, such as the diagnosis."""
        return tuple(e for e in self.evaluations if e[0] == self.finding)

    @property
    def statements(self) -> tuple[Named, ...]:
        """What is stated beside."""
        return tuple(e for e in self.evaluations if e[0] != self.finding)


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report states: its groups, and what it says of itself as a whole."""

    groups: tuple[Group, ...]
    remarks: tuple[Named, ...]
    """Texts and codes outside of the groups, in their order."""
    measurements: tuple[Measurement, ...]
    """Numbers outside of the groups."""
    is_research: bool
    """Whether it says anywhere that it is for research."""

    @property
    def patches(self) -> tuple[Group, ...]:
        """The groups of single patches."""
        return tuple(group for group in self.groups if group.is_patch)

    @property
    def statements(self) -> tuple[Group, ...]:
        """The groups of the slide as a whole."""
        return tuple(group for group in self.groups if not group.is_patch)

    @property
    def algorithm(self) -> tuple[Named, ...]:
        """What the first group that names its algorithm says of it."""
        return next((group.algorithm for group in self.groups if group.algorithm), ())

    @property
    def is_refusal(self) -> bool:
        """Whether it gives no number at all."""
        return not self.measurements and not any(g.measurements for g in self.groups)


def read_report(sr: Dataset) -> Report:
    """All that a report states; raises ValueError like `read_groups`."""
    loose = list(_loose(sr))
    return Report(
        groups=read_groups(sr),
        remarks=tuple(_remarks(loose)),
        measurements=tuple(_measurement(i) for i in loose if i.ValueType == "NUM"),
        is_research=any(value_of(item) == _RESEARCH for item in walk(sr)),
    )


def read_groups(sr: Dataset) -> tuple[Group, ...]:
    """The measurement groups of a report, in its order.

    Raises ValueError where there is none: not a measurement report.
    """
    groups = tuple(
        _group(item)
        for part in items_of(sr)
        if name_of(part) == _MEASUREMENTS
        for item in items_of(part)
        if name_of(item) == _GROUP
    )
    if not groups:
        raise ValueError(
            f"SOP instance {sr.get('SOPInstanceUID')}: no measurement group found; "
            "expected a report after PS3.16 TID 1500"
        )
    return groups


def _group(container: Dataset) -> Group:
    items = list(items_of(container))
    region = next((i for i in items if i.ValueType == "SCOORD3D"), None)
    return Group(
        title=text_of(items, _TRACKING_IDENTIFIER),
        finding=next((meaning_of(i) for i in items if name_of(i) == _FINDING), ""),
        measurements=tuple(_measurement(i) for i in items if i.ValueType == "NUM"),
        evaluations=tuple(_evaluations(items)),
        comments=tuple(for_people(str(i.TextValue)) for i in items if name_of(i) == _COMMENT),
        algorithm=tuple(
            (_ALGORITHM[name_of(i)], for_people(str(i.TextValue)))
            for i in items
            if name_of(i) in _ALGORITHM
        ),
        region_mm=np.empty((0, 2)) if region is None else points_mm(region),
        is_patch=region is not None and region.GraphicType == "POLYGON",
        remarks=tuple(
            (name, text)
            for name, text in _remarks([i for i in items if i.ValueType == "TEXT"])
            if name
        ),
    )


def _loose(parent: Dataset) -> Iterator[Dataset]:
    """Items outside of the measurement groups and the image library."""
    for item in items_of(parent):
        if item.get("RelationshipType") in _CONTEXT or name_of(item) == _IMAGE_LIBRARY:
            continue
        if item.ValueType != "CONTAINER":
            yield item
        elif name_of(item) != _GROUP:
            yield from _loose(item)


def _remarks(items: Iterable[Dataset]) -> Iterator[Named]:
    """Texts and codes that are neither comments nor of how the group came about."""
    for item in items:
        if item.get("RelationshipType") in _CONTEXT or name_of(item) in {_COMMENT, *_HOW_MADE}:
            continue
        if item.ValueType in ("TEXT", "CODE"):
            yield label_of(item), _said(item)


def _evaluations(items: list[Dataset]) -> Iterator[Named]:
    """Coded statements."""
    for item in items:
        if item.ValueType == "CODE" and name_of(item) not in _HOW_MADE:
            yield label_of(item), meaning_of(item)


def gathered(statements: Iterable[Named]) -> list[Named]:
    """Coded statements for people: where one thing is said of many, such as that each of them was
    not assessed, it stands once, with the first name and how many more."""
    names: dict[str, list[str]] = {}
    for name, meaning in statements:
        names.setdefault(meaning, []).append(name)
    found: list[Named] = []
    for meaning, of in names.items():
        if len(of) > _FEW:
            found.append((f"{of[0]}, and {len(of) - 1} more", meaning))
        else:
            found += [(name, meaning) for name in of]
    return found


def _measurement(item: Dataset) -> Measurement:
    name, code = label_of(item), name_of(item)
    values = item.get("MeasuredValueSequence")
    if not values:
        return Measurement(name, "no value", "", code)
    unit = values[0].MeasurementUnitsCodeSequence[0]
    below = [i for i in items_of(item) if i.ValueType in ("NUM", "TEXT", "CODE")]
    is_of_class = any(value_of(i) == _CLASS_PROBABILITY for i in below)
    details = tuple((label_of(i), _said(i)) for i in below if value_of(i) != _CLASS_PROBABILITY)
    counted = text_of(below, _CLASSES_COUNTED)
    told = str(values[0].NumericValue)
    return Measurement(name, told, unit_of(unit), code, details, counted, is_of_class)


def _said(item: Dataset) -> str:
    """What a text, a code or a number says."""
    if item.ValueType == "TEXT":
        return for_people(str(item.TextValue))
    if item.ValueType == "CODE":
        return meaning_of(item)
    number = _measurement(item)
    return f"{number.value} {number.unit}".strip()
