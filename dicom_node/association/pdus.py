"""PDUs of one connection, read in large pieces through one buffer of fixed size."""

from __future__ import annotations

import time

from dicom_node.association.channel import Channel
from dicom_node.association.wire import HEADER_BYTES

CAPACITY_BYTES = 512 << 10


class PduStream:
    """Bytes received and not used yet. Nothing here waits, except `readable`.

    One receive call takes whatever has arrived, often many PDUs: with a call for each of them the
    threads of the process spend their time handing the interpreter lock to each other.
    """

    def __init__(self, channel: Channel, first: bytes = b"") -> None:
        """A stream that goes on after `first`, which was received before and fits the buffer."""
        self._channel = channel
        self._buffer = memoryview(bytearray(CAPACITY_BYTES))
        self._buffer[: len(first)] = first
        self._start = 0
        self._end = len(first)
        self._since = time.monotonic()

    def header(self) -> tuple[int, int] | None:
        """Type and length of the next PDU, or None while they have not arrived."""
        start = self._start
        if self._end - start < HEADER_BYTES:
            return None
        return self._buffer[start], int.from_bytes(self._buffer[start + 2 : start + 6], "big")

    def has(self, length: int) -> bool:
        """Whether the next PDU, of this length, has arrived as a whole."""
        return self._end - self._start >= HEADER_BYTES + length

    def whole(self) -> bool:
        """Whether the next PDU has arrived as a whole, or never will: it does not fit."""
        header = self.header()
        return header is not None and (
            self.has(header[1]) or header[1] > CAPACITY_BYTES - HEADER_BYTES
        )

    def peek(self, length: int) -> memoryview:
        """The next PDU, of this length, with its header: a view that `receive` makes invalid."""
        return self._buffer[self._start : self._start + HEADER_BYTES + length]

    def skip(self, length: int) -> None:
        """Be done with the next PDU, of this length."""
        self._start += HEADER_BYTES + length
        self._since = time.monotonic()

    def receive(self) -> bool:
        """Take in what has arrived; False when nothing has. Raises ConnectionLost."""
        kept = self._end - self._start
        if not kept:
            self._start = self._end = 0
            self._since = time.monotonic()
        elif CAPACITY_BYTES - self._end < CAPACITY_BYTES // 4:
            self._buffer[:kept] = self._buffer[self._start : self._end]
            self._start, self._end = 0, kept
        count = self._channel.receive_into(self._buffer[self._end :])
        self._end += count
        return count > 0

    def readable(self, timeout_ms: int) -> bool:
        """Whether bytes, or the end of the stream, wait on the channel."""
        return self._channel.readable(timeout_ms)

    def overdue(self, patience_s: float) -> bool:
        """Whether a PDU began to arrive more than `patience_s` ago and is still not complete."""
        return self._end > self._start and time.monotonic() - self._since > patience_s
