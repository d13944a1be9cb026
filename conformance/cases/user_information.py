"""User information of an association: lengths, names, roles, windows, identities (PS3.7 D.3.3)."""

from __future__ import annotations

import re
import struct
from functools import partial

from conformance.case import Case
from conformance.session import Session
from conformance.slides import syntaxes
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands, pdus
from conformance.wire.commands import EXPLICIT_VR_LE, VERIFICATION
from conformance.wire.connection import ECHO, associated, connect
from conformance.wire.pdus import Context, item, user_information

_WSM = Context(3, syntaxes.WSM, (EXPLICIT_VR_LE,))
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_IDENTITIES = {1: "user name", 2: "user name and passcode", 3: "Kerberos ticket", 4: "SAML",
               5: "JSON Web Token"}  # fmt: skip
_LENGTHS = (0, 1024, 4096, 16384, 131072, 2**31, 2**32 - 1)


def _length(session: Session, maximum: int) -> None:
    user = user_information(maximum_length=maximum)
    with associated(session, [ECHO], user) as (wire, _):
        expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")
        wire.release()


def _states_length(session: Session) -> None:
    with associated(session) as (wire, accepted):
        items = accepted.user_items.get(0x51, [])
        expect_equal([len(i) for i in items], [4], "lengths of the maximum length sub-items")
        wire.release()


def _states_class(session: Session) -> None:
    with associated(session) as (wire, accepted):
        found = [i.decode("ascii", "replace") for i in accepted.user_items.get(0x52, [])]
        is_one = len(found) == 1 and len(found[0]) <= 64 and _UID.fullmatch(found[0])
        expect(is_one, found=f"{len(found)} Implementation Class UIDs", expected="a valid one")
        wire.release()


def _states_version(session: Session) -> None:
    with associated(session) as (wire, accepted):
        found = accepted.user_items.get(0x55, [])
        is_right = len(found) <= 1 and all(1 <= len(i) <= 16 and i.isascii() for i in found)
        lengths = [len(i) for i in found]
        expect(is_right, found=f"names of {lengths} bytes", expected="at most one of 1 to 16")
        wire.release()


def _same_names(session: Session) -> None:
    seen = set()
    for _ in range(2):
        with associated(session) as (wire, accepted):
            names = accepted.user_items
            seen.add((tuple(names.get(0x52, [])), tuple(names.get(0x55, []))))
            wire.release()
    expect_equal(len(seen), 1, "different names in two associations:")


def _window(session: Session, invoked: int, performed: int) -> None:
    user = user_information(item(0x53, struct.pack(">HH", invoked, performed)))
    with associated(session, [ECHO], user) as (wire, accepted):
        for answer in accepted.user_items.get(0x53, []):
            ours = struct.unpack(">HH", answer)
            fits = all(
                p == 0 or 1 <= o <= p for o, p in zip(ours, (invoked, performed), strict=True)
            )
            expect(fits, found=f"window {ours}", expected=f"at most {(invoked, performed)}")
        expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")
        wire.release()


def _roles(session: Session, scu: int, scp: int) -> None:
    uid = syntaxes.WSM.encode()
    role = struct.pack(">H", len(uid)) + uid + bytes([scu, scp])
    with associated(session, [ECHO, _WSM], user_information(item(0x54, role))) as (wire, accepted):
        for answer in accepted.user_items.get(0x54, []):
            granted = tuple(answer[-2:])
            is_right = granted[0] <= scu and granted[1] <= scp
            expect(is_right, found=f"roles {granted}", expected=f"none beyond {(scu, scp)}")
        wire.release()


def _foreign_role(session: Session) -> None:
    uid = b"1.2.840.10008.5.1.4.1.1.2"
    role = struct.pack(">H", len(uid)) + uid + b"\1\1"
    with associated(session, [ECHO], user_information(item(0x54, role))) as (wire, _):
        expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")
        wire.release()


def _identity(session: Session, kind: int, wants_answer: int) -> None:
    primary, secondary = b"nobody", b"secret" if kind == 2 else b""
    content = bytes([kind, wants_answer]) + struct.pack(">H", len(primary)) + primary
    content += struct.pack(">H", len(secondary)) + secondary
    _echoes_with(session, item(0x58, content))


def _echoes_with(session: Session, sub_item: bytes) -> None:
    with associated(session, [ECHO], user_information(sub_item)) as (wire, _):
        expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")
        wire.release()


def _extended(uid: str, information: bytes) -> bytes:
    return item(0x56, struct.pack(">H", len(uid)) + uid.encode() + information)


def _common_extended(uid: str) -> bytes:
    service = b"1.2.840.10008.4.2"
    content = struct.pack(">H", len(uid)) + uid.encode()
    content += struct.pack(">H", len(service)) + service + struct.pack(">H", 0)
    return item(0x57, content)


def _unknown_item(session: Session) -> None:
    request = pdus.associate_rq(
        called=session.target.called_ae,
        calling=session.target.calling_ae,
        contexts=[ECHO],
        extra_items=item(0x2F, b"unknown"),
    )
    with connect(session) as wire:
        wire.send(request)
        wire.accepted()
        expect_equal(commands.number(wire.echo(), commands.STATUS), 0, "status")
        wire.release()


CASES = (
    *(
        Case(f"user.length-{n}", "PS3.8 D.1.1", f"A peer that takes PDUs of {n} bytes is answered",
             partial(_length, maximum=n))
        for n in _LENGTHS
    ),
    Case("user.states-length", "PS3.8 D.1.2", "The longest PDU is stated, once", _states_length),
    Case("user.states-class", "PS3.7 D.3.3.2", "The Implementation Class UID is stated, and valid",
         _states_class),
    Case("user.states-version", "PS3.7 D.3.3.2", "A version name has 1 to 16 characters",
         _states_version),
    Case("user.same-names", "PS3.7 D.3.3.2", "Every association states the same implementation",
         _same_names),
    *(
        Case(f"user.window-{i}-{p}", "PS3.7 D.3.3.3",
             "An asynchronous window is not answered with a larger one",
             partial(_window, invoked=i, performed=p))
        for i, p in ((1, 1), (8, 8), (0, 0), (65535, 1))
    ),
    *(
        Case(f"user.roles-{u}-{p}", "PS3.7 D.3.3.4", "No role is granted that was not proposed",
             partial(_roles, scu=u, scp=p))
        for u, p in ((1, 0), (0, 1), (1, 1), (0, 0))
    ),
    Case("user.role-without-context", "PS3.7 D.3.3.4",
         "A role for a class that is not proposed changes nothing", _foreign_role),
    *(
        Case(f"user.identity-{kind}{'-asks' if wants else ''}", "PS3.7 D.3.3.7",
             f"A {name} is no reason to refuse, where identities are not supported",
             partial(_identity, kind=kind, wants_answer=wants))
        for kind, name in _IDENTITIES.items() for wants in (0, 1)
    ),
    Case("user.extended", "PS3.7 D.3.3.5", "Extended negotiation may be ignored",
         partial(_echoes_with, sub_item=_extended(VERIFICATION, b"\1\2\3"))),
    Case("user.common-extended", "PS3.7 D.3.3.6", "Common extended negotiation may be ignored",
         partial(_echoes_with, sub_item=_common_extended(VERIFICATION))),
    Case("user.unknown-sub-item", "PS3.8 9.3.1", "A sub-item of an unknown type is ignored",
         partial(_echoes_with, sub_item=item(0x5F, b"unknown"))),
    Case("user.unknown-item", "PS3.8 9.3.1", "An item of an unknown type is ignored",
         _unknown_item),
)  # fmt: skip
