"""PDUs in states that do not wait for them (PS3.8 9.2, Table 9-10)."""

from __future__ import annotations

from functools import partial

from conformance.case import Case, Need
from conformance.session import Session
from conformance.verdicts import expect, expect_equal
from conformance.wire import commands, pdus
from conformance.wire.connection import (
    ECHO,
    Ended,
    Wire,
    associated,
    command_pdv,
    connect,
    still_echoes,
)
from conformance.wire.pdus import Context

_SECTION = "PS3.8 9.2.3"
_HOSTILE = frozenset({Need.HOSTILE})
_UNKNOWN_TYPES = (0x00, 0x08, 0x09, 0x10, 0x7F, 0xFF)
_REJECT = pdus.pdu(pdus.ASSOCIATE_RJ, bytes([0, 1, 1, 1]))
_ECHO_DATA = pdus.p_data([command_pdv(1, commands.echo_rq())])


def _request(session: Session) -> bytes:
    target = session.target
    return pdus.associate_rq(called=target.called_ae, calling=target.calling_ae, contexts=[ECHO])


def _acceptance() -> bytes:
    """A well-formed A-ASSOCIATE-AC."""
    content = bytes([0, 1, 0, 0]) + bytes(64)
    content += pdus.item(0x10, pdus.APPLICATION_CONTEXT.encode())
    content += pdus.item(0x21, bytes([1, 0, 0, 0]) + pdus.item(0x40, b"1.2.840.10008.1.2"))
    return pdus.pdu(pdus.ASSOCIATE_AC, content + pdus.user_information())


_OUT_OF_PLACE = {
    "accept": _acceptance,
    "reject": lambda: _REJECT,
    "release-response": pdus.release_rp,
}


def over(wire: Wire, *, allowed: str = "A-ABORT") -> None:
    """Raise Failed unless an abort or the end of the connection comes next."""
    found = wire.answer()
    is_over = found.startswith(allowed) or found == str(Ended())
    expect(is_over, found=found, expected="A-ABORT or the end of the connection")


def _before(session: Session, data: bytes) -> None:
    """Something else than a request, first of all."""
    with connect(session) as wire:
        wire.send(data)
        over(wire)


def _within(session: Session, data: bytes) -> None:
    """Something that has no place in an association that stands."""
    with associated(session) as (wire, _):
        wire.send(data)
        over(wire)


def _named_before(session: Session, name: str) -> None:
    _before(session, _OUT_OF_PLACE[name]())


def _named_within(session: Session, name: str) -> None:
    _within(session, _OUT_OF_PLACE[name]())


def _second_request(session: Session) -> None:
    _within(session, _request(session))


def _release(session: Session) -> None:
    with associated(session) as (wire, _):
        wire.release()
        expect_equal(wire.answer(), str(Ended()), "after the release:")


def _abort(session: Session) -> None:
    with associated(session) as (wire, _):
        wire.send(pdus.abort())
        expect_equal(wire.answer(), str(Ended()), "after the abort:")
    still_echoes(session)


def _abort_before(session: Session) -> None:
    with connect(session) as wire:
        wire.send(pdus.abort())
        expect_equal(wire.answer(), str(Ended()), "after the abort:")
    still_echoes(session)


def _release_amid_command(session: Session) -> None:
    with associated(session) as (wire, _):
        half = pdus.pdv(1, commands.echo_rq()[:20], is_command=True, is_last=False)
        wire.send(pdus.p_data([half]), pdus.release_rq())
        found = wire.answer()
        is_end = found in ("A-RELEASE-RP", str(Ended())) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected="A-RELEASE-RP, A-ABORT or the end")
    still_echoes(session)


def _abort_amid_command(session: Session) -> None:
    with associated(session) as (wire, _):
        half = pdus.pdv(1, commands.echo_rq()[:20], is_command=True, is_last=False)
        wire.send(pdus.p_data([half]), pdus.abort())
        expect_equal(wire.answer(), str(Ended()), "after the abort:")
    still_echoes(session)


