"""Where the log goes: a stream that never raises, and that nobody waits for."""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

_PATIENCE_S = 1.0
"""With a reader that is only slow. After that lines are lost, without waiting, until it reads."""


class Unfailing:
    """A text stream whose writes neither raise nor wait for long: a log on a full disk, or in a
    pipe that nobody reads, must not end or hold up the work. What cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._put = self._without_waiting(stream)
        self._is_full = False
        self._is_cut = False
        self._lost = self._told = 0

    def write(self, text: str) -> int:
        """Write one line, as far as that can be done."""
        if self._put is None:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):  # ValueError: closed
                return 0
        with self._lock:
            return len(text) if self._write(self._put, text.encode(errors="replace")) else 0

    def flush(self) -> None:
        """Flush, if that is possible now."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def isatty(self) -> bool:
        """Whether people read it."""
        return self._stream.isatty()

    def tell_lost(
        self, _logger: Any, _name: str, event: MutableMapping[str, Any]
    ) -> Mapping[str, Any]:
        """Processor: how many lines were lost since the start, in a line after some were."""
        return {**event, "log_lines_lost": self._lost} if self._lost > self._told else event

    def _without_waiting(self, stream: TextIO) -> Callable[[bytes], int] | None:
        """What writes to a pipe or a socket at once or raises BlockingIOError; None for a file or a
        terminal. Others hold the same end: how it is opened is left as it is."""
        try:
            fd = stream.fileno()
            mode = os.fstat(fd).st_mode
            if stat.S_ISFIFO(mode):
                own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self._poll.register(own, select.POLLOUT)
                return lambda data: os.write(own, data)
            if stat.S_ISSOCK(mode):
                sock = socket.socket(fileno=os.dup(fd))
                self._poll.register(sock, select.POLLOUT)
                return lambda data: sock.send(data, socket.MSG_DONTWAIT)
        except (OSError, ValueError):  # a pipe of another user, say
            return None
        return None

    def _write(self, put: Callable[[bytes], int], line: bytes) -> bool:
        rest = b"\n" + line if self._is_cut else line
        length, until = len(rest), time.monotonic() + (0 if self._is_full else _PATIENCE_S)
        while rest:
            try:
                rest = rest[put(rest) :]
            except BlockingIOError:
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._poll.poll(left_s * 1000):
                    break
            except (OSError, ValueError):
                break
        is_whole = not rest
        self._is_full = not is_whole
        self._is_cut = not is_whole and (self._is_cut or len(rest) < length)
        if is_whole:
            self._told = self._lost
        else:
            self._lost += 1
        return is_whole
