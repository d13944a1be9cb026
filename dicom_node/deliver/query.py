"""Whether a destination has an object: asked by C-FIND at the level of images (PS3.4 C.4.1)."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom.association import Association

from dicom_node.sop_classes import STUDY_ROOT_FIND

_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_KEYS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


def has_object(association: Association, path: Path) -> bool | None:
    """Whether the object of a file is there; None where that was not answered. Raises OSError."""
    ours = dcmread(path, stop_before_pixels=True, specific_tags=_KEYS)
    held = instances_of_series(
        association, ours.StudyInstanceUID, ours.SeriesInstanceUID, only=ours.SOPInstanceUID
    )
    return None if held is None else str(ours.SOPInstanceUID) in held


def instances_of_series(
    association: Association, study: str, series: str, *, only: str = ""
) -> set[str] | None:
    """SOP Instance UIDs that are there, all or `only` one; None where that was not answered."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID, keys.SeriesInstanceUID, keys.SOPInstanceUID = study, series, only
    found: set[str] = set()
    for status, match in association.send_c_find(keys, STUDY_ROOT_FIND.uid):
        code = status.get("Status")
        if code in _PENDING:
            if match is not None and match.get("SOPInstanceUID"):
                found.add(str(match.SOPInstanceUID))
        elif code != _SUCCESS:
            return None
    return found
