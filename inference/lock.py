"""One process at a time: the lock of a file, held or not, never something between."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_EVERY_S = 0.5


@contextmanager
def held(
    path: Path,
    *,
    stop: threading.Event | None = None,
    patience_s: float = float("inf"),
    waits: Callable[[str], None] | None = None,
    looks: Callable[[], None] | None = None,
) -> Iterator[bool]:
    """Take the lock of a file for the length of the `with`; yields whether it is held.

    Without `stop` it is taken now or not at all; with it, waited for until `stop` is set, at most
    `patience_s`; `waits` is called once with who holds it, `looks` at every look.
    The lock ends with the process, however that ends; children do not inherit it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_held = _take(fd) or _wait(fd, path, stop, patience_s, waits, looks)
        if is_held:
            with suppress(OSError):  # a full disk; the number is for people only
                os.truncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield is_held
    finally:
        os.close(fd)


def holder(path: Path) -> str:
    """Which process holds the lock of a file, for people: `process 4711`, or "another process"."""
    try:
        text = path.read_text().strip()
    except OSError:
        text = ""
    return f"process {text}" if text.isdecimal() else "another process"


def _wait(
    fd: int,
    path: Path,
    stop: threading.Event | None,
    patience_s: float,
    waits: Callable[[str], None] | None,
    looks: Callable[[], None] | None,
) -> bool:
    if stop is None or patience_s <= 0:
        return False
    if waits is not None:
        waits(holder(path))
    deadline = time.monotonic() + patience_s
    while not stop.wait(_LOOK_EVERY_S):
        if looks is not None:
            looks()
        if _take(fd):
            return True
        if time.monotonic() >= deadline:
            return False
    return False


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
