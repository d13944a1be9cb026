"""Peers that mean no good: others are answered all the same, and they are let go (PS3.8 9.1.5)."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from conformance.case import Case, Need
from conformance.session import Session
from conformance.verdicts import expect
from conformance.wire import commands, pdus
from conformance.wire.connection import (
    ECHO,
    Ended,
    Silence,
    associated,
    command_pdv,
    connect,
    still_echoes,
)

_HOSTILE = frozenset({Need.HOSTILE})
_SECTION = "PS3.8 9.1.5"
_CROWD = 50
_SOON_S = 3.0
"""In this time somebody else is answered while a crowd is there."""
_LET_GO_S = 40.0
"""In this time a connection that says nothing is closed (ARTIM timer)."""
_HELLO = (
    bytes.fromhex("16030100330100002f0303")
    + bytes(32)
    + bytes.fromhex("00000213010100000400000000")
)


def _request(session: Session) -> bytes:
    target = session.target
    return pdus.associate_rq(called=target.called_ae, calling=target.calling_ae, contexts=[ECHO])


@contextmanager
def _crowd(session: Session, first: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have said so much and say no more."""
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(_CROWD):
            sock = stack.enter_context(
                socket.create_connection(
                    (session.target.host, session.target.port), session.patience_s
                )
            )
            with contextlib.suppress(OSError):  # closed already: that is no harm
                sock.sendall(first)
            crowd.append(sock)
        yield crowd


def _others_are_answered(session: Session, first: bytes) -> None:
    with _crowd(session, first):
        began = time.monotonic()
        still_echoes(session)
        took = time.monotonic() - began
        expect(took < _SOON_S, found=f"an answer after {took:.1f} s", expected=f"< {_SOON_S:g} s")


def _is_let_go(session: Session, first: bytes) -> None:
    with connect(session) as wire:
        wire.send(first)
        found = wire.answer(_LET_GO_S)
        is_end = found == str(Ended()) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected=f"the end within {_LET_GO_S:.0f} s")


def _dripping(session: Session) -> None:
    """A request, a byte a second: over before it could ever be whole."""
    with connect(session) as wire:
        deadline = time.monotonic() + _LET_GO_S
        for byte in _request(session):
            try:
                wire.send(bytes([byte]))
                wire.receive(1.0)
            except Silence:
                pass
            except Ended:
                return
            expect(time.monotonic() < deadline, found="still open", expected="an end")


def _ended_at_once(session: Session, data: bytes) -> None:
    with connect(session) as wire:
        began = time.monotonic()
        wire.send(data)
        found = wire.answer()
        took = time.monotonic() - began
        is_end = found == str(Ended()) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected="A-ABORT or the end")
        expect(took < _SOON_S, found=f"after {took:.1f} s", expected="before more is sent")


def _endless_within(session: Session) -> None:
    with associated(session) as (wire, _):
        wire.send(struct.pack(">BBL", pdus.P_DATA, 0, 0xFFFFFFFF))
        found = wire.answer()
        is_end = found == str(Ended()) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected="A-ABORT or the end")


def _come_and_go(session: Session) -> None:
    for _ in range(200):
        socket.create_connection(
            (session.target.host, session.target.port), session.patience_s
        ).close()


def _resets(session: Session) -> None:
    """Connections that end with a reset in the middle of a request."""
    linger = struct.pack("ii", 1, 0)
    for _ in range(50):
        with connect(session) as wire:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            wire.send(_request(session)[:100])


def _noise(session: Session) -> None:
    rng = random.Random(1)
    for _ in range(30):
        with connect(session) as wire, contextlib.suppress(Ended, OSError):
            wire.send(rng.randbytes(rng.randrange(1, 4_000)))
            wire.socket.shutdown(socket.SHUT_WR)
            wire.answer()


def _mutated(session: Session) -> None:
    """Requests with some bytes changed: any answer will do, if others get theirs."""
    rng = random.Random(2)
    for _ in range(60):
        request = bytearray(_request(session))
        for _ in range(rng.randrange(1, 4)):
            request[rng.randrange(6, len(request))] = rng.randrange(256)
        with connect(session) as wire, contextlib.suppress(Ended, OSError):
            wire.send(bytes(request))
            wire.socket.shutdown(socket.SHUT_WR)
            wire.answer()


def _never_reads(session: Session) -> None:
    """Requests without end from a peer that takes no answer."""
    data = pdus.p_data([command_pdv(1, commands.echo_rq())]) * 50
    with associated(session) as (wire, _):
        wire.socket.settimeout(1.0)
        with contextlib.suppress(OSError):
            for _ in range(100):
                wire.socket.sendall(data)
        still_echoes(session)


def _message_without_end(session: Session) -> None:
    """A command set that goes on and on."""
    part = pdus.p_data([pdus.pdv(1, bytes(8_000), is_command=True, is_last=False)])
    with associated(session) as (wire, _):
        with contextlib.suppress(Ended):
            for _ in range(4_000):
                wire.send(part)
        found = wire.answer()
        is_end = found == str(Ended()) or found.startswith("A-ABORT")
        expect(is_end, found=found, expected="A-ABORT or the end")


_FIRST_WORDS = {
    "silent": b"",
    "one-byte": b"\x01",
    "header": struct.pack(">BBL", pdus.ASSOCIATE_RQ, 0, 200),
}
_NO_DICOM = {
    "http": b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    "tls": _HELLO,
    "4-gib-request": struct.pack(">BBL", pdus.ASSOCIATE_RQ, 0, 0xFFFFFFFF),
    "4-gib-data": struct.pack(">BBL", pdus.P_DATA, 0, 0xFFFFFFFF),
    "64-mib-request": struct.pack(">BBL", pdus.ASSOCIATE_RQ, 0, 64 << 20),
}

CASES = (
    *(
        Case(f"hostile.crowd-{name}", _SECTION,
             f"{_CROWD} connections ({name}) keep nobody from an answer",
             partial(_others_are_answered, first=first), _HOSTILE)
        for name, first in _FIRST_WORDS.items()
    ),
    *(
        Case(f"hostile.let-go-{name}", _SECTION, f"A connection ({name}) is closed in the end",
             partial(_is_let_go, first=first), _HOSTILE)
        for name, first in _FIRST_WORDS.items()
    ),
    Case("hostile.dripping", _SECTION, "A request of a byte a second is given up", _dripping,
         _HOSTILE),
    *(
        Case(f"hostile.{name}", "PS3.8 9.3.1", f"What is no request ({name}) is ended at once",
             partial(_ended_at_once, data=data), _HOSTILE)
        for name, data in _NO_DICOM.items()
    ),
    Case("hostile.endless-data", "PS3.8 9.3.5", "A PDU of 4 GiB in an association ends it",
         _endless_within, _HOSTILE),
    Case("hostile.come-and-go", _SECTION, "200 connections that close at once cost nothing",
         _come_and_go, _HOSTILE),
    Case("hostile.resets", _SECTION, "Connections that are reset cost nothing", _resets, _HOSTILE),
    Case("hostile.noise", "PS3.8 9.3.1", "Random bytes harm nobody", _noise, _HOSTILE),
    Case("hostile.mutated", "PS3.8 9.3.2", "Requests with changed bytes harm nobody", _mutated,
         _HOSTILE),
    Case("hostile.never-reads", _SECTION, "A peer that reads no answer harms nobody", _never_reads,
         _HOSTILE),
    Case("hostile.endless-command", "PS3.7 6.3", "A command set without end is cut off",
         _message_without_end, _HOSTILE),
)  # fmt: skip
