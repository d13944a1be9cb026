"""What a destination has: asked by C-FIND at the level of images (PS3.4 C.4.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from pathlib import Path

import structlog
from pydicom import Dataset, dcmread
from pynetdicom.association import Association

from dicom_node.sop_classes import STUDY_ROOT_FIND

log = structlog.get_logger()

_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_KEYS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
_MOST_ANSWERS = 100_000
_LONGEST_S = 120.0
"""Some peers ignore the keys and tell of all they have, and one may never end."""


def has_object(association: Association, path: Path) -> bool | None:
    """Whether the object of a file is there; None where that was not answered. Raises OSError."""
    ours = dcmread(path, stop_before_pixels=True, specific_tags=_KEYS)
    uid = str(ours.SOPInstanceUID)
    held = held_of_series(association, ours.StudyInstanceUID, ours.SeriesInstanceUID, {uid})
    return None if held is None else uid in held


def held_of_series(
    association: Association, study: str, series: str, wanted: Set[str]
) -> set[str] | None:
    """Those `wanted` of the SOP Instance UIDs of a series that are there; None where that was not
    answered, or not to the end: the association is aborted then."""
    found: set[str] = set()

    def note(match: Dataset) -> None:
        if (uid := str(match.get("SOPInstanceUID", ""))) in wanted:
            found.add(uid)

    keys = keys_of(study, series, next(iter(wanted)) if len(wanted) == 1 else "")
    return found if each_match(association, keys, note) else None


def keys_of(study: str, series: str, instance: str) -> Dataset:
    """The unique keys of a query or retrieval of one image, or of all of a series."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID, keys.SeriesInstanceUID = study, series
    keys.SOPInstanceUID = instance
    return keys


def each_match(association: Association, keys: Dataset, note: Callable[[Dataset], None]) -> bool:
    """Call `note` with each match; whether all were told. If there is no end of them
    the association is aborted."""
    until = time.monotonic() + _LONGEST_S
    answers = association.send_c_find(keys, STUDY_ROOT_FIND.uid)
    for number, (status, match) in enumerate(answers, 1):
        code = status.get("Status")
        if code not in _PENDING:
            return bool(code == _SUCCESS)
        if match is not None:
            note(match)
        if number >= _MOST_ANSWERS or time.monotonic() > until:
            log.warning("query_without_end", answers=number)
            association.abort()
            return False
    return False
