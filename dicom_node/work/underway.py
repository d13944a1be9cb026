"""Which workflows run in this process now.

The workflow library keeps that in the database, where a full disk leaves a workflow "pending" that
has ended: its outcome could not be written, and nobody would ever go on with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.ledger.errors import LedgerBusy
from dicom_node.ledger.rows import Run

_GRACE_S = 3.0
"""Between "pending" in the database and a thread that runs it, and between that thread's end and
the outcome in the database, a moment passes."""


class Underway:
    """Workflows by id, from the first line of theirs to the last; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._unwritten: set[str] = set()
        self._missing_since: dict[str, float] = {}

    @contextmanager
    def run(self, workflow_id: str) -> Iterator[None]:
        """Around the body of a workflow."""
        with self._lock:
            self._running.add(workflow_id)
            self._unwritten.discard(workflow_id)
        try:
            yield
        except (OperationalError, InterfaceError, NoConnectionFree, LedgerBusy):
            with self._lock:
                self._unwritten.add(workflow_id)
            raise
        finally:
            with self._lock:
                self._running.discard(workflow_id)

    def is_lost(self, workflow_id: str) -> bool:
        """Whether a workflow that the database calls pending has not been running for a while."""
        with self._lock:
            if workflow_id in self._running:
                self._missing_since.pop(workflow_id, None)
                return False
            since = self._missing_since.setdefault(workflow_id, self._clock())
            if self._clock() - since < _GRACE_S:
                return False
            del self._missing_since[workflow_id]
            return True

    def was_unwritten(self, workflow_id: str) -> bool:
        """Whether it ended because the database could not be written."""
        with self._lock:
            return workflow_id in self._unwritten

    def any(self) -> bool:
        """Whether any workflow runs now."""
        with self._lock:
            return bool(self._running)


def workflow_id(run: Run) -> str:
    """Name of the workflow of one attempt."""
    return f"{run.study}/{run.revision}/{run.attempt}"


def run_of(name: str) -> Run | None:
    """The attempt that a workflow is of; None for a workflow of another kind."""
    study, *numbers = name.split("/")
    if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
        return None
    return Run(study, int(numbers[0]), int(numbers[1]))
