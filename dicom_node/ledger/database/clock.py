"""The ledger's clocks: one for all that share a database, and none that a set clock can move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ASK_AGAIN_S = 10.0


def since_boot() -> float:
    """Seconds since the host started, sleep included; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names this start of the host: `since_boot` compares only where it is the same."""
    return _BOOT_ID.read_text().strip()


class HostClock:
    """Seconds since 1970 as they were at the anchor, then as the host has counted them."""

    def __init__(self, anchor: float) -> None:
        """`anchor` is what 1970 is behind the start of the host."""
        self._anchor = anchor

    def __call__(self) -> float:
        """Now."""
        return self._anchor + since_boot()


class ServerClock:
    """The clock of a database server, asked now and then and counted on in between.

    What it is built with asks the server, and may fail: only where nothing was known yet does the
    caller see that.
    """

    def __init__(self, ask: Callable[[], float], failures: type[Exception]) -> None:
        self._ask = ask
        self._failures = failures
        self._lock = threading.Lock()
        self._ahead: float | None = None
        self._asked_at = 0.0

    def __call__(self) -> float:
        """Now, as the server has it."""
        with self._lock:
            at = since_boot()
            if self._ahead is None or at - self._asked_at > _ASK_AGAIN_S:
                self._look(at)
            return since_boot() + (self._ahead or 0.0)

    def _look(self, at: float) -> None:
        try:
            self._ahead = self._ask() - since_boot()
        except self._failures:
            if self._ahead is None:
                raise
        self._asked_at = at
