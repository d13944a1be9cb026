"""One connection in the lobby: what it has sent so far, and what it waits for."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from dicom_node.association.admission import Caller
from dicom_node.association.certificates import PeerCertificate
from dicom_node.association.channel import Channel, PlainChannel, TlsChannel, farewell
from dicom_node.association.lobby.proxy import HEADER_BYTES as PROXY_HEADER_BYTES
from dicom_node.association.lobby.proxy import NotProxied, length_of_rest, origin
from dicom_node.association.tls import peer_certificate, reason_of
from dicom_node.association.wire import (
    ABORT,
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
    certificate: PeerCertificate | None = None
    caller: Caller | None = None
    """Who asks, once that is decided on."""

    def channel(self) -> Channel:
        """What carries the association."""
        if isinstance(self.sock, ssl.SSLSocket):
            return TlsChannel(self.sock)
        return PlainChannel(self.sock)


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
                # A socket of TLS takes no flags.
                piece = self.sock.recv(count, flags) if flags else self.sock.recv(count)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield select.EPOLLIN
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT
            else:
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
        secured = self.context.wrap_socket(
            self.sock, server_side=True, do_handshake_on_connect=False
        )
        self.sock = secured
        while True:
            try:
                secured.do_handshake()
                return
            except ssl.SSLWantReadError:
                yield select.EPOLLIN
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT
            except ssl.SSLEOFError:
                raise Dismissed from None
            except ssl.SSLError as error:  # the peer has got its alert
                raise Dismissed(f"the TLS handshake failed: {reason_of(error)}") from None

    def ask(self) -> Iterator[int]:
        """Read the association request."""
        while not self._is_whole():
            self._received += yield from self._receive(_READ_BYTES)

    def _is_whole(self) -> bool:
        if len(self._received) < HEADER_BYTES:
            return False
        pdu_type = self._received[0]
        length = int.from_bytes(self._received[2:HEADER_BYTES], "big")
        if pdu_type == _TLS_HANDSHAKE:
            raise Dismissed("it speaks TLS, and this port does not")
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
        certificate = None
        if isinstance(self.sock, ssl.SSLSocket):
            certificate = peer_certificate(self.sock)
        return Entrant(self.sock, self.host, self.port, bytes(self._received), certificate)

    def hear(self, answer: bytes) -> Iterator[int]:
        """Send an answer, and wait for the peer to close: a socket that is closed over bytes not
        read takes the answer back."""
        self.sock.send(answer)
        if isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # the peer's own close_notify is not waited for
                self.sock.unwrap()
        self.sock.shutdown(socket.SHUT_WR)  # ends TLS too: what comes now is not looked at
        with contextlib.suppress(Dismissed):
            while True:
                yield from self._receive(_READ_BYTES)

    def leave(self, last_words: bytes = b"") -> None:
        """Close the connection, with a word where it can be said at once."""
        with contextlib.suppress(OSError):
            if last_words:
                self.sock.send(last_words)
        if isinstance(self.sock, ssl.SSLSocket):
            farewell(self.sock)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
