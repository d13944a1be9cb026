"""Lengths that are not true: of PDUs, items and presentation data values (PS3.8 9.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from conformance.case import Case, Need
from conformance.cases.states import over
from conformance.session import Session
from conformance.verdicts import expect
from conformance.wire import commands, pdus
from conformance.wire.connection import ECHO, Ended, associated, command_pdv, connect

_HOSTILE = frozenset({Need.HOSTILE})
_ECHO_RQ = commands.echo_rq()


def _request_body(session: Session) -> bytes:
    target = session.target
    whole = pdus.associate_rq(called=target.called_ae, calling=target.calling_ae, contexts=[ECHO])
    return whole[6:]


def _request(session: Session, change: Callable[[bytes], bytes]) -> None:
    """A request whose PDU is right and whose content is not."""
    with connect(session) as wire:
        wire.send(pdus.pdu(pdus.ASSOCIATE_RQ, change(_request_body(session))))
        over(wire, allowed="A-A")  # an abort or a rejection


def _data(session: Session, data: bytes) -> None:
    with associated(session) as (wire, _):
        wire.send(data)
        over(wire)


def _no_items(session: Session) -> None:
    """A PDU without items means nothing: it ends the association, or is passed over."""
    with associated(session) as (wire, _):
        wire.send(pdus.p_data([]), pdus.p_data([command_pdv(1, _ECHO_RQ)]))
        found = wire.answer()
        is_known = found in ("P-DATA-TF", str(Ended())) or found.startswith("A-ABORT")
        expect(is_known, found=found, expected="the answer to what follows, A-ABORT or the end")


def _too_long_for_us(session: Session) -> None:
    """More than the node said it takes."""
    with associated(session) as (wire, accepted):
        maximum = accepted.maximum_length
        expect(0 < maximum <= 1 << 24, found=f"maximum length {maximum}", expected="a bound")
        wire.send(struct.pack(">BBL", pdus.P_DATA, 0, 4 * maximum))
        over(wire)


def _kept(session: Session, maximum: int) -> None:
    """No P-DATA-TF is longer than we said we take."""
    user = pdus.user_information(maximum_length=maximum)
    with associated(session, [ECHO], user) as (wire, _):
        wire.send(pdus.p_data([pdus.pdv(1, _ECHO_RQ, is_command=True, is_last=True)]))
        found = wire.receive()
        is_short = found.kind == pdus.P_DATA and len(found.body) <= maximum
        expect(is_short, found=f"{found} of {len(found.body)} bytes", expected=f"<= {maximum}")
        wire.send(pdus.abort())


def _half_then_end(session: Session, count: int) -> None:
    """A request that ends in the middle, and then the connection."""
    with connect(session) as wire:
        wire.send(pdus.pdu(pdus.ASSOCIATE_RQ, _request_body(session))[:count])
        wire.socket.shutdown(1)
        found = wire.answer()
        is_end = found.startswith("A-ABORT") or found == str(Ended())
        expect(is_end, found=found, expected="A-ABORT or the end of the connection")


def _pdv(length: int) -> bytes:
    return pdus.p_data([pdus.pdv(1, _ECHO_RQ, is_command=True, is_last=True, length=length)])


_REQUESTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda body: b"",
    "10-bytes": lambda body: body[:10],
    "no-items": lambda body: body[:68],
    "cut-item": lambda body: body[:80],
    "cut-end": lambda body: body[:-3],
    "trailing": lambda body: body + b"\x50\0",
    "item-too-long": lambda body: body[:70] + b"\xff\xff" + body[72:],
    "item-too-short": lambda body: body[:70] + b"\0\1" + body[72:],
}
_DATA = {
    "three-bytes": pdus.pdu(pdus.P_DATA, b"\0\0\0"),
    "pdv-0": _pdv(0),
    "pdv-1": _pdv(1),
    "pdv-beyond": _pdv(len(_ECHO_RQ) + 3),
    "pdv-4-gib": _pdv(0xFFFFFFFF),
    "pdv-short": _pdv(len(_ECHO_RQ) - 10),
    "release-5": pdus.pdu(pdus.RELEASE_RQ, bytes(100_000)),
}

CASES = (
    *(
        Case(f"lengths.request-{name}", "PS3.8 9.3.2",
             "A request whose content does not fit its length is not taken",
             partial(_request, change=change), _HOSTILE)
        for name, change in _REQUESTS.items()
    ),
    *(
        Case(f"lengths.data-{name}", "PS3.8 9.3.5",
             "Data whose lengths do not fit ends the association",
             partial(_data, data=data), _HOSTILE)
        for name, data in _DATA.items()
    ),
    Case("lengths.data-no-items", "PS3.8 9.3.5", "Data without an item does no harm", _no_items,
         _HOSTILE),
    Case("lengths.data-too-long", "PS3.8 D.1", "A PDU longer than what is taken is not waited for",
         _too_long_for_us, _HOSTILE),
    *(
        Case(f"lengths.keeps-{n}", "PS3.8 D.1", f"No PDU is longer than {n} bytes where asked",
             partial(_kept, maximum=n))
        for n in (128, 1024, 16384)
    ),
    *(
        Case(f"lengths.half-{n}", "PS3.8 9.2.3", "A connection that ends amid a request is let go",
             partial(_half_then_end, count=n), _HOSTILE)
        for n in (1, 5, 6, 40, 100)
    ),
)  # fmt: skip
