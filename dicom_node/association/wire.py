"""PDUs of association negotiation as bytes: who asks, what is answered, what is left out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, ABORT_TYPE = 0x01, 0x02, 0x03, 0x07
ASSOCIATE_LIMIT_BYTES = 256 << 10  # A-ASSOCIATE-RQ with 128 contexts of 40 syntaxes needs 140 KiB
HEADER_BYTES = 6  # PS3.8 9.3.1: type, reserved, length of what follows
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1, the only one that DICOM has

_FIXED_BYTES = 68  # PS3.8 Table 9-11: up to where the variable items begin
_ITEM_HEADER_BYTES = 4  # type, reserved, length of what follows
_MOST_ITEMS = 1024
"""Items of a request that are looked through before it is refused; 130 are usual at most."""
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and reason of PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int

    def encoded(self) -> bytes:
        """The PDU."""
        return struct.pack(">BBLBBBB", 3, 0, 4, 0, self.result, self.source, self.reason)


APPLICATION_CONTEXT_UNKNOWN = Rejection(1, 1, 2)
CALLING_AE_UNKNOWN = Rejection(1, 1, 3)
CALLED_AE_UNKNOWN = Rejection(1, 1, 7)
VERSION_UNKNOWN = Rejection(1, 2, 2)
CONGESTION = Rejection(2, 3, 1)
LIMIT_EXCEEDED = Rejection(2, 3, 2)

ABORT = struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 2, 6)
"""A-ABORT by the service provider: invalid PDU parameter value (PS3.8 Table 9-26)."""


class Malformed(Exception):
    """An item is longer than what holds it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An item that holds sub-items: how many bytes come before them, and which types they have."""

    first: int
    known: frozenset[int]


_USER_INFORMATION = frozenset({0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58})
# PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3: by PDU type, the items and what each may hold.
_KNOWN: dict[int, dict[int, _Place | None]] = {
    ASSOCIATE_RQ: {
        0x10: None,
        0x20: _Place(4, frozenset({0x30, 0x40})),
        0x50: _Place(0, _USER_INFORMATION),
    },
    ASSOCIATE_AC: {
        0x10: None,
        0x21: _Place(4, frozenset({0x40})),
        0x50: _Place(0, _USER_INFORMATION - {0x58} | {0x59}),
    },
}


def titles(request: bytes) -> tuple[str, str] | None:
    """Calling and called AE title of an A-ASSOCIATE-RQ; None where it is too short to hold them.

    Bytes that no AE title may hold are escaped, so that they equal none and can be shown.
    """
    if len(request) < HEADER_BYTES + _FIXED_BYTES:
        return None
    called, calling = request[10:26], request[26:42]
    return _text(calling), _text(called)


def speaks_our_version(request: bytes) -> bool:
    """Whether the sender of an A-ASSOCIATE-RQ knows version 1 of the protocol: of the field only
    bit 0 is looked at (PS3.8 Table 9-11)."""
    return bool(request[HEADER_BYTES + 1] & 1)


def application_context(request: bytes) -> str:
    """The name that an A-ASSOCIATE-RQ gives, escaped; empty without one. Raises Malformed."""
    end = HEADER_BYTES + int.from_bytes(request[2:HEADER_BYTES], "big")
    whole = memoryview(request)[:end]
    for number, (kind, content) in enumerate(_items(whole, HEADER_BYTES + _FIXED_BYTES)):
        if kind == 0x10:
            return _text(bytes(content[:_LONGEST_NAME]).rstrip(b"\0 "))
        if number >= _MOST_ITEMS:
            raise Malformed
    return ""


def readable(pdu: bytes) -> bytes:
    """An A-ASSOCIATE-RQ or -AC without what a reader of today does not know; others as they are.

    Items and sub-items of an unknown type are ignored (PS3.8 9.3.1), and so are further bits of
    the protocol version; the library takes both for errors. Raises Malformed.
    """
    places = _KNOWN.get(pdu[0])
    fixed = HEADER_BYTES + _FIXED_BYTES
    if places is None or len(pdu) < fixed:
        return pdu
    whole = memoryview(pdu)
    kept = []
    for kind, content in _items(whole, fixed):
        if kind in places:
            kept.append(_item(kind, _known(content, places[kind])))
    items = b"".join(kept)
    version = int.from_bytes(pdu[6:8], "big") & 1
    head = struct.pack(">BBLH", pdu[0], 0, _FIXED_BYTES + len(items), version)
    return head + pdu[len(head) : fixed] + items


def _known(content: memoryview, place: _Place | None) -> bytes:
    if place is None:
        return bytes(content)
    kept = [_item(k, bytes(c)) for k, c in _items(content, place.first) if k in place.known]
    return bytes(content[: place.first]) + b"".join(kept)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _items(data: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    """Type and content of items one after another. Raises Malformed."""
    while at < len(data):
        begin = at + _ITEM_HEADER_BYTES
        end = begin + int.from_bytes(data[at + 2 : begin], "big")
        if begin > len(data) or end > len(data):
            raise Malformed
        yield data[at], data[begin:end]
        at = end


def _text(title: bytes) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in title).strip()
