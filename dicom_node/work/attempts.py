"""What an attempt at a study does between two tiles: it tells how far it is, waits, and stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dicom_node.ledger.errors import LedgerBusy
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.ledger.switches import ANALYSIS
from inference.types import Progress

log = structlog.get_logger()

_PROGRESS_EVERY_S = 1.0
_LOOK_EVERY_S = 0.5


class AttemptOver(Exception):
    """Somebody has ended the attempt: a cancellation, or a later one. Nothing is to be reported."""


class StopAsked:
    """Called between tiles: whether the slide under analysis has to stop.

    It has to when the process ends, and when the attempt is no longer the one to act.
    """

    def __init__(self, ledger: WorkerLedger, run: Run, stop: threading.Event) -> None:
        self._ledger = ledger
        self._run = run
        self._stop = stop
        self._looked_at = time.monotonic()
        self._is_over = False

    def __call__(self) -> bool:
        if self._stop.is_set():
            return True
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            try:
                self._is_over = not self._ledger.queries.is_current(self._run, State.ANALYZING)
            except LedgerBusy as error:  # it goes on as long as nobody says otherwise
                log.warning("ledger_busy", error=str(error))
        return self._is_over


def wait_while_paused(
    ledger: WorkerLedger, run: Run, state: State, stop: threading.Event, moved: Callable[[], None]
) -> bool:
    """Wait for `resume` where analysis is paused; False when the process has to end first.

    `moved` is called while it waits: an attempt that waits for an operator does not hang.
    """
    is_said = False
    while ledger.switches.is_paused(ANALYSIS) and ledger.queries.is_current(run, state):
        if not is_said:
            log.info("analysis_paused", study=run.study)
            is_said = True
        moved()
        if stop.wait(_LOOK_EVERY_S):
            return False
    return True


def reporter(
    ledger: WorkerLedger, run: Run, key: str, moved: Callable[[], None]
) -> Callable[[Progress], None]:
    """Writes progress to the ledger at most once a second, and when a slide is done."""
    last = -_PROGRESS_EVERY_S

    def report(progress: Progress) -> None:
        nonlocal last
        moved()
        if progress.tiles_kept and last < 0:
            log.info("slide_resumed", slide=key, tiles_kept=progress.tiles_kept)
        done = progress.tiles_done == progress.tiles_total
        if progress.elapsed_s - last < _PROGRESS_EVERY_S and not done:
            return
        last = progress.elapsed_s
        try:
            ledger.studies.note_progress(
                run, key, progress.tiles_done, progress.tiles_total, progress.tiles_per_s
            )
        except LedgerBusy as error:  # what people see is a second older: no reason to stop
            log.warning("ledger_busy", error=str(error))

    return report
