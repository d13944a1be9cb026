"""One connection to the node, used PDU by PDU."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from conformance.session import Session, Target
from conformance.verdicts import Failed
from conformance.wire import commands, pdus
from conformance.wire.commands import EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION
from conformance.wire.pdus import Accepted, Context

ECHO = Context(1, VERIFICATION, (IMPLICIT_VR_LE,))
ECHO_EXPLICIT = Context(1, VERIFICATION, (EXPLICIT_VR_LE,))


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU that came: its type and what follows the length."""

    kind: int
    body: bytes

    def __str__(self) -> str:
        name = pdus.NAMES.get(self.kind, f"PDU of type {self.kind:02X}")
        if self.kind in (pdus.ABORT, pdus.ASSOCIATE_RJ):
            numbers = self.body[2:4] if self.kind == pdus.ABORT else self.body[1:4]
            return f"{name} {'/'.join(map(str, numbers))}"
        return name


class Ended(Exception):
    """The connection is over."""

    def __str__(self) -> str:
        return "the connection closed"


class Silence(Exception):
    """Nothing came in the time given."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing for {seconds:.0f} s")


class Wire:
    """A connected socket, with what has arrived and is not read yet."""

    def __init__(self, sock: socket.socket, patience_s: float) -> None:
        self.socket = sock
        self.patience_s = patience_s
        self._held = b""

    def send(self, *parts: bytes) -> None:
        """Send bytes as they are. Raises Ended."""
        try:
            self.socket.settimeout(self.patience_s)
            self.socket.sendall(b"".join(parts))
        except OSError as error:
            raise Ended from error

    def receive(self, within_s: float | None = None) -> Pdu:
        """The next PDU. Raises Ended or Silence."""
        patience_s = self.patience_s if within_s is None else within_s
        deadline = time.monotonic() + patience_s
        while len(self._held) < 6 or len(self._held) < 6 + self._length():
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self.socket.recv(1 << 16)
            except TimeoutError as error:
                raise Silence(patience_s) from error
            except OSError as error:
                raise Ended from error
            if not more:
                raise Ended
            self._held += more
        end = 6 + self._length()
        found = Pdu(self._held[0], self._held[6:end])
        self._held = self._held[end:]
        return found

    def _length(self) -> int:
        return int.from_bytes(self._held[2:6], "big")

    def answer(self, within_s: float | None = None) -> str:
        """What comes next, in words: a PDU, the end, or nothing."""
        try:
            return str(self.receive(within_s))
        except (Ended, Silence) as end:
            return str(end)

    def associate(
        self, target: Target, contexts: Sequence[Context] = (ECHO,), user: bytes | None = None
    ) -> Accepted:
        """Ask for an association with the titles of the target. Raises Failed."""
        request = pdus.associate_rq(
            called=target.called_ae, calling=target.calling_ae, contexts=contexts, user=user
        )
        self.send(request)
        return self.accepted()

    def accepted(self) -> Accepted:
        """The A-ASSOCIATE-AC that comes next. Raises Failed when something else does."""
        try:
            found = self.receive()
        except (Ended, Silence) as end:
            raise Failed(str(end), "A-ASSOCIATE-AC") from end
        if found.kind != pdus.ASSOCIATE_AC:
            raise Failed(str(found), "A-ASSOCIATE-AC")
        return pdus.read_accepted(found.body)

    def response(self) -> dict[int, bytes]:
        """Elements of the command set that comes next. Raises Failed when something else does."""
        held = b""
        while True:
            try:
                found = self.receive()
            except (Ended, Silence) as end:
                raise Failed(str(end), "a DIMSE response") from end
            if found.kind != pdus.P_DATA:
                raise Failed(str(found), "a DIMSE response")
            rest = found.body
            while rest:
                length = int.from_bytes(rest[:4], "big")
                held += rest[6 : 4 + length]
                if rest[5] & 3 == 3:
                    return commands.read(held)
                rest = rest[4 + length :]

    def echo(self, context_id: int = 1, message_id: int = 1) -> dict[int, bytes]:
        """Send a C-ECHO-RQ in one piece; the response."""
        self.send(pdus.p_data([command_pdv(context_id, commands.echo_rq(message_id))]))
        return self.response()

    def reply(self) -> str:
        """What a request is answered with, in words: a status, A-ABORT, the end, or nothing."""
        try:
            status = commands.number(self.response(), commands.STATUS)
        except Failed as failure:
            return failure.found
        return "no status" if status is None else f"status {status:04X}"

    def release(self) -> None:
        """Release the association. Raises Failed when that is not answered."""
        self.send(pdus.release_rq())
        found = self.answer()
        if found != pdus.NAMES[pdus.RELEASE_RP]:
            raise Failed(found, "A-RELEASE-RP")


def command_pdv(context_id: int, command: bytes) -> bytes:
    """A whole command set in one item."""
    return pdus.pdv(context_id, command, is_command=True, is_last=True)


@contextmanager
def connect(session: Session) -> Iterator[Wire]:
    """A connection to the node, closed at the end whatever happened. Raises OSError."""
    target = session.target
    sock = socket.create_connection((target.host, target.port), timeout=session.patience_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if target.tls is not None:
            sock = target.tls.wrap_socket(sock, server_hostname=target.host)
        yield Wire(sock, session.patience_s)
    finally:
        sock.close()


@contextmanager
def associated(
    session: Session, contexts: Sequence[Context] = (ECHO,), user: bytes | None = None
) -> Iterator[tuple[Wire, Accepted]]:
    """A connection with an association."""
    with connect(session) as wire:
        yield wire, wire.associate(session.target, contexts, user)


def echoes_soon(session: Session, within_s: float = 5.0) -> None:
    """Raise Failed unless a C-ECHO is answered at some time within these seconds."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return still_echoes(session)
        except (Failed, OSError) as failure:
            if time.monotonic() > deadline:
                raise Failed(f"{failure}, still after {within_s:g} s", "C-ECHO answered") from None
        time.sleep(0.1)


def still_echoes(session: Session) -> None:
    """Raise Failed unless a new association is taken and a C-ECHO answered."""
    with associated(session) as (wire, _):
        status = commands.number(wire.echo(), commands.STATUS)
        if status != 0:
            raise Failed(f"C-ECHO answered {status}", "0000")
        wire.release()
