"""One UID, one content: the UIDs of an object end in the digest of the object itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.multival import MultiValue

from dicom_node.results.identity import ROLES, result_uid


def settle(dataset: Dataset) -> Dataset:
    """The object, with UIDs that follow from its content in the place of its roles.

    The digest is of the whole file as it is written, roles in the places of its own UIDs, so that
    it does not depend on itself; UIDs of other objects, those that it cites included, are content.
    An object without roles stays as it is.
    """
    own = list(_roles(dataset))
    if own:
        file = BytesIO()
        dcmwrite(file, dataset, enforce_file_format=True)
        digest = hashlib.sha256(file.getbuffer()).hexdigest()
        for element in own:
            element.value = _settled(element.value, digest)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _roles(dataset: Dataset) -> Iterator[DataElement]:
    """Elements of the object, at any depth, that hold a role."""
    for element in dataset.iterall():
        if element.VR == "UI" and any(map(_is_role, _values(element.value))):
            yield element


def _values(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, MultiValue) else [str(value)]


def _is_role(value: str) -> bool:
    return value.startswith(ROLES)


def _settled(value: object, digest: str) -> str | list[str]:
    uids = [result_uid(v, digest) if _is_role(v) else v for v in _values(value)]
    return uids if isinstance(value, MultiValue) else uids[0]
