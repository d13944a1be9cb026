"""Words of a patient, planted wherever a file can hold one, and damage that makes libraries quote.

Every text begins with WORD and is another one, so that whatever is found says where it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import poison
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

WORD = "ZZPLANT"
_TEXTS = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "ReferringPhysicianName", "OperatorsName", "ResponsiblePerson", "PhysiciansOfRecord",
    "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "AdmissionID",
    "PatientAddress", "PatientTelephoneNumbers", "CountryOfResidence", "InstitutionName",
    "InstitutionAddress", "PatientComments", "AdditionalPatientHistory", "MedicalAlerts",
    "Occupation", "StudyDescription", "SeriesDescription", "ImageComments", "StationName",
    "DeviceSerialNumber", "RetrieveAETitle",
)  # fmt: skip
_NESTED: tuple[tuple[str, ...], ...] = (
    ("OtherPatientIDsSequence", "PatientID"),
    ("OtherPatientIDsSequence", "IssuerOfPatientIDQualifiersSequence", "UniversalEntityID"),
    ("RequestAttributesSequence", "RequestedProcedureDescription"),
    ("ReferencedPatientSequence", "PatientComments"),
    ("ScheduledStepAttributesSequence", "ScheduledStationAETitle"),
)
_PRIVATE = ((0x00090010, "LO"), (0x00091001, "LO"), (0x00091002, "UN"), (0x0009100A, "PN"))
_META = ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle")
_ILL = ("PatientBirthDate", "PatientBirthTime", "PatientAge", "PatientSex", "PatientWeight")
"""Attributes whose value representation allows no such text."""
HARMLESS = len(_TEXTS) + len(_NESTED) + len(_PRIVATE) + len(_META) + len(_ILL) + 1

DAMAGED: tuple[tuple[str, str], ...] = (
    ("TotalPixelMatrixRows", "LO"),
    ("TotalPixelMatrixColumns", "UT"),
    ("NumberOfFrames", "IS"),
    ("Rows", "LO"),
    ("SamplesPerPixel", "UN"),
    ("PhotometricInterpretation", "CS"),
    ("ImageType", "CS"),
    ("ImageOrientationSlide", "DS"),
    ("ImagedVolumeWidth", "LO"),
    ("StudyDate", "DA"),
    ("AcquisitionDateTime", "DT"),
    ("LossyImageCompressionRatio", "DS"),
    ("SharedFunctionalGroupsSequence", "UT"),
    ("DimensionOrganizationType", "CS"),
    ("StudyInstanceUID", "UI"),
    ("FrameOfReferenceUID", "UI"),
)
"""Attributes that get a planted text in place of their value, in this value representation."""


def plant(path: Path) -> None:
    """Plants a word in every harmless place of a file, which stays a slide."""
    ds = dcmread(path)
    ds.SpecificCharacterSet = "ISO_IR 192"
    number = 0

    def word() -> str:
        nonlocal number
        number += 1
        return f"{WORD}{number:02d}"

    for keyword in _TEXTS:
        setattr(ds, keyword, word())
    for places in _NESTED:
        _nest(ds, places, word())
    for tag, vr in _PRIVATE:
        text = word()
        ds[tag] = DataElement(Tag(tag), vr, text.encode() if vr == "UN" else text)
    for keyword in _META:
        setattr(ds.file_meta, keyword, word())
    for keyword in _ILL:
        ds.add(_raw(keyword, "LO", word()))
    ds.PatientReligiousPreference = "none"
    ds.save_as(path)
    # A public attribute of which the file says that its kind is unknown.
    poison.replace_element(path, "PatientReligiousPreference", "UN", word().encode())
    assert number == HARMLESS


def _nest(ds: Dataset, places: tuple[str, ...], text: str) -> None:
    for keyword in places[:-1]:
        if keyword not in ds:
            setattr(ds, keyword, [Dataset()])
        ds = getattr(ds, keyword)[0]
    setattr(ds, places[-1], text)


def _raw(keyword: str, vr: str, text: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return DataElement(Tag(tag), vr, text)


def damage(path: Path, keyword: str, vr: str) -> None:
    """Writes a planted text in the place of a value, in bytes that no library would write."""
    poison.replace_element(path, keyword, vr, f"{WORD}{keyword}".encode())


def unknown_character_set(path: Path) -> None:
    """One that no library knows, which they quote."""
    damage(path, "SpecificCharacterSet", "CS")


def unreadable_frames(path: Path) -> None:
    """Coded frames whose comments name a patient, and that end in the middle."""
    ds = dcmread(path)
    data, text = ds.PixelData, f"{WORD}COMMENT".encode()
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    size = len(comment)
    assert data.count(b"\xff\xd8\xff"), "JPEG"
    # In place of what follows the start of the image, so that no length changes.
    parts = data.split(b"\xff\xd8\xff")
    ds.PixelData = parts[0] + b"".join(
        b"\xff\xd8" + comment + b"\xff" + part[size:] for part in parts[1:]
    )
    ds.save_as(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "character set": unknown_character_set,
    "frames": unreadable_frames,
    **{k: (lambda path, k=k, vr=vr: damage(path, k, vr)) for k, vr in DAMAGED},  # type: ignore[misc]
}
"""What is done to the files of one study each; "nothing" is the sound one."""
assert all(dictionary_VR(keyword) for keyword in (*_TEXTS, *_ILL))
