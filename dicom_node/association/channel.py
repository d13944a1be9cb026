"""The bytes of one connection, whatever carries them."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Protocol

from dicom_node.observe.log import os_reason


class ConnectionLost(Exception):
    """The stream ended or failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """In our words, or by the system's name for the error: it is logged."""


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
            raise ConnectionLost(reason_of(error)) from error
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
        except (OSError, ValueError) as error:
            raise ConnectionLost(reason_of(error)) from error

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes, or the end of the stream, wait on the socket."""
        return bool(self._poll.poll(timeout_ms))

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def reason_of(error: OSError | ValueError) -> str:
    """Why a socket cannot be used, without the text of the error."""
    if isinstance(error, OSError):
        return os_reason(error)
    return "closed by another thread"  # its descriptor is -1, which poll refuses


def _wait(sock: socket.socket, wanted: int, deadline: float) -> None:
    """Wait until a socket is ready for it. Raises ConnectionLost when the time is over."""
    poll = select.poll()
    poll.register(sock, wanted)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise ConnectionLost("the peer does not read")
