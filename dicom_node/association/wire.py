"""PDUs that are answered before an association exists, as bytes (PS3.8 9.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

ASSOCIATE_RQ = 0x01
ASSOCIATE_LIMIT_BYTES = 256 << 10  # A-ASSOCIATE-RQ with 128 contexts of 40 syntaxes needs 140 KiB
HEADER_BYTES = 6  # PS3.8 9.3.1: type, reserved, length of what follows

_FIXED_BYTES = 68  # PS3.8 Table 9-11: up to where the variable items begin


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and reason of PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int

    def encoded(self) -> bytes:
        """The PDU."""
        return struct.pack(">BBLBBBB", 3, 0, 4, 0, self.result, self.source, self.reason)


CALLING_AE_UNKNOWN = Rejection(1, 1, 3)
CALLED_AE_UNKNOWN = Rejection(1, 1, 7)
CONGESTION = Rejection(2, 3, 1)
LIMIT_EXCEEDED = Rejection(2, 3, 2)

ABORT = struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 2, 6)
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 Table 9-26)."""


def titles(request: bytes) -> tuple[str, str] | None:
    """Calling and called AE title of an A-ASSOCIATE-RQ; None where it is too short to hold them.

    Bytes that no AE title may hold are escaped, so that they equal none and can be shown.
    """
    if len(request) < HEADER_BYTES + _FIXED_BYTES:
        return None
    called, calling = request[10:26], request[26:42]
    return _text(calling), _text(called)


def _text(title: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in title).strip()
