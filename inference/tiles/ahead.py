"""The plan of the next slide, made while one is encoded.

Opening a slide and finding its tissue takes one core, and other cores would idle. At most one slide
is planned ahead, so that what is held is one slide more, however many a study has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

from inference.errors import Stopped, never
from inference.tiles.planned import Asked, Planned, plan_slide

_LOOK_EVERY_S = 0.1
_State = tuple[int, int, int]


class Ahead:
    """Plans the slide that is expected on one thread of its own; thread-safe.

    A slide opens through it as it does without, bit for bit. What goes wrong ahead is not kept:
    that slide is planned anew when its turn comes, and then says what is wrong.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1, "ahead")  # a thread begins with the first plan
        self._expected: Asked | None = None
        self._making: _Making | None = None

    def expect(self, asked: Asked | None) -> None:
        """The slide that follows the one that is opened next; None where none is known."""
        with self._lock:
            self._expected = asked

    @contextmanager
    def opened(self, asked: Asked, stop: Callable[[], bool] = never) -> Iterator[Planned]:
        """A slide and its plan, made ahead or now; while it is in use the expected one is planned.

        Raises what `plan_slide` does. Nothing is planned any more when somebody has stopped that.
        """
        try:
            with self._take(asked, stop) or plan_slide(asked, stop) as planned:
                self._begin()
                yield planned
        except Stopped:
            self.drop()
            raise

    def drop(self) -> None:
        """Expect nothing and keep nothing: a plan in the making ends at its next look."""
        with self._lock:
            self._expected = None
            if self._making is not None:
                self._making.drop()

    def close(self) -> None:
        """The same for good, and wait until its thread has ended."""
        self.drop()
        self._pool.shutdown()

    def _take(self, asked: Asked, stop: Callable[[], bool]) -> Planned | None:
        """The plan of a slide, if it was made ahead of files that have not changed since."""
        with self._lock:
            making = self._making
            if making is None:
                return None
            if making.asked != asked:
                if making.asked != self._expected:
                    making.drop()
                return None
            self._making = None
        return making.take(stop)

    def _begin(self) -> None:
        with self._lock:
            expected, self._expected = self._expected, None
            if expected is None:
                return
            if self._making is not None and not self._making.is_over:
                return  # it is this one, or one that was dropped and has not ended yet
            self._making = _Making(expected, self._pool)


class _Making:
    """One plan ahead, from its begin until somebody takes it or it is dropped."""

    def __init__(self, asked: Asked, pool: ThreadPoolExecutor) -> None:
        self.asked = asked
        self._dropped = Event()
        self._states = _states(asked)
        self._plan: Future[Planned] = pool.submit(plan_slide, asked, self._dropped.is_set)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is held any more."""
        return self._dropped.is_set() and self._plan.done()

    def take(self, stop: Callable[[], bool]) -> Planned | None:
        """The plan as soon as it is made; None where that failed, or a file is another since.

        Raises Stopped when `stop` says so.
        """
        while not wait([self._plan], _LOOK_EVERY_S).done:
            if stop():
                self.drop()  # nobody else knows of it any more
                raise Stopped("stopped while the slide was planned")
        if self._plan.exception() is not None:
            return None
        if self._states is None or self._states != _states(self.asked):
            self.drop()
            return None
        return self._plan.result()

    def drop(self) -> None:
        """End it, and close the slide as soon as that is done."""
        if not self._dropped.is_set():
            self._dropped.set()
            self._plan.add_done_callback(_close)


def _close(plan: Future[Planned]) -> None:
    if not plan.cancelled() and plan.exception() is None:
        plan.result().close()


def _states(asked: Asked) -> list[_State] | None:
    """What tells a file from one that was put in its place; None where one cannot be asked."""
    try:
        return [_state(path) for path in asked.paths]
    except OSError:
        return None


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
