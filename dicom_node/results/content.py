"""One UID, one content: the UIDs of an object end in the digest of the object itself."""

from __future__ import annotations

import hashlib

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue

from dicom_node.results.encoded import Encoded
from dicom_node.results.identity import ROLES, result_uid


def settle(dataset: Dataset) -> Dataset:
    """The object, with UIDs that follow from its content in the place of its roles."""
    settled(dataset)
    return dataset


def settled(dataset: Dataset) -> bytes:
    """The file of an object, which has UIDs that follow from its content in the place of its roles
    then.

    The digest is of the whole file as it is written, roles in the places of its own UIDs, so that
    it does not depend on itself; UIDs of other objects, those that it cites included, are content.
    An object without roles stays as it is.
    """
    whole = Encoded(dataset, _has_role)
    file = whole.file()
    if not whole.open:
        return file
    digest = hashlib.sha256(file).hexdigest()
    for element in whole.open:
        element.value = _settled(element.value, digest)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return whole.file()


def _has_role(element: DataElement) -> bool:
    return element.VR == "UI" and any(map(_is_role, _values(element.value)))


def _values(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, MultiValue) else [str(value)]


def _is_role(value: str) -> bool:
    return value.startswith(ROLES)


def _settled(value: object, digest: str) -> str | list[str]:
    uids = [result_uid(v, digest) if _is_role(v) else v for v in _values(value)]
    return uids if isinstance(value, MultiValue) else uids[0]
