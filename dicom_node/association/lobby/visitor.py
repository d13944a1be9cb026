"""One connection in the lobby: what it has sent so far, and what it waits for."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from dicom_node.association.admission import Caller
from dicom_node.association.channel import Channel, PlainChannel
from dicom_node.association.lobby.proxy import HEADER_BYTES as PROXY_HEADER_BYTES
from dicom_node.association.lobby.proxy import NotProxied, length_of_rest, origin
from dicom_node.association.tls.certificates import PeerCertificate
from dicom_node.association.tls.channel import Session, TlsChannel
from dicom_node.association.tls.contexts import peer_certificate, reason_of
from dicom_node.association.wire import (
    ABORT,
    ABORT_TYPE,
    ASSOCIATE_LIMIT_BYTES,
    ASSOCIATE_RQ,
    HEADER_BYTES,
)

_READ_BYTES = 64 << 10
_TLS_HANDSHAKE = 0x16  # content type of a TLS record (RFC 8446 5.1), no type of a PDU


class Dismissed(Exception):
    """A visitor has to go; `reason`, for the log, is empty where nobody needs to know."""

    def __init__(self, reason: str = "", last_words: bytes = b"", **fields: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.last_words = last_words
        self.fields = fields


@dataclass(eq=False, slots=True)
class Entrant:
    """A connection on which a whole A-ASSOCIATE-RQ has arrived."""

    sock: socket.socket
    host: str
    port: int
    request: bytes
    """The PDU with its header, and what came with it."""
    session: Session | None = None
    """Of TLS, if it is spoken."""
    certificate: PeerCertificate | None = None
    caller: Caller | None = None
    """Who asks, once that is decided on."""

    def channel(self) -> Channel:
        """What carries the association."""
        return PlainChannel(self.sock) if self.session is None else TlsChannel(self.session)


@dataclass(eq=False, slots=True)
class Visitor:
    """A connection that has not asked for an association yet. Nothing here waits."""

    sock: socket.socket
    host: str
    port: int
    deadline: float
    is_proxied: bool
    context: ssl.SSLContext | None = None
    """Of TLS, where its door asks for that."""
    fd: int = field(init=False)
    course: Iterator[int] = field(init=False)
    session: Session | None = None
    accounted: int = 0
    """Bytes of `received` that the lobby has counted."""
    _received: bytearray = field(default_factory=bytearray)
    _awaited: int = 0

    def __post_init__(self) -> None:
        self.fd = self.sock.fileno()

    @property
    def held(self) -> int:
        """Bytes it has sent."""
        return len(self._received)

    def grown(self) -> int:
        """Bytes since it was asked last."""
        more = self.held - self.accounted
        self.accounted = self.held
        return more

    def await_(self, events: int, epoll: select.epoll) -> None:
        """Let epoll report these events of it; none for 0."""
        if events == self._awaited:
            return
        if not events:
            epoll.unregister(self.fd)
        elif self._awaited:
            epoll.modify(self.fd, events)
        else:
            epoll.register(self.fd, events)
        self._awaited = events

    def name_origin(self) -> Iterator[int]:
        """Read the header that a proxy sends first, and take its word for who is there."""
        header = yield from self._exactly(PROXY_HEADER_BYTES)
        try:
            rest = yield from self._exactly(length_of_rest(header))
            found = origin(header, rest)
        except NotProxied:
            raise Dismissed(
                "a connection from proxy_networks must begin with a header of the PROXY protocol, "
                "version 2"
            ) from None
        if found is not None:
            self.host, self.port = str(found.address), found.port

    def _exactly(self, count: int) -> Generator[int, None, bytes]:
        """Read so many bytes and not one more: what follows may be TLS."""
        found = b""
        while len(found) < count:
            found += yield from self._receive(count - len(found))
        return found

    def _receive(self, count: int, flags: int = 0) -> Generator[int, None, bytes]:
        """At most so many bytes, as soon as there are some."""
        while True:
            try:
                piece = self.sock.recv(count, flags)
            except BlockingIOError:
                yield select.EPOLLIN
                continue
            if not piece:
                raise Dismissed
            return piece

    def shake_hands(self) -> Iterator[int]:
        """The TLS handshake, where the door asks for one; a silent peer costs no TLS object."""
        if self.context is None:
            return
        first = yield from self._receive(1, socket.MSG_PEEK)
        if first[0] != _TLS_HANDSHAKE:
            raise Dismissed("it speaks no TLS, and this port speaks nothing else")
        self.session = Session(self.sock, self.context)
        while True:
            try:
                self.session.tls.do_handshake()
            except ssl.SSLWantReadError:
                yield from self._flush(self.session)
                self.session.take((yield from self._receive(_READ_BYTES)))
            except ssl.SSLError as error:
                self.session.flush()  # the alert for the peer
                raise Dismissed(f"the TLS handshake failed: {reason_of(error)}") from None
            else:
                yield from self._flush(self.session)
                return

    def _flush(self, session: Session) -> Iterator[int]:
        while not session.flush():
            yield select.EPOLLOUT

    def ask(self) -> Iterator[int]:
        """Read the association request."""
        while not self._is_whole():
            if self.session is None:
                self._received += yield from self._receive(_READ_BYTES)
                continue
            try:
                piece = self.session.tls.read(_READ_BYTES)
                if not piece:
                    raise Dismissed
                self._received += piece
            except ssl.SSLWantReadError:
                self.session.take((yield from self._receive(_READ_BYTES)))

    def _is_whole(self) -> bool:
        if len(self._received) < HEADER_BYTES:
            return False
        pdu_type = self._received[0]
        length = int.from_bytes(self._received[2:HEADER_BYTES], "big")
        if pdu_type == _TLS_HANDSHAKE:
            raise Dismissed("it speaks TLS, and this port does not")
        if pdu_type == ABORT_TYPE:
            raise Dismissed  # PS3.8 9.2: the connection ends, and an abort is not answered
        if pdu_type != ASSOCIATE_RQ or length > ASSOCIATE_LIMIT_BYTES:
            raise Dismissed(
                f"an A-ASSOCIATE-RQ of at most {ASSOCIATE_LIMIT_BYTES} bytes expected",
                ABORT,
                pdu_type=pdu_type,
                length=length,
            )
        return len(self._received) >= HEADER_BYTES + length

    def entrant(self) -> Entrant:
        """The connection with the request."""
        certificate = None if self.session is None else peer_certificate(self.session.tls)
        request = bytes(self._received)
        return Entrant(self.sock, self.host, self.port, request, self.session, certificate)

    def hear(self, answer: bytes) -> Iterator[int]:
        """Send an answer, and wait for the peer to close: a socket that is closed over bytes not
        read takes the answer back."""
        self._say(answer)
        if self.session is not None:
            self.session.notify_close()
        self.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(Dismissed):
            while True:  # what comes now is not looked at, TLS or not
                yield from self._receive(_READ_BYTES)

    def _say(self, words: bytes) -> None:
        if self.session is None:
            self.sock.send(words)
        else:
            self.session.tls.write(words)
            self.session.flush()

    def leave(self, last_words: bytes = b"") -> None:
        """Close the connection, with a word where it can be said at once."""
        with contextlib.suppress(OSError):
            if last_words:
                self._say(last_words)
            if self.session is not None:
                self.session.notify_close()
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
