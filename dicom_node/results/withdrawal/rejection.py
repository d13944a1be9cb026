"""A rejection note: a Key Object Selection (PS3.3 A.35.4, IHE IOCM) of what must not be used."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.content import settle
from dicom_node.results.ko.selection import without_names
from dicom_node.results.language.speaking import sentences
from dicom_node.results.withdrawal.signed import described, names_of, number_of_series, sign
from dicom_node.results.withdrawal.told import TITLES, Told
from dicom_node.sop_classes import (
    BASIC_TEXT_SR,
    COMPREHENSIVE_3D_SR,
    ENCAPSULATED_PDF,
    ENHANCED_SR,
    KEY_OBJECT_SELECTION,
    SIMPLE_ANNOTATIONS,
)
from inference.slide.characters.header import UTF_8

_NO_IMAGES = {
    c.uid
    for c in (
        COMPREHENSIVE_3D_SR,
        ENHANCED_SR,
        BASIC_TEXT_SR,
        ENCAPSULATED_PDF,
        KEY_OBJECT_SELECTION,
        SIMPLE_ANNOTATIONS,
    )
}
_BLANK = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One object that must not be used."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


def rejection_of(rejected: Sequence[Rejected], one: Dataset, told: Told, kind: str) -> Dataset:
    """The note of objects of one study; patient, study and orders are those of `one` of them.

    Raises ValueError for no objects.
    """
    names = names_of(one, told, kind)
    device = told.provenance(one).device
    evidence = [_reference(r, one) for r in rejected]
    selection = KeyObjectSelection(
        document_title=CodedConcept.from_code(TITLES[told.cause]),
        referenced_objects=evidence,
        observer_device_context=ObserverContext(
            observer_type=codes.DEVICE,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=device.uid,
                name=device.name,
                manufacturer_name=device.manufacturer,
                model_name=device.model,
                serial_number=device.serial,
            ),
        ),
        description=sentences(
            f"These objects must not be used, because {told.why}.", told.language
        ),
    )
    note: Dataset = KeyObjectSelectionDocument(
        evidence=evidence,
        content=selection,
        series_instance_uid=names.uid("series"),
        series_number=number_of_series(Dataset()),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=device.manufacturer,
        series_description=described("REJECTED", one, told.language),
        specific_character_set=UTF_8,
    )
    note.ContinuityOfContent = "SEPARATE"
    without_names(note)
    note.copy_patient_and_study_information(one)
    for keyword in ("ReferencedRequestSequence", "AccessionNumber"):
        if keyword in one:
            note.add(deepcopy(one[keyword]))
    return settle(sign(note, one, told))


def _reference(rejected: Rejected, one: Dataset) -> Dataset:
    """What highdicom needs of an instance."""
    seen = Dataset()
    for keyword in _BLANK:
        setattr(seen, keyword, None)
    seen.StudyInstanceUID = one.StudyInstanceUID
    seen.SeriesInstanceUID = rejected.series_instance_uid
    seen.SOPClassUID = rejected.sop_class_uid
    seen.SOPInstanceUID = rejected.sop_instance_uid
    if rejected.sop_class_uid not in _NO_IMAGES:  # by this it tells an image
        seen.Rows = seen.Columns = 1
    return seen
