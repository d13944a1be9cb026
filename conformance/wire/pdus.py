"""PDUs of the upper layer (PS3.8 9.3), encoded and decoded by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    P_DATA: "P-DATA-TF",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
CLASS_UID = "2.25.190736045119736172338049273418605321087"
"""Implementation Class UID of this tool (PS3.7 D.3.3.2)."""
VERSION_NAME = "CONFORMANCE_1"


@dataclass(frozen=True, slots=True)
class Context:
    """A proposed presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an A-ASSOCIATE-AC says."""

    contexts: dict[int, tuple[int, str]]
    """Result and transfer syntax by context id (PS3.8 Table 9-18)."""
    user_items: dict[int, list[bytes]] = field(default_factory=dict)
    """Sub-items of the user information by type."""
    item_types: tuple[int, ...] = ()

    @property
    def maximum_length(self) -> int:
        """The longest P-DATA-TF it takes; 0 for no limit (PS3.8 D.1)."""
        (value,) = struct.unpack(">L", self.user_items[0x51][0])
        return int(value)


def item(kind: int, content: bytes, length: int | None = None) -> bytes:
    """An item or sub-item; `length` in place of the true one."""
    return struct.pack(">BBH", kind, 0, len(content) if length is None else length) + content


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` in place of the true one."""
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


def user_information(
    *extra: bytes, maximum_length: int = 16384, class_uid: str = CLASS_UID
) -> bytes:
    """The user information item, with further sub-items."""
    sub_items = [
        item(0x51, struct.pack(">L", maximum_length)),
        item(0x52, class_uid.encode()),
        item(0x55, VERSION_NAME.encode()),
        *extra,
    ]
    return item(0x50, b"".join(sub_items))


def context_item(context: Context) -> bytes:
    """A presentation context item of a request (PS3.8 9.3.2.2)."""
    content = struct.pack(">BBBB", context.id, 0, 0, 0)
    content += item(0x30, context.abstract_syntax.encode())
    content += b"".join(item(0x40, syntax.encode()) for syntax in context.transfer_syntaxes)
    return item(0x20, content)


def associate_rq(
    *,
    called: str | bytes,
    calling: str | bytes,
    contexts: Sequence[Context],
    user: bytes | None = None,
    application_context: str = APPLICATION_CONTEXT,
    version: int = 1,
    extra_items: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 Table 9-11); titles as bytes are put in as they are."""
    titles = b"".join(t if isinstance(t, bytes) else title(t) for t in (called, calling))
    content = struct.pack(">HH", version, 0) + titles + bytes(32)
    content += item(0x10, application_context.encode())
    content += b"".join(context_item(c) for c in contexts)
    content += extra_items + (user_information() if user is None else user)
    return pdu(ASSOCIATE_RQ, content)


def title(text: str) -> bytes:
    """An AE title in its 16 bytes."""
    return text.encode("ascii").ljust(16)[:16]


def pdv(
    context_id: int, data: bytes, *, is_command: bool, is_last: bool, length: int | None = None
) -> bytes:
    """A presentation data value item (PS3.8 9.3.5.1, Annex E.2)."""
    header = (1 if is_command else 0) | (2 if is_last else 0)
    size = len(data) + 2 if length is None else length
    return struct.pack(">LBB", size, context_id, header) + data


def p_data(pdvs: Iterable[bytes]) -> bytes:
    """A P-DATA-TF that holds these items."""
    return pdu(P_DATA, b"".join(pdvs))


def release_rq() -> bytes:
    """An A-RELEASE-RQ."""
    return pdu(RELEASE_RQ, bytes(4))


def release_rp() -> bytes:
    """An A-RELEASE-RP."""
    return pdu(RELEASE_RP, bytes(4))


def abort() -> bytes:
    """An A-ABORT of the service user."""
    return pdu(ABORT, bytes(4))


def read_accepted(body: bytes) -> Accepted:
    """The content of an A-ASSOCIATE-AC (PS3.8 Table 9-17)."""
    contexts: dict[int, tuple[int, str]] = {}
    user: dict[int, list[bytes]] = {}
    items = _items(body[68:])
    for kind, content in items:
        if kind == 0x21:
            syntaxes = [c for k, c in _items(content[4:]) if k == 0x40]
            contexts[content[0]] = (content[2], _uid(syntaxes[0]) if syntaxes else "")
        elif kind == 0x50:
            for sub_kind, sub_content in _items(content):
                user.setdefault(sub_kind, []).append(sub_content)
    return Accepted(contexts, user, tuple(kind for kind, _ in items))


def _items(data: bytes) -> list[tuple[int, bytes]]:
    """Items one after another; ValueError where a length does not fit."""
    found = []
    while data:
        if len(data) < 4:
            raise ValueError(f"{len(data)} bytes left where an item should be")
        kind, length = data[0], int.from_bytes(data[2:4], "big")
        if len(data) < 4 + length:
            raise ValueError(f"an item of type {kind:02X} is longer than what holds it")
        found.append((kind, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _uid(content: bytes) -> str:
    return content.decode("ascii", "replace").rstrip("\0 ")
