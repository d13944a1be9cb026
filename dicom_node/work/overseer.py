"""Ends a study that costs too much: a stage without progress, or more memory than there is.

A thread that hangs in a library cannot be ended, only its process can: the study is parked with the
reason first, and the next worker goes on with the others. A silent model is set aside instead, and
its study goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.states import State
from dicom_node.study.closing import park_uncounted
from dicom_node.work.early import deaths
from dicom_node.work.interruptions import ANALYZING, set_aside
from dicom_node.work.watch import Task, Watch, own_bytes

log = structlog.get_logger()

_LOOK_S = 0.25
_MB = 1024 * 1024
_MOST_TRIES = 20
"""To park a study whose time is up, half a second apart; the process ends in any case."""


class Overseer(threading.Thread):
    """Watches one worker from the first round on, and beats for it as long as it gets on."""

    def __init__(
        self,
        watch: Watch,
        ledger: WorkerLedger,
        *,
        longest_standstill_s: float,
        most_memory_bytes: int,
        beat: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        super().__init__(name="overseer", daemon=True)
        self._watch = watch
        self._ledger = ledger
        self._standstill_s = longest_standstill_s
        self._most_bytes = most_memory_bytes
        self._beat = beat
        self._end = end

    def run(self) -> None:
        while self.look():
            time.sleep(_LOOK_S)

    def look(self) -> bool:
        """Beat, or end the process; whether it goes on."""
        if task := self._watch.hung(self._standstill_s):
            self._give_up(task, f"no progress for {self._standstill_s:.0f} s while {task.doing}")
            return False
        used = own_bytes()
        if used > self._most_bytes and (task := self._watch.costliest(used)):
            self._give_up(
                task,
                f"more than {self._most_bytes // _MB} MB of memory in use while {task.doing}, "
                "see [analysis] most_memory_mb",
            )
            return False
        self._beat()
        return True

    def _give_up(self, task: Task, reason: str) -> None:
        study = task.run.study if task.run else None
        log.error("study_given_up", study=study, reason=reason)
        for _ in range(_MOST_TRIES if task.run else 0):
            try:
                self._park(task, reason)
                break
            except LedgerFailed as error:
                log.warning("ledger_busy", error=str(error))
                time.sleep(2 * _LOOK_S)
        self._end()

    def _park(self, task: Task, reason: str) -> None:
        run = task.run
        if run is not None and task.silent:
            set_aside(self._ledger, run, task.silent, task.doing, reason)
            return
        found = self._ledger.queries.revision(run.study, run.revision) if run else None
        if run is None or found is None or found.run != run:
            return
        if found.state is not State.RECEIVING:
            self._ledger.studies.park(run, reason)
        elif task.doing == ANALYZING:
            deaths.note(self._ledger, run, reason)  # it may be sound: it is judged when it closes
        else:
            park_uncounted(self._ledger, found, reason)
