"""The bytes of one connection, whatever carries them."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import Protocol

RECORD_BYTES = 16 << 10
"""Plaintext of a TLS record (RFC 8446 5.1); one read of OpenSSL returns no more."""


class ConnectionLost(Exception):
    """The stream ended or failed."""


class Channel(Protocol):
    """A connection that never waits, except where a time is given."""

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed on our side."""

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes were there and are now in `buffer`; 0 when none have arrived.

        Raises ConnectionLost, also at the end of the stream.
        """

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it until a time of `time.monotonic`. Raises ConnectionLost."""

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes, or the end of the stream, wait to be received."""

    def close(self) -> None:
        """End the connection; from any thread, any number of times."""


class PlainChannel:
    """A TCP connection as it is."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._poll = select.poll()  # select(2) fails from descriptor 1024 on
        self._poll.register(sock, select.POLLIN)

    @property
    def is_open(self) -> bool:
        """Whether no thread of ours has closed the socket."""
        return self._socket.fileno() >= 0

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes were there; 0 when none. Raises ConnectionLost."""
        try:
            count = self._socket.recv_into(buffer)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not count:
            raise ConnectionLost("end of the stream")
        # Acknowledge at once: a sender with a small buffer waits for it, and would wait 40 ms. The
        # kernel forgets the option by itself.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. Raises ConnectionLost, also when the peer does not take it in time."""
        rest = memoryview(data)
        try:
            while rest:
                _wait(self._socket, select.POLLOUT, deadline)
                rest = rest[self._socket.send(rest) :]
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            raise ConnectionLost(str(error)) from error

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes, or the end of the stream, wait on the socket."""
        return bool(self._poll.poll(timeout_ms))

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class TlsChannel:
    """A TLS connection after its handshake.

    Python's TLS objects must not be used by two threads at a time, and one that was closed hands
    out what arrives as it is, encrypted: each use takes a lock, and none of them waits inside.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @property
    def is_open(self) -> bool:
        """Whether no thread of ours has closed the socket."""
        return self._socket.fileno() >= 0

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes were there; 0 when none. Raises ConnectionLost."""
        count = 0
        with self._lock:
            try:
                while len(buffer) - count >= RECORD_BYTES:
                    found = self._socket.recv_into(buffer[count:]) if self.is_open else 0
                    if not found:
                        raise ConnectionLost("end of the stream")
                    count += found
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except (OSError, ConnectionLost) as error:
                if not count:  # else it is seen again by who reads next
                    raise ConnectionLost(_said(error)) from error
            if count:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. Raises ConnectionLost, also when the peer does not take it in time."""
        rest = memoryview(data)
        try:
            while rest:
                wanted = 0
                with self._lock:
                    if not self.is_open:
                        raise ConnectionLost("closed")
                    try:
                        rest = rest[self._socket.send(rest) :]
                    except ssl.SSLWantReadError:
                        wanted = select.POLLIN
                    except ssl.SSLWantWriteError:
                        wanted = select.POLLOUT
                if wanted:
                    _wait(self._socket, wanted, deadline)
        except (OSError, ValueError) as error:
            raise ConnectionLost(_said(error)) from error

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes wait in the TLS object, or bytes or the end of the stream on the socket."""
        with self._lock:
            if self.is_open and self._socket.pending():
                return True
        return bool(self._poll.poll(timeout_ms))

    def close(self) -> None:
        """Say that nothing follows (close_notify), and end the connection."""
        with self._lock:
            farewell(self._socket)


def farewell(sock: ssl.SSLSocket) -> None:
    """Send close_notify where that is possible at once, and close the socket."""
    if sock.fileno() < 0:
        return
    with contextlib.suppress(OSError, ValueError):  # the peer's own is not waited for
        sock.setblocking(False)
        sock.unwrap()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _wait(sock: socket.socket, wanted: int, deadline: float) -> None:
    """Wait until a socket is ready for it. Raises ConnectionLost when the time is over."""
    poll = select.poll()
    poll.register(sock, wanted)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise ConnectionLost("the peer does not read")


def _said(error: Exception) -> str:
    """The name that OpenSSL gives to what happened, or what the system says."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return str(error)