def _data_after_release(session: Session) -> None:
    with associated(session) as (wire, _):
        wire.send(pdus.release_rq(), _ECHO_DATA)
        found = wire.answer()
        is_end = found in ("A-RELEASE-RP", str(Ended())) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected="A-RELEASE-RP, A-ABORT or the end")


def _request_and_data_at_once(session: Session) -> None:
    """Data before the answer to the request: legal for nobody, harmless if it is served."""
    with connect(session) as wire:
        wire.send(_request(session), _ECHO_DATA)
        found = wire.answer()
        is_known = found == "A-ASSOCIATE-AC" or found.startswith("A-ABORT") or found == str(Ended())
        expect(is_known, found=found, expected="A-ASSOCIATE-AC, A-ABORT or the end")


def _context_not_accepted(session: Session) -> None:
    private = Context(3, "1.2.826.0.1.3680043.8.498.999.1", ("1.2.840.10008.1.2",))
    with associated(session, [ECHO, private]) as (wire, _):
        wire.send(pdus.p_data([command_pdv(3, commands.echo_rq())]))
        over(wire)


def _context_unknown(session: Session, context_id: int) -> None:
    with associated(session) as (wire, _):
        wire.send(pdus.p_data([command_pdv(context_id, commands.echo_rq())]))
        over(wire)


CASES = (
    Case("states.release", _SECTION, "A-RELEASE-RQ is answered, and the connection closed",
         _release),
    Case("states.abort", _SECTION, "A-ABORT ends the connection, unanswered", _abort),
    Case("states.abort-first", _SECTION, "A-ABORT before an association ends the connection",
         _abort_before, _HOSTILE),
    *(
        Case(f"states.unknown-{kind:02x}-first", _SECTION,
             "A PDU of an unknown type before an association is aborted",
             partial(_before, data=pdus.pdu(kind, bytes(4))), _HOSTILE)
        for kind in _UNKNOWN_TYPES
    ),
    *(
        Case(f"states.unknown-{kind:02x}-within", _SECTION,
             "A PDU of an unknown type in an association is aborted",
             partial(_within, data=pdus.pdu(kind, bytes(4))), _HOSTILE)
        for kind in _UNKNOWN_TYPES
    ),
    Case("states.data-first", _SECTION, "P-DATA-TF before an association is aborted",
         partial(_before, data=_ECHO_DATA), _HOSTILE),
    Case("states.release-first", _SECTION, "A-RELEASE-RQ before an association is aborted",
         partial(_before, data=pdus.release_rq()), _HOSTILE),
    *(
        Case(f"states.{name}-first", _SECTION,
             "What an acceptor sends is aborted before an association",
             partial(_named_before, name=name), _HOSTILE)
        for name in _OUT_OF_PLACE
    ),
    *(
        Case(f"states.{name}-within", _SECTION, "What an acceptor sends is aborted within one",
             partial(_named_within, name=name), _HOSTILE)
        for name in _OUT_OF_PLACE
    ),
    Case("states.second-request", _SECTION, "A second A-ASSOCIATE-RQ is aborted", _second_request,
         _HOSTILE),
    Case("states.request-and-data", _SECTION, "Data right behind a request does no harm",
         _request_and_data_at_once, _HOSTILE),
    Case("states.release-amid-command", _SECTION, "A release amid a command ends the association",
         _release_amid_command, _HOSTILE),
    Case("states.abort-amid-command", _SECTION, "An abort amid a command ends the association",
         _abort_amid_command, _HOSTILE),
    Case("states.data-after-release", _SECTION, "Data after a release does no harm",
         _data_after_release, _HOSTILE),
    Case("states.context-refused", "PS3.8 9.3.5", "Data in a context that was refused is aborted",
         _context_not_accepted, _HOSTILE),
    *(
        Case(f"states.context-{n}", "PS3.8 9.3.5", "Data in a context never proposed is aborted",
             partial(_context_unknown, context_id=n), _HOSTILE)
        for n in (0, 2, 5, 255)
    ),
)  # fmt: skip
