"""A connection that speaks TLS: the bytes of the socket on one side, those of DICOM on the other.

OpenSSL reads from memory here and not from the socket: from a socket it takes each record in two
calls of its own, which costs a tenth more processor time; and a TLS socket of Python's that was
closed hands out what arrives as it is, encrypted.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import Any

from dicom_node.association.channel import ConnectionLost, reason_of

RECORD_BYTES = 16 << 10
"""Plaintext of a TLS record (RFC 8446 5.1); one read of OpenSSL returns no more."""
_TAKEN_BYTES = 128 << 10


class Session:
    """A TLS object with its two memories and its socket, which does not block. Nothing waits.

    For one thread at a time: Python's TLS objects are not made for more.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """As the server of a connection; nothing is sent or read yet."""
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._unsent = b""

    def take(self, data: bytes | memoryview) -> None:
        """Take in what the socket has given; b"" is the end of the stream."""
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def flush(self) -> bool:
        """Send what TLS has to say; whether all of it is gone. Raises OSError."""
        if self._out.pending:
            self._unsent += self._out.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True

    def notify_close(self) -> None:
        """Say that nothing follows (close_notify), where that is possible at once."""
        with contextlib.suppress(OSError, ValueError):  # the peer's own is not waited for
            self.tls.unwrap()
        with contextlib.suppress(OSError):
            self.flush()


class TlsChannel:
    """A TLS connection after its handshake; each use takes a lock, and none waits inside."""

    def __init__(self, session: Session) -> None:
        session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session = session
        self._socket = session.sock
        self._lock = threading.Lock()
        self._poll = select.poll()  # select(2) fails from descriptor 1024 on
        self._poll.register(self._socket, select.POLLIN)
        self._taken = memoryview(bytearray(_TAKEN_BYTES))
        self._has_more = True  # a record may have come with the handshake

    @property
    def is_open(self) -> bool:
        """Whether no thread of ours has closed the socket."""
        return self._socket.fileno() >= 0

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes were there; 0 when none. Raises ConnectionLost."""
        with self._lock:
            try:
                if not self._has_more:
                    self._take()
                count = self._decrypt(buffer)
                self._session.flush()  # an answer of TLS itself
            except (OSError, ValueError) as error:  # ValueError: closed meanwhile
                raise ConnectionLost(_said(error)) from error
        return count

    def _take(self) -> None:
        try:
            count = self._socket.recv_into(self._taken)
        except BlockingIOError:
            return
        self._session.take(self._taken[:count])
        if count:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _decrypt(self, buffer: memoryview) -> int:
        """Decrypt what fits; an error that comes after good bytes is met again by the next call."""
        count = 0
        self._has_more = True
        while len(buffer) - count >= RECORD_BYTES:
            try:
                # An integer where a buffer is given, whatever typeshed says.
                found: Any = self._session.tls.read(RECORD_BYTES, buffer[count:])
            except ssl.SSLWantReadError:
                self._has_more = False
                break
            except ssl.SSLError:
                if count:
                    break
                raise
            if not found:
                if count:
                    break
                raise ConnectionLost("end of the stream")
            count += found
        return count

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. Raises ConnectionLost, also when the peer does not take it in time."""
        is_written = is_gone = False
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLOUT)
            while True:
                with self._lock:
                    if not is_written:
                        self._session.tls.write(data)  # to memory, all at once
                        is_written = True
                    is_gone = self._session.flush()
                if is_gone:
                    return
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise ConnectionLost("the peer does not read")
        except (OSError, ValueError) as error:
            raise ConnectionLost(_said(error)) from error

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes wait in memory, or bytes or the end of the stream on the socket."""
        return self._has_more or bool(self._poll.poll(timeout_ms))

    def close(self) -> None:
        """Say that nothing follows, and end the connection."""
        with self._lock:
            if self.is_open:
                self._session.notify_close()
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._socket.close()


def _said(error: OSError | ValueError) -> str:
    """The name that OpenSSL gives to what happened, or that of the system."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return reason_of(error)
