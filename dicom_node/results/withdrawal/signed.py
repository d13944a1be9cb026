"""What every object of a withdrawal shares: who made it and when, beside what it takes back."""

from __future__ import annotations

from copy import deepcopy

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.uid import UID

from dicom_node import implementation
from dicom_node.config.languages import Language
from dicom_node.results import codes
from dicom_node.results.carried.dates import set_dates
from dicom_node.results.identity import ResultNames
from dicom_node.results.language.speaking import phrase
from dicom_node.results.language.tree import language_of
from dicom_node.results.modules import plain
from dicom_node.results.withdrawal.told import Told

_NUMBERS_FROM, _FAR_NUMBERS_FROM = 50_000, 1_000_000_000
"""Added to the Series Number of what is withdrawn: nothing else of the node has one as high."""


def names_of(withdrawn: Dataset, told: Told, kind: str) -> ResultNames:
    """Roles of the UIDs of what takes an object back."""
    made_from = (str(withdrawn.SOPInstanceUID),)
    study = str(withdrawn.StudyInstanceUID)
    return ResultNames.of(study, made_from, told.provenance(withdrawn), kind)


def spoken_by(withdrawn: Dataset, told: Told) -> Language:
    """The language in which an object is taken back: its own, where it names one."""
    return language_of(withdrawn, told.language)


def number_of_series(withdrawn: Dataset) -> int:
    """Series Number of what takes an object back."""
    own = int(withdrawn.get("SeriesNumber") or 0)
    return own + (_NUMBERS_FROM if own <= _NUMBERS_FROM else _FAR_NUMBERS_FROM)


def described(what: str, withdrawn: Dataset, language: Language) -> str:
    """Series Description (LO) that says first that something is withdrawn."""
    return plain(
        f"{phrase(what, language)}: {withdrawn.get('SeriesDescription') or ''}".rstrip(": "), 64
    )


def replaced(withdrawn: Dataset, without: set[str], told: Told, kind: str) -> Dataset:
    """A document of the same class, patient and study in the place of another, without some of its
    attributes, which names it as predecessor; content is still to be set."""
    new = Dataset()
    for element in withdrawn:
        if element.keyword not in without:
            new.add(deepcopy(element))
    names = names_of(withdrawn, told, kind)
    new.SOPInstanceUID, new.SeriesInstanceUID = names.uid("instance"), names.uid("series")
    new.SeriesNumber = number_of_series(withdrawn)
    new.SeriesDescription = described("WITHDRAWN", withdrawn, spoken_by(withdrawn, told))
    new.file_meta = deepcopy(withdrawn.file_meta)
    new.file_meta.MediaStorageSOPInstanceUID = UID(new.SOPInstanceUID)
    return sign(new, withdrawn, told)


def sign(new: Dataset, withdrawn: Dataset, told: Told) -> Dataset:
    """Dates, equipment, private codes and file meta information of our own.

    What had contributed to the object that is withdrawn stays told.
    """
    provenance = told.provenance(withdrawn)
    device = provenance.device
    ours = Dataset()
    when = set_dates(new, withdrawn, provenance)
    ours.ContributionDateTime = when
    for item in (new, ours):
        item.Manufacturer = device.manufacturer
        item.ManufacturerModelName = device.model
        item.SoftwareVersions = [device.software_version]
        item.DeviceSerialNumber = device.serial
    new.DeviceUID = device.uid
    ours.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.PROCESSING_EQUIPMENT)]
    digest = provenance.bundle_digest
    ours.ContributionDescription = f"Withdrawal of what was made with bundle {digest}"
    earlier = deepcopy(list(withdrawn.get("ContributingEquipmentSequence") or ()))
    new.ContributingEquipmentSequence = [*earlier, ours]
    new.pop("CodingSchemeIdentificationSequence", None)
    codes.declare_private_schemes(new, device.manufacturer)
    new.file_meta.ImplementationClassUID = UID(implementation.CLASS_UID)
    new.file_meta.ImplementationVersionName = f"DICOMNODE_{told.node_version}"[:16]
    return new
