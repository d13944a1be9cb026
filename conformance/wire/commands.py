"""Command sets of DIMSE messages (PS3.7 6.3, E), in Implicit VR Little Endian as always."""

from __future__ import annotations

import struct
from collections.abc import Mapping

AFFECTED_CLASS, COMMAND_FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
REQUESTED_CLASS, REQUESTED_INSTANCE = 0x0003, 0x1001
PRIORITY, DATA_SET_TYPE, STATUS = 0x0700, 0x0800, 0x0900
ERROR_COMMENT, AFFECTED_INSTANCE = 0x0902, 0x1000
MOVE_ORIGINATOR, MOVE_MESSAGE_ID = 0x1030, 0x1031
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
C_FIND_RQ, N_GET_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0020, 0x0110, 0x0100, 0x0130
NO_DATA_SET = 0x0101

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_VR_LE = "1.2.840.10008.1.2"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"

Fields = Mapping[int, bytes | int | str]
"""Values by element of group 0000."""


def command(fields: Fields) -> bytes:
    """A command set with its group length."""
    elements = b"".join(_element(number, fields[number]) for number in sorted(fields))
    return _element(0x0000, struct.pack("<L", len(elements))) + elements


def echo_rq(message_id: int = 1) -> bytes:
    """A C-ECHO-RQ (PS3.7 Table 9.3-12)."""
    return command(
        {
            AFFECTED_CLASS: VERIFICATION,
            COMMAND_FIELD: C_ECHO_RQ,
            MESSAGE_ID: message_id,
            DATA_SET_TYPE: NO_DATA_SET,
        }
    )


def store_rq(
    class_uid: str, instance_uid: str, *, message_id: int = 1, further: Fields | None = None
) -> bytes:
    """A C-STORE-RQ (PS3.7 Table 9.3-1); a UID that is empty is left out."""
    fields: dict[int, bytes | int | str] = {
        COMMAND_FIELD: C_STORE_RQ,
        MESSAGE_ID: message_id,
        PRIORITY: 0,
        DATA_SET_TYPE: 1,
        **(further or {}),
    }
    if class_uid:
        fields[AFFECTED_CLASS] = class_uid
    if instance_uid:
        fields[AFFECTED_INSTANCE] = instance_uid
    return command(fields)


def read(data: bytes) -> dict[int, bytes]:
    """Elements of a command set by number; ValueError where it is none."""
    found = {}
    while data:
        if len(data) < 8:
            raise ValueError("a command set that ends in the middle")
        group, number, length = struct.unpack("<HHL", data[:8])
        if group != 0 or len(data) < 8 + length:
            raise ValueError("a command set that is none")
        found[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return found


def number(fields: Mapping[int, bytes], which: int) -> int | None:
    """An unsigned short of a command set; None when it is absent."""
    value = fields.get(which)
    return int.from_bytes(value, "little") if value else None


def text(fields: Mapping[int, bytes], which: int) -> str:
    """A text or UID of a command set; empty when it is absent."""
    return fields.get(which, b"").decode("latin-1").rstrip("\0 ")


def _element(which: int, value: bytes | int | str) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode("latin-1")
        value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0x0000, which, len(value)) + value
