"""The equipment of results: our own, and what had contributed to the slide (PS3.3 C.12.1)."""

from __future__ import annotations

from copy import deepcopy

from highdicom.sr import CodedConcept
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.carried.dates import NO_DATE, acquired
from dicom_node.results.identity import Provenance

_OF_SCANNER = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)


def set_equipment(dataset: Dataset, source: Dataset, provenance: Provenance, when: str) -> None:
    """General Equipment of the node; the scanner, what contributed before, and we contributed.

    `when` we did is a DT, empty where that is not told.
    """
    device = provenance.device
    ours = Dataset()
    if when:
        ours.ContributionDateTime = when
    for item in (dataset, ours):
        item.Manufacturer = device.manufacturer
        item.ManufacturerModelName = device.model
        item.SoftwareVersions = [device.software_version]
        if provenance.engine:
            item.SoftwareVersions = [device.software_version, f"engine {provenance.engine}"[:64]]
        item.DeviceSerialNumber = device.serial
    dataset.DeviceUID = device.uid
    ours.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.PROCESSING_EQUIPMENT)]
    did = "Inference with bundle" if provenance.bundle_name else "Choice among models of digest"
    told = "" if when else f" {undated(provenance)}"
    ours.ContributionDescription = f"{did} {provenance.bundle_digest}{told}"
    # In the place of highdicom's, which have the time of day.
    dataset.ContributingEquipmentSequence = [*_earlier(source), *_scanner(source), ours]


def undated(provenance: Provenance) -> str:
    """What an object says of its dates that does not tell when it was made."""
    if provenance.created_at == NO_DATE:
        return "The time of analysis is not told. The slide has no date; 1900-01-01 stands for it."
    return "The time of analysis is not told: date and time of content are those of the slide."


def _scanner(source: Dataset) -> list[Dataset]:
    """The scanner, as the header of the slide has it; none where the maker, type 1, is missing."""
    if not source.get("Manufacturer"):
        return []
    item = Dataset()
    for keyword in _OF_SCANNER:
        if source.get(keyword):
            item.add(deepcopy(source[keyword]))
    if when := acquired(source):
        item.ContributionDateTime = when
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.ACQUISITION_EQUIPMENT)]
    return [item]


def _earlier(source: Dataset) -> list[Dataset]:
    """What the slide says of others that contributed to it."""
    return [
        deepcopy(item)
        for item in source.get("ContributingEquipmentSequence") or ()
        if item.get("Manufacturer") and item.get("PurposeOfReferenceCodeSequence")
    ]
