"""Rules of the content tree of reports: PS3.3 C.17.3, TID 1500, IHE AIR, and what viewers need."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pydicom import Dataset

from dicom_node.sop_classes import COMPREHENSIVE_3D_SR

_PLAIN = {"CONTAINER", "TEXT", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE",
          "IMAGE", "WAVEFORM"}  # fmt: skip
_IN_TWO = _PLAIN | {"NUM", "SCOORD", "TCOORD"}
_ALLOWED = {
    "1.2.840.10008.5.1.4.1.1.88.11": _PLAIN,  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.88.22": _IN_TWO,  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33": _IN_TWO,  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.34": _IN_TWO | {"SCOORD3D"},
    "1.2.840.10008.5.1.4.1.1.88.59": _PLAIN - {"DATETIME", "DATE", "TIME"},  # Key Objects
}
"""Value Types by SOP class (PS3.3 A.35)."""
_HOLDS = {
    "TEXT": "TextValue", "CODE": "ConceptCodeSequence", "UIDREF": "UID", "PNAME": "PersonName",
    "DATETIME": "DateTime", "DATE": "Date", "TIME": "Time", "COMPOSITE": "ReferencedSOPSequence",
    "IMAGE": "ReferencedSOPSequence", "SCOORD": "GraphicData", "SCOORD3D": "GraphicData",
}  # fmt: skip
_NAMED = {"TEXT", "CODE", "NUM", "UIDREF", "PNAME", "DATETIME", "DATE", "TIME"}
_GROUP, _TRACKING_ID, _TRACKING_UID = "125007", "112039", "112040"
_OBSERVER_UID, _ALGORITHM, _VERSION = "121012", "111001", "111003"
_SUBJECT_CLASS, _SPECIMEN = "121024", "121027"
_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")


def faults(ds: Dataset) -> Iterator[str]:
    """What is wrong with the tree of a report or of a selection of key objects."""
    items = list(_walk([ds]))
    allowed = _ALLOWED.get(str(ds.SOPClassUID))
    for item in items:
        yield from _of_item(item, allowed, is_root=item is ds)
    if ds.get("VerificationFlag", "UNVERIFIED") != "UNVERIFIED":
        yield "VerificationFlag: nobody has verified it"
    named = {uid for item in items for uid in _referenced(item)}
    if strange := named - set(_evidence(ds)):
        yield f"{len(strange)} objects of the tree are not listed as evidence"
    if _template(ds) == "1500":
        yield from _of_measurements(ds, items)


def _of_item(item: Dataset, allowed: set[str] | None, *, is_root: bool) -> Iterator[str]:
    kind = item.get("ValueType")
    if allowed is not None and kind not in allowed:
        yield f"ValueType {kind} is not allowed in this class"
    if not is_root and not item.get("RelationshipType"):
        yield f"a content item {kind} has no RelationshipType"
    if kind == "CONTAINER" and item.get("ContinuityOfContent") != "SEPARATE":
        yield "a container is not SEPARATE: readers print its items as prose, without labels"
    if (is_root or kind in _NAMED) and not item.get("ConceptNameCodeSequence"):
        yield f"a content item {kind} has no name"
    if (keyword := _HOLDS.get(str(kind))) and not item.get(keyword):
        yield f"a content item {kind} has no {keyword}"
    yield from _of_numbers(item, str(kind))
    if kind == "SCOORD3D" and not item.get("ReferencedFrameOfReferenceUID"):
        yield "a content item SCOORD3D has no ReferencedFrameOfReferenceUID"
    if _name(item) == _TRACKING_ID and "(" in str(item.get("TextValue")):
        yield "a Tracking Identifier has a parenthesis: a viewer parses what stands in it as JSON"


def _of_numbers(item: Dataset, kind: str) -> Iterator[str]:
    numbers = [float(n) for n in item.get("GraphicData") or ()]
    if kind == "NUM" and "MeasuredValueSequence" not in item:
        yield "a content item NUM has no MeasuredValueSequence"
    for value in item.get("MeasuredValueSequence") or ():
        numbers.append(float(value.NumericValue))
        if not value.get("MeasurementUnitsCodeSequence"):
            yield "a number has no unit"
    if not all(map(math.isfinite, numbers)):
        yield f"a content item {kind} holds a number that is not finite"


def _of_measurements(ds: Dataset, items: list[Dataset]) -> Iterator[str]:
    """Measurement groups (PS3.16 TID 1500), and who measured."""
    groups = [item for item in items if _name(item) == _GROUP]
    placed = 0
    for group in groups:
        children = list(group.get("ContentSequence") or ())
        names = {_name(child) for child in children}
        if not {_TRACKING_ID, _TRACKING_UID} <= names:
            yield "a measurement group has no Tracking Identifier or no Tracking UID"
        placed += any(child.get("ValueType") == "SCOORD3D" for child in children)
    # Else it is of a case, whose own groups have no place on any slide.
    is_of_slide = any(map(_says_specimen, ds.get("ContentSequence") or ()))
    if is_of_slide and ds.SOPClassUID == COMPREHENSIVE_3D_SR.uid and 0 < placed < len(groups):
        yield (
            f"{len(groups) - placed} of {len(groups)} measurement groups have no SCOORD3D: viewers "
            "then show none of them"
        )
    names = {_name(item) for item in items}
    if _OBSERVER_UID not in names:
        yield "no Device Observer UID says who measured"
    has_numbers = any(item.get("ValueType") == "NUM" for item in items)
    if has_numbers and not {_ALGORITHM, _VERSION} <= names:
        yield "numbers without the name and the version of the algorithm"


def _says_specimen(item: Dataset) -> bool:
    """Whether an item says that the subject is a specimen, not the patient (PS3.16 TID 1006)."""
    values = item.get("ConceptCodeSequence")
    is_subject = _name(item) == _SUBJECT_CLASS
    return is_subject and bool(values) and values[0].get("CodeValue") == _SPECIMEN


def _walk(items: Iterable[Dataset]) -> Iterator[Dataset]:
    for item in items:
        yield item
        yield from _walk(item.get("ContentSequence") or ())


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _template(ds: Dataset) -> str:
    templates = ds.get("ContentTemplateSequence")
    return str(templates[0].get("TemplateIdentifier", "")) if templates else ""


def _referenced(item: Dataset) -> Iterator[str]:
    for reference in item.get("ReferencedSOPSequence") or ():
        yield str(reference.ReferencedSOPInstanceUID)


def _evidence(ds: Dataset) -> Iterator[str]:
    for keyword in _EVIDENCE:
        for study in ds.get(keyword) or ():
            for series in study.get("ReferencedSeriesSequence") or ():
                yield from _referenced(series)
