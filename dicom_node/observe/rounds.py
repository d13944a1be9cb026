"""Threads that go round until they are asked to stop, and which of them get on no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Rounds(threading.Event):
    """The `stop` of threads that go round. It notes when each of them has asked last.

    A thread is known, by its name, from its first `wait` on. It gets on as long as it asks: by
    `wait` between two rounds, by `is_set` in the middle of one. One that hangs asks no more, nor
    does one that has ended. Times are monotonic: nobody can set them.
    """

    def __init__(
        self, asked: threading.Event | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """With `asked`, it is set when that is."""
        super().__init__()
        self._asked = asked or threading.Event()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_at: dict[str, float] = {}

    def is_set(self) -> bool:
        """Whether to stop."""
        self._note(0.0, is_between=False)
        return self._asked.is_set()

    def set(self) -> None:
        """Ask all to stop."""
        self._asked.set()

    def clear(self) -> None:
        """Ask no longer."""
        self._asked.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Rest between two rounds; whether to stop."""
        self._note(timeout or 0.0)  # who rests does not hang
        try:
            return self._asked.wait(timeout)
        finally:
            self._note(0.0)

    def silent(self, patience_s: Callable[[str], float]) -> dict[str, float]:
        """Threads that have not asked for longer than the patience with them, and for how long, in
        seconds; whoever rests is not silent."""
        now = self._clock()
        with self._lock:
            silent_s = {name: now - at for name, at in self._seen_at.items()}
        return {name: s for name, s in silent_s.items() if s > patience_s(name)}

    def _note(self, rests_s: float, *, is_between: bool = True) -> None:
        name = threading.current_thread().name
        with self._lock:
            if is_between or name in self._seen_at:
                self._seen_at[name] = self._clock() + rests_s
