"""Whose work was under way when a worker died: that study counts it, and no other.

An analysis that only waits (for its turn, for a switch, for the next start) dies of nothing, and an
orderly stop is nobody's fault. A silent model costs its study nothing: it is not run on that slide
again until somebody asks for a retry. Work on a study that is still open costs it its head start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Event, Run
from dicom_node.work.early import deaths
from dicom_node.work.students.jobs import Job
from dicom_node.work.suspect import Death, Suspect, is_noted
from dicom_node.work.watch import Watch

log = structlog.get_logger()

ANALYZING, BUILDING = "analyzing", "building the results"
"""What is done to a slide, closed or open its study, as it is told and recorded."""
DIED = "The analysis was given up: the software ended, or hung, while the model ran on this slide."
_INTERRUPTED, _SET_ASIDE = "study_interrupted", "silent_model_died"
_DEATH = "the worker died"
_BYTES = 256
"""Of an attempt, a mark, a slide, a model, and what was done."""


class Working:
    """What is under way for a study: told to who watches now, and to the worker that follows."""

    def __init__(self, data_dir: Path) -> None:
        self.watch = Watch()
        self._suspect = Suspect(data_dir / "analyzing", _BYTES)

    @contextmanager
    def on(self, run: Run, doing: str, silent: Job | None = None) -> Iterator[Callable[[], None]]:
        """Around the work; what it yields is called whenever that got on. `silent` is the job of
        a model that must cost its study nothing."""
        more = f"{silent.text} {doing}" if silent else ""
        watched = self.watch.on(run, doing, silent.text if silent else "")
        with watched as moved, self._suspect.on(run, more):
            yield moved

    def left(self) -> Death | None:
        """What was under way when an earlier worker died."""
        return self._suspect.left()

    def forget(self) -> None:
        """Nothing is under way: whatever ends this process now, it is no study's work."""
        self._suspect.clear()

    def stop(self) -> None:
        """Somebody has asked the process to end: from now on no study answers for that."""
        self._suspect.close()


def count_interruptions(
    ledger: WorkerLedger, left: Death | None, most_crashes: int, why: Callable[[Run], str]
) -> None:
    """Count the death of a worker for the study whose work was under way; too often parks it.

    `why` adds to the reason what is known of that death.
    """
    if left is not None and left.run.is_open:
        _note_early(ledger, left)
    for revision in ledger.queries.my_analyses():
        study = revision.study_instance_uid
        if left is None or left.run != revision.run:
            log.info("study_goes_on", study=study)
        elif left.more:
            text, _, doing = left.more.partition(" ")
            set_aside(ledger, left.run, text, doing, _DEATH, left.mark)
        elif not is_noted(ledger, left, _INTERRUPTED):
            crashes = ledger.studies.note_interruption(revision.run, left.mark)
            log.warning(_INTERRUPTED, study=study, crashes=crashes)
            if crashes > most_crashes:
                times = f"the worker died {crashes} times while analyzing it"
                ledger.studies.park(revision.run, times + why(revision.run))


def _note_early(ledger: WorkerLedger, left: Death) -> None:
    """Of a study that was still open: nothing is counted, and a silent model is set aside."""
    if not left.more:
        deaths.note(ledger, left.run, _DEATH, left.mark)
    elif not is_noted(ledger, left, _SET_ASIDE):
        text, _, doing = left.more.partition(" ")
        set_aside(ledger, left.run, text, doing, _DEATH, left.mark)


def set_aside(
    ledger: WorkerLedger, run: Run, text: str, doing: str, reason: str, mark: str = ""
) -> None:
    """Note that a silent model is not to do this job again; `text` is of the job."""
    job = Job.read(text)
    fields = {"slide": job.slide, "model": job.model, "doing": doing, "reason": reason}
    log.error(_SET_ASIDE, study=run.study, **fields)
    numbers = {"revision": run.revision, "mark": mark}
    ledger.events.record(_SET_ASIDE, study_instance_uid=run.study, **numbers, **fields)


def is_set_aside(ledger: WorkerLedger, run: Run, job: Job, doing: str) -> bool:
    """Whether a silent model ended a worker with this job, since somebody last asked for a
    retry."""
    found = False
    for event in ledger.queries.events(run.study):
        found = event.kind != "retry_asked" and (found or _is_of(event, run, job, doing))
    return found


def _is_of(event: Event, run: Run, job: Job, doing: str) -> bool:
    said = tuple(event.fields.get(name) for name in ("revision", "slide", "model", "doing"))
    return event.kind == _SET_ASIDE and said == (run.revision, job.slide, job.model, doing)
