"""Early start: slides of open studies are encoded while nothing closed waits.

The rounds of the worker choose a slide and a thread encodes it, one at a time. Nothing is reported
and no study is moved: what is kept is taken when the study closes, if it is of the same files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.observe.log import place_of, trace_of
from dicom_node.results.build import load_builders
from dicom_node.study.closing import Watched
from dicom_node.work.early.kept import KeptNumbers, Ready
from dicom_node.work.early.reading import all_read
from dicom_node.work.early.studies import OpenStudies
from dicom_node.work.early.turns import Turns
from dicom_node.work.early.whole import EarlyJob, is_settled
from dicom_node.work.interruptions import ANALYZING, Working
from dicom_node.work.numbers import Numbers, asked_of
from dicom_node.work.students.jobs import Assigning
from dicom_node.work.students.roster import Roster
from inference.predict import Stopped
from inference.tiles.planned import Asked
from inference.types import Progress

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What work on closed and on open studies shares in one worker."""

    turns: Turns
    working: Working
    numbers: Numbers
    kept: KeptNumbers
    roster: Roster
    assigning: Assigning


class EarlyStart:
    """The early work of one worker process."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, tools: Tools, stop: threading.Event
    ) -> None:
        self._is_on = config.analysis.early
        self._ledger = ledger
        self._tools = tools
        self._stop = stop
        self._open = OpenStudies(config, ledger, tools.roster, tools.assigning)
        self._over: set[tuple[Run, str, str]] = set()
        """Done, or not to be tried again before the study closes."""
        self._at: EarlyJob | None = None
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._leave = threading.Event()

    def look(self, watched: Watched, *, is_free: bool) -> None:
        """Begin the next slide, or end the one under way: called in every round.

        `is_free`: nothing closed waits or is in work, analysis is not paused, and there is room on
        the disk. `watched` is around the counting of a study. Raises LedgerFailed.
        """
        if not self._is_on:
            return
        if not is_free:
            self._leave.set()
            return
        jobs = self._open.jobs(watched)
        if self._is_at_work():
            if self._at not in jobs:
                self._leave.set()  # more of the slide has come, or its study is not open any more
            return
        self._settle()
        chosen = next((job for job in jobs if self._may_begin(job)), None)
        if chosen is not None:
            self._begin(chosen, self._following(chosen, jobs))

    def ended(self, within_s: float) -> bool:
        """Whether nothing is under way after so many seconds at most. Once `stop` is set, it ends
        as soon as it looks."""
        if self._thread is not None:
            self._thread.join(max(0.0, within_s))
        return not self._is_at_work()

    def _is_at_work(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _settle(self) -> None:
        """Note what became of the last slide."""
        if self._at is not None and self._is_over:
            self._over.add(_name(self._at))
        self._at = None
        self._over = {name for name in self._over if name[0] in self._open.runs}

    def _may_begin(self, job: EarlyJob) -> bool:
        return (
            _name(job) not in self._over
            and is_settled(self._ledger, job.run.study, job.slide)
            and self._open.is_current(job)
        )

    def _following(self, chosen: EarlyJob, jobs: list[EarlyJob]) -> Asked | None:
        """The next slide of the same study, which is planned meanwhile: of another study it would
        be the wrong one to answer if that ended the worker, and so with silent models."""
        found = (
            job
            for job in jobs
            if job != chosen
            and job.run == chosen.run
            and not (job.known.is_silent or chosen.known.is_silent)
            and self._may_begin(job)
        )
        following = next(found, None)
        return None if following is None else asked_of(following.slide, following.known)

    def _begin(self, job: EarlyJob, after: Asked | None) -> None:
        self._at, self._is_over = job, False
        self._leave.clear()
        self._thread = threading.Thread(
            target=self._work, args=(job, after), name="early", daemon=True
        )
        self._thread.start()

    # -- in the thread --------------------------------------------------------------------------

    def _work(self, job: EarlyJob, after: Asked | None) -> None:
        with structlog.contextvars.bound_contextvars(
            study=job.run.study, revision=job.run.revision, slide=job.job.text
        ):
            try:
                with self._tools.turns.of_open() as is_mine:
                    if is_mine:
                        self._encode(job, after)
                        self._is_over = True
            except Stopped as stopped:
                log.info("early_start_stopped", reason=str(stopped))
            except LedgerFailed as error:
                log.warning("ledger_busy", error=str(error))
            except Exception as error:  # noqa: BLE001 - it is done, and said, when the study closes
                log.warning("early_start_failed", reason=place_of(error), trace=trace_of(error))
                self._is_over = True

    def _encode(self, job: EarlyJob, after: Asked | None) -> None:
        """Keep the result of a job; one that something is in the way of is left for later."""
        tools, began = self._tools, time.monotonic()
        silent = job.job if job.known.is_silent else None
        with tools.working.on(job.run, ANALYZING, silent) as moved:
            if tools.kept.take(job.run, job.job, job.of) is not None:
                return  # by a worker before
            log.info("early_start")
            result, trouble = tools.numbers.of(
                job.run,
                job.slide,
                job.job,
                job.known,
                progress=_reporter(moved),
                stop=self._has_to_stop,
                after=after,
            )
            worked_s = time.monotonic() - began
            if trouble or all_read(job.slide, job.job, job.known) != job.of:
                log.info("early_start_failed", reason=trouble or "a file has changed meanwhile")
                return
            tools.kept.save(job.run, job.job, job.of, Ready(result, worked_s))
            load_builders()
        log.info("slide_ready", result=type(result).__name__, worked_s=round(worked_s, 2))

    def _has_to_stop(self) -> bool:
        return self._stop.is_set() or self._leave.is_set() or self._tools.turns.is_wanted


def _reporter(moved: Callable[[], None]) -> Callable[[Progress], None]:
    """Nobody is shown how far it is, but for where it goes on."""
    is_first = True

    def report(progress: Progress) -> None:
        nonlocal is_first
        moved()
        if is_first and progress.tiles_kept:
            log.info("slide_resumed", tiles_kept=progress.tiles_kept)
        is_first = False

    return report


def _name(job: EarlyJob) -> tuple[Run, str, str]:
    return job.run, job.job.text, job.of
