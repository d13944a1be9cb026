"""A message is the same however it is cut: items, PDUs, segments (PS3.8 Annex E).

Items of an odd length are among them: senders in use make them, though acceptors built with DCMTK
abort such an association.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from conformance.case import Case
from conformance.session import Session
from conformance.verdicts import expect_equal
from conformance.wire import commands, pdus, split
from conformance.wire.connection import ECHO, Wire, associated, command_pdv, connect

_SECTION = "PS3.8 E.2"
_ECHO_RQ = commands.echo_rq()


def _ask(session: Session, parts: Iterable[bytes], pause_s: float = 0.0) -> None:
    with associated(session) as (wire, _):
        for part in parts:
            wire.send(part)
            if pause_s:
                time.sleep(pause_s)
        _is_answered(wire)
        wire.release()


def _is_answered(wire: Wire) -> None:
    expect_equal(commands.number(wire.response(), commands.STATUS), 0, "status")


def _each(session: Session, size: int) -> None:
    _ask(session, split.one_each(split.items(1, _ECHO_RQ, size, is_command=True)))


def _packed(session: Session, size: int, most: int) -> None:
    _ask(session, split.packed(split.items(1, _ECHO_RQ, size, is_command=True), most))


def _segments(session: Session, size: int) -> None:
    whole = pdus.p_data([command_pdv(1, _ECHO_RQ)])
    _ask(session, split.pieces(whole, size), pause_s=0.002)


def _empty_last(session: Session) -> None:
    _ask(session, split.one_each(split.with_empty_last(1, _ECHO_RQ, is_command=True)))


def _empty_first(session: Session) -> None:
    first = pdus.pdv(1, b"", is_command=True, is_last=False)
    _ask(session, [pdus.p_data([first, command_pdv(1, _ECHO_RQ)])])


def _in_turn(session: Session) -> None:
    """Requests one after another on one association, each cut in another way."""
    with associated(session) as (wire, _):
        for size in (1, 50, 7, 68, 3):
            items = split.items(1, _ECHO_RQ, size, is_command=True)
            wire.send(*split.packed(items, 100))
            _is_answered(wire)
        wire.release()


def _request_in_segments(session: Session, size: int) -> None:
    target = session.target
    whole = pdus.associate_rq(called=target.called_ae, calling=target.calling_ae, contexts=[ECHO])
    with connect(session) as wire:
        for part in split.pieces(whole, size):
            wire.send(part)
            time.sleep(0.002)
        wire.accepted()
        wire.release()


CASES = (
    *(
        Case(f"fragments.items-{n}", _SECTION, f"A command in items of {n} bytes is put together",
             partial(_each, size=n))
        for n in (1, 2, 3, 5, 7, 16, 32, 64)
    ),
    *(
        Case(f"fragments.packed-{n}-{most}", "PS3.8 9.3.5",
             f"Items of {n} bytes in PDUs of up to {most} bytes are put together",
             partial(_packed, size=n, most=most))
        for n, most in ((1, 10_000), (2, 30), (8, 40), (20, 10_000))
    ),
    *(
        Case(f"fragments.segments-{n}", "PS3.8 9.1.4", f"TCP segments of {n} bytes are joined",
             partial(_segments, size=n))
        for n in (1, 6, 13)
    ),
    *(
        Case(f"fragments.request-{n}", "PS3.8 9.1.4",
             f"A request in TCP segments of {n} bytes is put together",
             partial(_request_in_segments, size=n))
        for n in (1, 6, 100)
    ),
    Case("fragments.empty-last", _SECTION, "A last fragment may be empty", _empty_last),
    Case("fragments.empty-first", _SECTION, "A first fragment may be empty", _empty_first),
    Case("fragments.in-turn", _SECTION, "Requests cut in different ways follow each other",
         _in_turn),
)  # fmt: skip
