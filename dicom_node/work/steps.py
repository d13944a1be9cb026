"""What the steps of an attempt do: open slides, analyze one, build the objects of all.

The workflow makes them durable. Each raises what stands in its way, and says Stale where the
attempt is no longer the one to act.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import structlog

from dicom_node.config.whole import Config
from dicom_node.deliver.choose import plan
from dicom_node.ledger.errors import LedgerBusy
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Revision, Run
from dicom_node.ledger.states import State
from dicom_node.work.answers import Analyzed, Built, Opened, Stale
from dicom_node.work.attempts import AttemptOver, StopAsked, reporter, wait_while_paused
from dicom_node.work.cases.cases import Cases
from dicom_node.work.early.early import Tools
from dicom_node.work.early.kept import KeptNumbers, Ready
from dicom_node.work.early.reading import all_read
from dicom_node.work.early.turns import Turns
from dicom_node.work.interruptions import ANALYZING, BUILDING, DIED, Working, is_set_aside
from dicom_node.work.numbers import Numbers
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import failed, incomplete
from dicom_node.work.students.answered import Answered
from dicom_node.work.students.following import Following
from dicom_node.work.students.jobs import Assigning, Job, no_model
from dicom_node.work.students.opened import Students
from dicom_node.work.writing.jobs import Writing
from engines.errors import DeviceFailed
from inference import predict
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()


class Steps:
    """The steps of one worker process."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, students: Students, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        self.paused = threading.Event()
        self._stop = stop
        self._config = config
        self._ledger = ledger
        self._students = students
        self._assigning = Assigning(ledger, students.roster)
        self._objects = ResultObjects(config, ledger, students.roster, self._assigning)
        ahead = Ahead()
        self._cases = Cases(config, ledger, students, self._assigning, self._objects, ahead)
        self.tools = Tools(
            Turns(),
            Working(config.node.data_dir),
            Numbers(students, self._objects, ahead),
            KeptNumbers(config),
            students.roster,
            self._assigning,
        )
        self._working = self.tools.working
        roster = students.roster
        self._following = Following(self._objects, roster, self._assigning, self.tools.kept)
        self._answered = Answered(ledger, roster, self._objects)
        self._writing = Writing(ledger, roster, self._working, self._objects, self._cases)

    def open(self, run: Run) -> Opened | Stale:
        """Move the study to `analyzing`; its slides, each by each student that runs on it."""
        with self._working.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.QUEUED, moved)
        roster = self._students.roster
        if not self._ledger.studies.start_analysis(run, roster.engine, roster.digest, roster.runs):
            return Stale()
        log.info("study_started", attempt=run.attempt, engine=roster.engine)
        with self._turn(), self._working.on(run, "opening its slides") as moved:
            jobs = self._assigning.jobs(self._objects.slides(run, moved))
            return Opened(tuple(job.text for job in jobs))

    def analyze(self, run: Run, text: str, after: str) -> Analyzed | Stale:
        """The prediction of one slide by one student, on disk. `after` is what comes next of the
        attempt: planned meanwhile, where it is another slide; empty where nothing does."""
        if not self._may_go_on(run):
            return Stale()
        job, began = Job.read(text), time.monotonic()
        with self._working.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.ANALYZING, moved)
        with self._turn(), self._working.on(run, ANALYZING, self._spared(job)) as moved:
            answer = self._answered.before(run, job)
            if answer is None and job.is_case:
                answer = self._analyze_case(run, job, moved)
            elif answer is None:
                answer = self._analyze_slide(run, job, after, moved)
        self._note_work(run, job, time.monotonic() - began)
        return answer

    def _analyze_slide(self, run: Run, job: Job, after: str, moved: Callable[[], None]) -> Analyzed:
        """The prediction of one slide, on disk."""
        slide = self._objects.slide(run, job.slide, moved)
        result, trouble = self._said_of(run, slide, job, after, moved)
        answer = self._answered.keep(run, job, result, trouble)
        predict.discard(self._objects.tiles_path(run, job))
        return answer

    def _analyze_case(self, run: Run, job: Job, moved: Callable[[], None]) -> Analyzed:
        """The prediction of all slides together, on disk."""
        is_over = self._is_silent(job) and is_set_aside(self._ledger, run, job, ANALYZING)
        stop = StopAsked(self._ledger, run, self._stop)
        try:
            result, trouble = self._cases.analyze(run, job, moved, stop, DIED if is_over else "")
        except predict.Stopped as stopped:
            self._halt(job.slide, stopped)
        answer = self._answered.keep(run, job, result, self._heard(job, trouble))
        self._cases.discard_tiles(run, job, moved)
        return answer

    def build(self, run: Run, texts: Sequence[str], troubles: Sequence[str]) -> Built | Stale:
        """The objects of every slide, written, and their deliveries, queued."""
        if not self._may_go_on(run):
            return Stale()
        made: list[Result] = []
        # Once: a destination that answers meanwhile must not be sent what was not made.
        refused = self._ledger.queries.refused_kinds(run.study, run.revision)
        goes = plan(self._config.destinations, self._ledger.queries.destinations(), refused)
        seen_to = [self._objects.trouble_of(run), *troubles]
        with self._turn(), self._working.on(run, BUILDING) as moved:
            slides = {slide.key: slide for slide in self._objects.slides(run, moved)}
            numbered = self._writing.numbered(run, slides, map(Job.read, texts))
            for job, numbers in numbered.items():
                objects, trouble = self._writing.write(run, slides, job, numbers, goes.wanted)
                moved()
                made += objects
                seen_to.append(self._heard(job, trouble))
        why = "; ".join(filter(None, [*seen_to, *goes.lacking(made)])) or None
        if not self._ledger.deliveries.start(
            run, made, list(goes.choices), trouble=why, only=goes.routes(made), told=goes.told(made)
        ):
            return Stale()
        self.tools.kept.discard(run)
        return Built(len(made))

    def revision(self, run: Run) -> Revision:
        """The revision of an attempt, as it is now. Raises KeyError."""
        current = self._ledger.queries.revision(run.study, run.revision)
        if current is None:
            raise KeyError(f"revision {run.revision} of study {run.study} is not in the ledger")
        return current

    def _spared(self, job: Job) -> Job | None:
        return job if self._is_silent(job) else None

    def _is_silent(self, job: Job) -> bool:
        return self._students.roster.is_silent(job.model)

    def _heard(self, job: Job, trouble: str) -> str:
        """What an operator must see to before the study is done: nothing of a silent student."""
        if trouble and self._is_silent(job):
            log.error("silent_model_failed", model=job.model, slide=job.slide, reason=trouble)
            return ""
        return trouble

    def _said_of(
        self, run: Run, slide: SlideFiles, job: Job, after: str, moved: Callable[[], None]
    ) -> tuple[Prediction | NotAssessable, str]:
        """The result of a job, and what an operator must see to. A silent student that fails holds
        nobody else back."""
        try:
            result, trouble = self._result_of(run, slide, job, after, moved)
        except DeviceFailed as error:
            if not self._is_silent(job):
                raise
            result, trouble = failed(str(error)), str(error)
        return result, self._heard(job, trouble)

    def _result_of(
        self, run: Run, slide: SlideFiles, job: Job, after: str, moved: Callable[[], None]
    ) -> tuple[Prediction | NotAssessable, str]:
        if missing := self._objects.missing_of(run, slide):
            return incomplete(missing), ""
        known = self._students.roster.of(job.model)
        assigned = self._assigning.of(slide)
        refusal = self._assigning.refusal(job, assigned)
        if refusal is not None or known is None:
            trouble = f"slide {slide.key}: {assigned.trouble}" if assigned.trouble else ""
            return refusal or no_model(assigned), trouble
        if self._is_silent(job) and is_set_aside(self._ledger, run, job, ANALYZING):
            return failed(DIED), DIED
        if ready := self.tools.kept.take(run, job, all_read(slide, job, known)):
            return self._noted(run, job, ready), ""
        try:
            return self.tools.numbers.of(
                run,
                slide,
                job,
                known,
                progress=reporter(self._ledger, run, slide.key, moved),
                stop=StopAsked(self._ledger, run, self._stop),
                after=self._following.of(run, job, after, moved),
            )
        except predict.Stopped as stopped:
            self._halt(slide.key, stopped)

    def _halt(self, key: str, stopped: predict.Stopped) -> NoReturn:
        """End an analysis between two tiles: the attempt is over, or the process ends."""
        if not self._stop.is_set():
            log.info("slide_stopped", slide=key, reason="the attempt is over")
            raise AttemptOver from None
        log.info("slide_paused", slide=key, reason=str(stopped))
        self._pause()

    def _noted(self, run: Run, job: Job, ready: Ready) -> Prediction | NotAssessable:
        """A result that was ready when the study closed, with what it took."""
        log.info("slide_was_ready", slide=job.slide, worked_s=round(ready.worked_s, 2))
        self._note_work(run, job, ready.worked_s)
        if isinstance(ready.result, Prediction):
            tiles = ready.result.tiles_analyzed
            self._ledger.studies.note_progress(run, job.slide, tiles, tiles, 0.0)
        return ready.result

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One slide at a time: early work ends at its next look, and it is no study's fault."""
        with (
            self._working.watch.on(None, "waiting for its turn") as moved,
            self.tools.turns.of_closed(moved),
        ):
            yield

    def _note_work(self, run: Run, job: Job, seconds: float) -> None:
        try:
            self._ledger.analyses.note_work(run, job.model, seconds)
        except LedgerBusy as error:  # a share that people see is smaller: no reason to stop
            log.warning("ledger_busy", error=str(error))

    def _wait_while_paused(self, run: Run, state: State, moved: Callable[[], None]) -> None:
        """Begin nothing as long as an operator has paused analysis."""
        if not wait_while_paused(self._ledger, run, state, self._stop, moved):
            self._pause()

    def _pause(self) -> NoReturn:
        """Leave the step unfinished: the process ends, and the next one goes on from the tiles
        that are done."""
        self._working.stop()
        self.paused.set()
        while True:
            threading.Event().wait()

    def _may_go_on(self, run: Run) -> bool:
        """Whether the attempt is still the current one, and was begun with these very students.

        A student that was changed by a restart must not sign what another one computed: that
        raises DeviceFailed, and a new attempt begins.
        """
        if not self._ledger.queries.is_current(run, State.ANALYZING):
            return False
        begun = self.revision(run)
        now_with = (self._students.roster.engine, self._students.roster.digest)
        if (begun.engine, begun.bundle_digest) != now_with:
            raise DeviceFailed("the bundle or the engine was changed during the analysis")
        return True
