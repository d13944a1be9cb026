"""What replaces a report that is withdrawn: a document of the same class that says so first."""

from __future__ import annotations

from copy import deepcopy

from highdicom.sr import CodedConcept, RelationshipTypeValues, TextContentItem
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.content import settle
from dicom_node.results.language.speaking import sentences as sentences_in
from dicom_node.results.modules import plain
from dicom_node.results.sr.derived import children, name_of, predecessors
from dicom_node.results.sr.report import observation_context
from dicom_node.results.withdrawal.signed import replaced, spoken_by
from dicom_node.results.withdrawal.told import Told, sentences

_OBSERVER = {"121005", "121012", "121013", "121014", "121015", "121016", "121017"}
"""Who observed (PS3.16 TID 1002, 1004): now it is who withdraws."""
_OF_HEADER = {"HAS CONCEPT MOD", "HAS OBS CONTEXT"}
_NOT_KEPT = {"ContentSequence", "ContentTemplateSequence", "CompletionFlagDescription"}


def withdrawal_of(report: Dataset, told: Told, kind: str) -> Dataset:
    """A report (PS3.3 A.35) in the place of `report`, one of any SR class that the node made.

    Patient, study, orders and evidence are its; of its content the language, the procedure and the
    subject stay. No template: that of the report asks for measurements.
    """
    new = replaced(report, _NOT_KEPT, told, kind)
    new.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DIAGNOSTIC_REPORT)]
    new.ContinuityOfContent = "SEPARATE"
    new.CompletionFlag = "COMPLETE"
    new.PredecessorDocumentsSequence = predecessors(report)
    context = observation_context(told.provenance(report), None)
    new.ContentSequence = [*_header(report), *context, *content(report, slide_in(report), told)]
    codes.declare_private_schemes(new, str(new.Manufacturer))
    return settle(new)


def content(withdrawn: Dataset, slide: str, told: Told) -> list[Dataset]:
    """The sentences, as items for the root of a document; `slide` is in its language already."""
    language = spoken_by(withdrawn, told)
    return [
        TextContentItem(
            name=CodedConcept.from_code(name),
            value=plain(text if name == codes.SAID_SLIDE else sentences_in(text, language)),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        for name, text in sentences(withdrawn, slide, told)
    ]


def slide_in(report: Dataset) -> str:
    """What a report says of which slide it is about; empty where it does not."""
    wanted = (codes.SAID_SLIDE.value, codes.SCHEME)
    found = (str(i.TextValue) for i in children(report) if name_of(i) == wanted)
    return next(found, "")


def _header(report: Dataset) -> list[Dataset]:
    """Items of the root that say of what and in which language it speaks."""
    return [
        deepcopy(item)
        for item in children(report)
        if item.get("RelationshipType") in _OF_HEADER and name_of(item)[0] not in _OBSERVER
    ]
