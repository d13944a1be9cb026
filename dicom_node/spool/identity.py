"""What the node reads of an instance before it keeps it: its UIDs, and whether it is our own."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator

from dicom_node.implementation import MANUFACTURER
from dicom_node.sop_classes import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from dicom_node.spool.refusals import Refused, Why
from inference.slide.budget import TooMuch, Walk

HEADER_LIMIT_BYTES = 2 << 20
"""The identifying attributes, (0020,000E) being the last, must be within the first bytes."""
_USUAL_HEADER_BYTES = 64 << 10
_MOST_ITEMS = 2000
"""Of sequences in front of the identifying attributes; they are parsed while others receive."""

_MANUFACTURER = 0x00080070
_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_MEDIA_CLASS, _MEDIA_INSTANCE, _TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010

# PS3.5 9.1, except that leading zeros in a component pass: devices in use make them, and refusing
# their slides would help nobody.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class ReadableDataset(Protocol):
    """Dataset bytes that can be read from the start."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""

    def read_at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an instance is and belongs to; four legal UIDs."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the header of a file says of the dataset in it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_identity(dataset: ReadableDataset, transfer_syntax_uid: str) -> Identity:
    """The UIDs of a dataset; reads no further than needed. Raises Refused."""
    if dataset.size_bytes > _USUAL_HEADER_BYTES:
        try:
            return _identity_within(_USUAL_HEADER_BYTES, dataset, transfer_syntax_uid)
        except Refused:
            pass  # perhaps only cut off: what the whole header says counts
    return _identity_within(HEADER_LIMIT_BYTES, dataset, transfer_syntax_uid)


def _identity_within(limit: int, dataset: ReadableDataset, transfer_syntax_uid: str) -> Identity:
    wanted = {_SOP_CLASS, _SOP_INSTANCE, _MANUFACTURER, _STUDY, _SERIES}
    values = _uids(dataset.read_at(0, limit), wanted, transfer_syntax_uid)
    cut = dataset.size_bytes > limit
    if values.get(_MANUFACTURER, "").strip() == MANUFACTURER:
        raise Refused(Why.OWN_RESULT, "a result of a dicom-node is no slide to analyze")
    return Identity(
        sop_class_uid=_required(values, _SOP_CLASS, Why.NO_SOP_UID, "SOP Class UID", cut),
        sop_instance_uid=_required(values, _SOP_INSTANCE, Why.NO_SOP_UID, "SOP Instance UID", cut),
        study_instance_uid=_required(values, _STUDY, Why.NO_STUDY_UID, "Study Instance UID", cut),
        series_instance_uid=_required(
            values, _SERIES, Why.NO_SERIES_UID, "Series Instance UID", cut
        ),
    )


def read_file_meta(file_meta: bytes) -> FileMeta:
    """What file meta information (PS3.10 7.1) says of its dataset. Raises Refused."""
    wanted = {_MEDIA_CLASS, _MEDIA_INSTANCE, _TRANSFER_SYNTAX}
    values = _uids(file_meta, wanted, EXPLICIT_VR_LE.uid)
    if len(values) < len(wanted):
        raise Refused(Why.UNPARSABLE, "file meta information cannot be parsed")
    return FileMeta(values[_MEDIA_CLASS], values[_MEDIA_INSTANCE], values[_TRANSFER_SYNTAX])


def command_uid(command: Any, keyword: str) -> str:
    """A UID of a C-STORE command. Raises Refused when it is missing or illegal."""
    value = getattr(command, keyword, None)
    if not value:
        raise Refused(Why.NO_SOP_UID, "command without SOP class or instance UID")
    return _legal(str(value), "UID of the command")


def _uids(start: bytes, wanted: set[int], transfer_syntax_uid: str) -> dict[int, str]:
    """Those of the wanted attributes that are there; reads no further than the last of them."""
    elements = data_element_generator(
        BytesIO(start),
        is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LE.uid,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag > max(wanted),
    )
    values: dict[int, str] = {}
    try:
        is_implicit = transfer_syntax_uid == IMPLICIT_VR_LE.uid
        walk = Walk(start, is_implicit=is_implicit, most_items=_MOST_ITEMS)
        walk.top_level(0, max(wanted) + 1)
    except TooMuch:
        raise Refused(
            Why.HEADER_TOO_LARGE, f"more than {_MOST_ITEMS} items before the UIDs"
        ) from None
    try:
        for element in elements:
            if element.tag in wanted and isinstance(element.value, bytes):
                values[element.tag] = element.value.decode("latin-1").rstrip("\0 ")
    except (
        # what pydicom raises on damaged or hostile bytes; RecursionError: sequences without end
        struct.error, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError,
        NotImplementedError, RecursionError, InvalidDicomError,
    ) as error:  # fmt: skip
        raise Refused(Why.UNPARSABLE, "dataset cannot be parsed") from error
    return values


def _required(values: dict[int, str], tag: int, absent: Why, name: str, cut: bool) -> str:
    value = values.get(tag)
    if value:
        return _legal(value, name)
    if cut:
        raise Refused(
            Why.HEADER_TOO_LARGE, f"{name} not in the first {HEADER_LIMIT_BYTES >> 20} MiB"
        )
    if not values:
        raise Refused(Why.UNPARSABLE, "dataset cannot be parsed")
    raise Refused(absent, f"{name} is missing")


def _legal(value: str, name: str) -> str:
    if len(value) > 64 or not _UID.fullmatch(value):
        raise Refused(Why.ILLEGAL_UID, f"{name} is not a UID")
    return value
