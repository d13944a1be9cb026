"""One slide at a time: of a closed study as soon as that is free, of an open one when no other is
wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_S = 0.25


class Turns:
    """Who works in this process; thread-safe."""

    def __init__(self) -> None:
        self._work = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a closed study waits: early work ends at its next look."""
        with self._guard:
            return self._waiting > 0

    @contextmanager
    def of_closed(self, moved: Callable[[], None]) -> Iterator[None]:
        """Around the work on a closed study; `moved` is called while it waits for its turn."""
        with self._guard:
            self._waiting += 1
        try:
            while not self._work.acquire(timeout=_LOOK_S):
                moved()
        finally:
            with self._guard:
                self._waiting -= 1
        try:
            yield
        finally:
            self._work.release()

    @contextmanager
    def of_open(self) -> Iterator[bool]:
        """Around the work on an open study: whether it may begin. It never waits."""
        is_mine = not self.is_wanted and self._work.acquire(blocking=False)
        try:
            yield is_mine
        finally:
            if is_mine:
                self._work.release()
