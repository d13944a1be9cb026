"""What signals do to the processes of a node: stop, read TLS files again, nothing else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT set `stop`; SIGHUP, SIGUSR1 and SIGUSR2 end nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def reloads() -> threading.Event:
    """An event that SIGHUP sets from now on."""
    asked = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: asked.set())
    return asked


@contextmanager
def hangups_held_back() -> Iterator[None]:
    """A child started in here gets a SIGHUP only when it is ready for one; it would die of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
