"""The studies that are open, and what of them can be done early: counted anew as more comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Revision, Run
from dicom_node.ledger.states import State
from dicom_node.observe.log import place_of, trace_of
from dicom_node.study.closing import Watched
from dicom_node.study.evidence import PatientsDiffer
from dicom_node.study.facts import Uncountable
from dicom_node.work.early.deaths import is_left_alone
from dicom_node.work.early.whole import EarlyJob, jobs_of, whole_slides
from dicom_node.work.interruptions import ANALYZING, is_set_aside
from dicom_node.work.students.jobs import Assigning
from dicom_node.work.students.roster import Roster

log = structlog.get_logger()

_COUNT_EVERY_S = 2.0
_TIMES_OF_COUNTING = 20
"""A study to which more comes all the time is counted no oftener than after so many times what
that takes."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A study as it was counted last."""

    as_of: float
    again_at: float
    jobs: tuple[EarlyJob, ...]


class OpenStudies:
    """Looked at in every round of the worker, by its thread."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, roster: Roster, assigning: Assigning
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._roster = roster
        self._assigning = assigning
        self._counted: dict[Run, _Counted] = {}

    @property
    def runs(self) -> set[Run]:
        """Those that were open at the last look."""
        return set(self._counted)

    def jobs(self, watched: Watched) -> list[EarlyJob]:
        """What can be done, whether or not it was: older studies first, silent models last.

        `watched` is around the counting of a study: it may end the worker, as any counting.
        """
        found = {}
        for revision in self._ledger.queries.in_state(State.RECEIVING):
            found[revision.run] = self._count(revision, watched)
        self._counted = found
        jobs = [job for counted in found.values() for job in counted.jobs]
        return sorted(jobs, key=lambda job: job.known.is_silent)

    def is_current(self, job: EarlyJob) -> bool:
        """Whether nothing has come for its study since that was counted."""
        found = self._ledger.queries.revision(job.run.study, job.run.revision)
        counted = self._counted.get(job.run)
        return (
            found is not None
            and counted is not None
            and (found.run, found.state) == (job.run, State.RECEIVING)
            and found.last_instance_at == counted.as_of
        )

    def _count(self, revision: Revision, watched: Watched) -> _Counted:
        run, as_of, began = revision.run, revision.last_instance_at, time.monotonic()
        before = self._counted.get(run)
        if before is not None and (before.as_of == as_of or began < before.again_at):
            return before
        with watched(run) as moved:
            jobs = self._jobs_of(run, moved)
        ended = time.monotonic()
        wait_s = max(_COUNT_EVERY_S, _TIMES_OF_COUNTING * (ended - began))
        return _Counted(as_of, ended + wait_s, tuple(jobs))

    def _jobs_of(self, run: Run, moved: Callable[[], None]) -> list[EarlyJob]:
        """Of one study; none where anything is in the way: that is said when it closes."""
        if is_left_alone(self._ledger, run):
            return []
        rows = self._ledger.queries.instances(run.study, run.revision)
        writer = self._config.spool_writer  # empty where no other node receives
        mine = f"{writer}/" if writer else ""
        if any(row.purged_at is not None or not row.path.startswith(mine) for row in rows):
            return []  # waits for what is gone, or is for another node to begin
        try:
            slides = whole_slides([self._config.spool_dir / row.path for row in rows], moved)
            jobs = jobs_of(run, slides, self._roster, self._assigning)
        except LedgerFailed:
            raise
        except (Uncountable, PatientsDiffer, OSError):
            return []
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach other studies
            log.warning("early_start_failed", study=run.study, reason=place_of(error),
                        trace=trace_of(error))  # fmt: skip
            return []
        return [job for job in jobs if not self._is_set_aside(job)]

    def _is_set_aside(self, job: EarlyJob) -> bool:
        return job.known.is_silent and is_set_aside(self._ledger, job.run, job.job, ANALYZING)
