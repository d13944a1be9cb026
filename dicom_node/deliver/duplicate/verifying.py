"""0111, "it is here already": whether what a destination has under our UID is what we made.

A UID of ours has one content. What a query, or the object itself, contradicts is an alarm; what is
not answered contradicts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydicom import Dataset, dcmread
from pynetdicom import evt
from pynetdicom.association import Association

from dicom_node.config.peers import Destination
from dicom_node.deliver import dimse
from dicom_node.deliver.choose import offered
from dicom_node.deliver.duplicate.contents import difference, stated_difference
from dicom_node.deliver.query import each_match, keys_of
from dicom_node.observe.log import os_reason, place_of
from dicom_node.results.kinds import result_classes
from dicom_node.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET

log = structlog.get_logger()

CLASSES = (STUDY_ROOT_FIND, STUDY_ROOT_GET)
"""What a destination is asked with; the second is a question only where it offers it."""
_STATED = (
    "SOPClassUID", "InstanceNumber", "ContentDate", "ContentTime", "NumberOfFrames", "Rows",
    "Columns",
)  # fmt: skip
"""What tells contents apart, and what no archive has a reason to change (PS3.4 C.6.1.1.5)."""
_TAKEN, _NOT_TAKEN = 0x0000, 0xA900


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an object that a destination says it has."""

    is_there: bool | None
    """None where that was not answered."""
    other: str = ""
    """How its content differs from ours; empty where nothing contradicts it."""
    is_same: bool = False
    """Whether its content was read and is ours."""


UNKNOWN = Verdict(None)


def verify(path: Path, destination: Destination, own_ae_title: str) -> Verdict:
    """Ask a destination for the object of a file. Raises OSError where the file cannot be read."""
    ours = dcmread(path)
    retrieved: list[Dataset] = []

    def take(event: Any) -> int:
        if str(event.request.AffectedSOPInstanceUID) != str(ours.SOPInstanceUID):
            return _NOT_TAKEN
        theirs = event.dataset
        theirs.file_meta = event.file_meta
        retrieved.append(theirs)
        return _TAKEN

    try:
        association = dimse.associate(
            destination,
            own_ae_title,
            CLASSES,
            handlers=[(evt.EVT_C_STORE, take)],
            taken=[offered(destination, result_classes()[ours.SOPClassUID])],
        )
        if not association.is_established:
            return UNKNOWN
        try:
            return _judge(association, ours, retrieved)
        finally:
            association.release()
    except dimse.NETWORK_FAULTS as error:
        why = os_reason(error) if isinstance(error, OSError) else place_of(error)
        log.warning("duplicate_not_asked", destination=destination.name, reason=why)
        return UNKNOWN


def _judge(association: Association, ours: Dataset, retrieved: list[Dataset]) -> Verdict:
    """By query, and by the object itself where it can be had."""
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    found = UNKNOWN
    if STUDY_ROOT_FIND.uid in accepted:
        found = _find(association, ours)
    if found.is_there is False or found.other:
        return found
    if STUDY_ROOT_GET.uid in accepted and association.is_established:
        _get(association, ours)
    if not retrieved:
        return found
    try:
        other = difference(ours, retrieved[0])
    except Exception as error:  # noqa: BLE001 - what others send may be anything: no alarm by that
        log.warning("duplicate_unreadable", error=place_of(error))
        return found
    return Verdict(True, other or "", is_same=other == "")


def _find(association: Association, ours: Dataset) -> Verdict:
    uid = str(ours.SOPInstanceUID)
    keys = keys_of(ours.StudyInstanceUID, ours.SeriesInstanceUID, uid)
    for keyword in _STATED:
        setattr(keys, keyword, None)
    matches: list[Dataset] = []

    def note(match: Dataset) -> None:
        if str(match.get("SOPInstanceUID", "")) == uid:
            matches.append(match)

    if not each_match(association, keys, note):
        return UNKNOWN
    if not matches:
        return Verdict(False)
    differences = (stated_difference(ours, match, _STATED) for match in matches)
    return Verdict(True, next(filter(None, differences), ""))


def _get(association: Association, ours: Dataset) -> None:
    """Have the object sent on the same association; the handler takes it (PS3.4 C.4.3)."""
    keys = keys_of(ours.StudyInstanceUID, ours.SeriesInstanceUID, str(ours.SOPInstanceUID))
    for status, _ in association.send_c_get(keys, STUDY_ROOT_GET.uid):
        if "Status" not in status:
            log.warning("duplicate_not_retrieved")
