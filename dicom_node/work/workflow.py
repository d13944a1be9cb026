"""The main job, durable: open slides, analyze, build results. Delivery follows from the ledger.

DBOS checkpoints every step: after a crash the step that was running is run again and none before
it. Steps are at least once; the PACS sees one result set, because UIDs and bytes are a function of
the input. A failure is a value, so that what is replayed is what happened.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NoReturn

import structlog
from dbos import DBOS, DBOSConfiguredInstance

from dicom_node.config.whole import Config
from dicom_node.deliver.retry import for_analysis
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Revision, Run
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
from dicom_node.work.attempts import AttemptOver, StopAsked, reporter, wait_while_paused
from dicom_node.work.failures import again_or_park, answer_of, park
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import incomplete, result_of
from dicom_node.work.underway import Underway, workflow_id
from dicom_node.work.watch import Watch
from engines.errors import DeviceFailed
from engines.runtime import Runtime
from inference import archive, predict
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()

STUDY_QUEUE = "studies"
NO_ROOM_WAIT_S = 2.0
"""After a write that the disk had no room for. Such an attempt does not count."""


@DBOS.dbos_class()
class StudyWorkflow(DBOSConfiguredInstance):
    """The workflows of one worker process, with what they need to run."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, runtime: Runtime, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        super().__init__(config_name="node")
        self.paused = threading.Event()
        self.underway = Underway()
        self.watch = Watch()
        self._stop = stop
        self._config = config
        self._policy = for_analysis(config.analysis)
        self._ledger = ledger
        self._runtime = runtime
        self._objects = ResultObjects(config, ledger, runtime)

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
            for key in slides:
                match from_json(self.analyze(study, revision, attempt, key)):
                    case Analyzed(trouble=trouble):
                        troubles += [trouble] if trouble else []
                    case answer:
                        return self.settle_failure(study, revision, attempt, answer)
            match from_json(self.build_results(study, revision, attempt, troubles)):
                case Built():
                    return "built"
                case answer:
                    return self.settle_failure(study, revision, attempt, answer)

    # -- steps ----------------------------------------------------------------------------------

    @DBOS.step()
    def open_slides(self, study: str, revision: int, attempt: int) -> Recorded:
        """Opened with the slides to analyze; moves the study to `analyzing`."""
        run = Run(study, revision, attempt)
        runtime = self._runtime

        def work() -> Opened | Stale:
            self._wait_while_paused(run, State.QUEUED)
            if not self._ledger.studies.start_analysis(run, runtime.engine, runtime.bundle.digest):
                return Stale()
            log.info("study_started", attempt=attempt, engine=runtime.engine)
            with self.watch.on(run, "opening its slides") as moved:
                return Opened(tuple(s.key for s in self._objects.slides(run, moved)))

        return to_json(answer_of(work))

    @DBOS.step()
    def analyze(self, study: str, revision: int, attempt: int, key: str) -> Recorded:
        """Analyzed by the student: the prediction of one slide is on disk."""
        run = Run(study, revision, attempt)

        def work() -> Analyzed | Stale:
            if not self._may_go_on(run):
                return Stale()
            self._wait_while_paused(run, State.ANALYZING)
            with self.watch.on(run, "analyzing") as moved:
                slide = self._objects.slide(run, key, moved)
                result, trouble = self._result_of(run, slide, moved)
                archive.save(result, self._objects.prediction_path(run, key))
                predict.discard(self._objects.tiles_path(run, key))
            return Analyzed(type(result).__name__, trouble)

        answer = answer_of(work)
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
        self, study: str, revision: int, attempt: int, troubles: list[str]
    ) -> Recorded:
        """Built: the objects of every slide are written and their deliveries queued.

        With the troubles that slides had, the study is parked once the others' objects are sent.
        """
        run = Run(study, revision, attempt)

        def work() -> Built | Stale:
            if not self._may_go_on(run):
                return Stale()
            made: list[Result] = []
            seen_to = [self._objects.trouble_of(run), *troubles]
            with self.watch.on(run, "building the results") as moved:
                for number, slide in enumerate(self._objects.slides(run, moved)):
                    objects, trouble = self._objects.write(run, slide, number)
                    moved()
                    made += objects
                    seen_to.append(trouble)
            names = [d.name for d in self._config.destinations]
            why = "; ".join(filter(None, seen_to)) or None
            if not self._ledger.deliveries.start(run, made, names, trouble=why):
                return Stale()
            return Built(len(made))

        answer = answer_of(work)
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

    # -- after a failure ------------------------------------------------------------------------

    def try_again(self, run: Run, reason: str) -> State | None:
        """Queue a failed attempt again, or park it, as the configuration says.

        Where it stands then; None where another attempt has taken over.
        """
        current = self._revision(run.study, run.revision)
        if current.run != run:
            return None
        return again_or_park(self._ledger, self._policy, current, reason, draw=random.random())

    # -- inside ---------------------------------------------------------------------------------

    def _result_of(
        self, run: Run, slide: SlideFiles, moved: Callable[[], None]
    ) -> tuple[Prediction | NotAssessable, str]:
        if missing := self._objects.missing_of(run, slide):
            return incomplete(missing), ""
        try:
            return result_of(
                slide,
                self._runtime,
                progress=reporter(self._ledger, run, slide.key, moved),
                stop=StopAsked(self._ledger, run, self._stop),
                resume=self._objects.tiles_path(run, slide.key),
            )
        except predict.Stopped as stopped:
            if not self._stop.is_set():
                log.info("slide_stopped", slide=slide.key, reason="the attempt is over")
                raise AttemptOver from None
            log.info("slide_paused", slide=slide.key, reason=str(stopped))
            self._pause()

    def _wait_while_paused(self, run: Run, state: State) -> None:
        """Begin nothing as long as an operator has paused analysis."""
        with self.watch.on(run, "waiting") as moved:
            if not wait_while_paused(self._ledger, run, state, self._stop, moved):
                self._pause()

    def _pause(self) -> NoReturn:
        """Leave the step unfinished: the process ends, and the next one goes on from the tiles
        that are done."""
        self.paused.set()
        while True:
            threading.Event().wait()

    def _may_go_on(self, run: Run) -> bool:
        """Whether the attempt is still the current one, and was begun with this very student.

        A student that was changed by a restart must not sign what another one computed: that
        raises DeviceFailed, and a new attempt begins.
        """
        if not self._ledger.queries.is_current(run, State.ANALYZING):
            return False
        begun = self._revision(run.study, run.revision)
        now_with = (self._runtime.engine, self._runtime.bundle.digest)
        if (begun.engine, begun.bundle_digest) != now_with:
            raise DeviceFailed("the bundle or the engine was changed during the analysis")
        return True

    def _revision(self, study: str, revision: int) -> Revision:
        current = self._ledger.queries.revision(study, revision)
        if current is None:
            raise KeyError(f"revision {revision} of study {study} is not in the ledger")
        return current
