"""What this process works on now, and when it last moved: for whoever ends what hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.ledger.rows import Run

_MUCH_BYTES = 256 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, eq=False)
class Task:
    """One study in work, in one of its stages."""

    run: Run | None
    """None for what is of no one study."""
    doing: str
    """For people: "counting" or "analyzing"."""
    moved_at: float
    began_bytes: int
    """Memory in use when it began."""
    thread: int
    """A task may have others inside; all of one thread."""
    silent: str = ""
    """Text of the job of a silent model, which must cost its study nothing; else empty."""


class Watch:
    """The studies in work; thread-safe. Times are monotonic: nobody can set them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: list[Task] = []

    @contextmanager
    def on(self, run: Run | None, doing: str, silent: str = "") -> Iterator[Callable[[], None]]:
        """Around the work; what it yields is called whenever that got on.

        Inside of another task of this thread it stands for that one too: rounds in which many
        studies are counted get on with each of them, and hang where one of them does.
        """
        thread = threading.get_ident()
        task = Task(run, doing, self._clock(), own_bytes(), thread, silent)
        with self._lock:
            self._tasks.append(task)

        def moved() -> None:
            task.moved_at = self._clock()

        try:
            yield moved
        finally:
            with self._lock:
                self._tasks.remove(task)
                for around in self._tasks:
                    if around.thread == thread:
                        around.moved_at = self._clock()

    def hung(self, after_s: float) -> Task | None:
        """The one that has not moved for the longest time, if that is longer than `after_s`."""
        with self._lock:
            inmost = {task.thread: task for task in self._tasks}.values()
            first = min(inmost, key=lambda task: task.moved_at, default=None)
            return first if first and self._clock() - first.moved_at > after_s else None

    def run_of(self, doing: str) -> Run | None:
        """The attempt that is in that stage; None where none is."""
        with self._lock:
            return next((task.run for task in self._tasks if task.doing == doing), None)

    def costliest(self, used_bytes: int) -> Task | None:
        """The study that so much memory is used for, most likely: the last to begin after whose
        begin much was taken, or else the first."""
        with self._lock:
            tasks = [task for task in self._tasks if task.run is not None]
        grown = [task for task in tasks if used_bytes - task.began_bytes > _MUCH_BYTES]
        return next(iter(grown[-1:] or tasks[:1]), None)


def own_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Memory of this process alone that is really in use; 0 where the system does not tell."""
    try:
        fields = statm.read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
