"""The main job, durable: open slides, analyze, build results. Delivery follows from the ledger.

DBOS checkpoints every step: after a crash the step that was running is run again and none before
it. Steps are at least once; the PACS sees one result set, because UIDs and bytes are a function of
the input. A failure is a value, so that what is replayed is what happened.
"""

from __future__ import annotations

import random
import threading

import structlog
from dbos import DBOS, DBOSConfiguredInstance

from dicom_node.config.whole import Config
from dicom_node.deliver.retry import for_analysis
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.work.answers import (
    Analyzed,
    Answer,
    Built,
    Failed,
    NoRoom,
    Opened,
    Recorded,
    Stale,
    from_json,
    to_json,
)
from dicom_node.work.early.early import EarlyStart
from dicom_node.work.failures import again_or_park, answer_of, park
from dicom_node.work.steps import Steps
from dicom_node.work.students.opened import Students
from dicom_node.work.underway import Underway, workflow_id

log = structlog.get_logger()

STUDY_QUEUE = "studies"
NO_ROOM_WAIT_S = 2.0
"""After a write that the disk had no room for. Such an attempt does not count."""


@DBOS.dbos_class()
class StudyWorkflow(DBOSConfiguredInstance):
    """The workflows of one worker process, with what they need to run."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, students: Students, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        super().__init__(config_name="node")
        self.underway = Underway()
        self._steps = Steps(config, ledger, students, stop)
        self.paused, self.working = self._steps.paused, self._steps.tools.working
        self.early = EarlyStart(config, ledger, self._steps.tools, stop)
        self._policy = for_analysis(config.analysis)
        self._ledger = ledger

    @DBOS.workflow()
    def run_study(self, study: str, revision: int, attempt: int) -> str:
        """A closed study becomes slides, predictions, objects, and rows to deliver."""
        with (
            structlog.contextvars.bound_contextvars(study=study, revision=revision),
            self.underway.run(workflow_id(Run(study, revision, attempt))),
        ):
            match from_json(self.open_slides(study, revision, attempt)):
                case Opened(slides):
                    pass
                case answer:
                    return self.settle_failure(study, revision, attempt, answer)
            troubles: list[str] = []
            for key, after in zip(slides, (*slides[1:], ""), strict=True):
                match from_json(self.analyze(study, revision, attempt, key, after)):
                    case Analyzed(trouble=trouble):
                        troubles += [trouble] if trouble else []
                    case answer:
                        return self.settle_failure(study, revision, attempt, answer)
            match from_json(self.build_results(study, revision, attempt, list(slides), troubles)):
                case Built():
                    return "built"
                case answer:
                    return self.settle_failure(study, revision, attempt, answer)

    # -- steps ----------------------------------------------------------------------------------

    @DBOS.step()
    def open_slides(self, study: str, revision: int, attempt: int) -> Recorded:
        """Opened with the slides to analyze; moves the study to `analyzing`."""
        run = Run(study, revision, attempt)
        return to_json(answer_of(lambda: self._steps.open(run)))

    @DBOS.step()
    def analyze(self, study: str, revision: int, attempt: int, key: str, after: str) -> Recorded:
        """Analyzed by a student: its prediction of one slide is on disk. The slide `after` it is
        planned meanwhile."""
        run = Run(study, revision, attempt)

        answer = answer_of(lambda: self._steps.analyze(run, key, after))
        match answer:
            case Analyzed(result, ""):
                log.info("slide_analyzed", slide=key, result=result)
            case Analyzed(_, trouble):
                log.error("slide_not_analyzed", slide=key, reason=trouble)
            case Failed(reason) | NoRoom(reason):
                log.warning("slide_not_analyzed", slide=key, reason=reason)
        return to_json(answer)

    @DBOS.step()
    def build_results(
        self, study: str, revision: int, attempt: int, slides: list[str], troubles: list[str]
    ) -> Recorded:
        """Built: the objects of every slide are written and their deliveries queued.

        With the troubles that slides had, the study is parked once the others' objects are sent.
        """
        run = Run(study, revision, attempt)

        answer = answer_of(lambda: self._steps.build(run, slides, troubles))
        match answer:
            case Built(objects):
                log.info("results_built", objects=objects)
            case Failed(reason) | NoRoom(reason):
                log.warning("results_not_built", reason=reason)
        return to_json(answer)

    @DBOS.step()
    def settle_failure(self, study: str, revision: int, attempt: int, answer: Answer) -> str:
        """Queue the study again with back-off, or park it with the reason."""
        run = Run(study, revision, attempt)
        match answer:
            case Stale():
                settled = None
            case NoRoom(reason):
                self._ledger.studies.try_later(run, reason, NO_ROOM_WAIT_S, counts=False)
                log.error("study_waits_for_room", reason=reason)
                settled = State.QUEUED
            case Failed(reason, may_pass=False):
                settled = park(self._ledger, run, reason)
            case Failed(reason):
                settled = self.try_again(run, reason)
            case Opened() | Analyzed() | Built() as success:
                raise TypeError(f"expected the answer of a step that failed, found {success}")
        if settled is None:
            log.info("attempt_stale", attempt=attempt)
        return str(settled or "stale")

    def sweep(self) -> None:
        """Remove numbers that nobody will ask for any more."""
        self._steps.tools.kept.sweep(self._ledger)

    # -- after a failure ------------------------------------------------------------------------

    def try_again(self, run: Run, reason: str) -> State | None:
        """Queue a failed attempt again, or park it, as the configuration says.

        Where it stands then; None where another attempt has taken over.
        """
        current = self._steps.revision(run)
        if current.run != run:
            return None
        return again_or_park(self._ledger, self._policy, current, reason, draw=random.random())
