"""Heartbeats: a child says through a pipe that it gets on; the supervisor hears when it stops.

A pipe needs no disk. The supervisor counts the seconds in which it ran itself: when the whole
machine stood still, no child is to blame.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

_LONGEST_LOOK_S = 1.0
"""Between two looks of a supervisor that was not stopped itself."""
_BEATS, _WAITS = b".", b"w"


class Heart:
    """The child's end: never blocks and never raises. Without a descriptor nobody listens."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)  # what this process starts must not beat for it

    def beat(self) -> None:
        """The process gets on with its work."""
        self._say(_BEATS)

    def waits(self) -> None:
        """It has not begun yet, and waits for another to end."""
        self._say(_WAITS)

    def _say(self, word: bytes) -> None:
        if self._fd is not None:
            with suppress(OSError):  # full: nobody listens for a while; broken: nobody is left
                os.write(self._fd, word)


NOBODY = Heart()
"""Of a process that was not started by a supervisor."""


class Pulse:
    """The supervisor's end of one child's pipe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read, self.write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._looked_at = clock()
        self.has_begun = False
        """Whether the child has beaten at all."""
        self.silent_s = 0.0
        """Since its last heartbeat, or its start."""

    def given(self) -> None:
        """The child has its end: close it here."""
        os.close(self.write)

    def listen(self) -> None:
        """Hear what came since the last look; call it several times a second."""
        now = self._clock()
        self.silent_s += min(now - self._looked_at, _LONGEST_LOOK_S)
        self._looked_at = now
        with suppress(BlockingIOError):
            while heard := os.read(self._read, 4096):
                self.has_begun = self.has_begun or _BEATS in heard
                self.silent_s = 0.0

    def close(self) -> None:
        """The child is gone."""
        os.close(self._read)
