"""What a report is about: the specimens of a slide (PS3.16 TID 1006, 1009)."""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    RelationshipTypeValues,
    SubjectContext,
    SubjectContextSpecimen,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.carried.specimens import identifier_of, specimens_of

_LIBRARY_GROUP = "126200"


def subject_of(source: Dataset) -> SubjectContext | None:
    """The slide's first specimen, with its container; None where it names neither.

    A report has one subject (TID 1001): `name_specimens` says which others are on the slide.
    `source` is the slide's header, `in_unicode`.
    """
    specimen = next(iter(specimens_of(source)), None)
    if specimen is None:
        return None
    return SubjectContext(
        subject_class=codes.SPECIMEN,
        subject_class_specific_context=SubjectContextSpecimen(
            uid=specimen.SpecimenUID,
            identifier=identifier_of(specimen),
            container_identifier=source.get("ContainerIdentifier") or None,
            specimen_type=_type(specimen),
        ),
    )


def name_specimens(content: ContentSequence, source: Dataset) -> None:
    """Names all specimens of a slide that has several, where its images are listed: each by its
    identifier, then by its UID."""
    specimens = specimens_of(source)
    if len(specimens) < 2:
        return
    for group in _library_groups(content):
        for specimen in specimens:
            group.ContentSequence.extend(_named(specimen))


def _library_groups(items: ContentSequence) -> list[ContainerContentItem]:
    found = []
    for item in items:
        if item.ConceptNameCodeSequence[0].CodeValue == _LIBRARY_GROUP:
            found.append(item)
        found += _library_groups(item.get("ContentSequence") or ())
    return found


def _named(specimen: Dataset) -> Iterator[ContentItem]:
    context = RelationshipTypeValues.HAS_ACQ_CONTEXT
    identifier = CodedConcept.from_code(codes.SPECIMEN_IDENTIFIER)
    yield TextContentItem(identifier, identifier_of(specimen), relationship_type=context)
    uid = CodedConcept.from_code(codes.SPECIMEN_UID)
    yield UIDRefContentItem(uid, specimen.SpecimenUID, relationship_type=context)


def _type(specimen: Dataset) -> CodedConcept | None:
    kinds = [CodedConcept.from_dataset(k) for k in specimen.get("SpecimenTypeCodeSequence") or ()]
    # "Slide" names the container, which is named anyway, and older validators refuse it.
    return next((k for k in kinds if k != codes.SLIDE), None)
