"""What the steps of an attempt do: open slides, analyze one, build the objects of all.

The workflow makes them durable. Each raises what stands in its way, and says Stale where the
attempt is no longer the one to act.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
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
from dicom_node.work.interruptions import Working, is_set_aside
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import failed, incomplete, result_of
from dicom_node.work.students.jobs import Assigning, Job, made_for, no_model
from dicom_node.work.students.opened import Students
from engines.errors import DeviceFailed
from inference import archive, predict
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()

_ANALYZING, _BUILDING = "analyzing", "building the results"
_DIED = "The analysis was given up: the software ended, or hung, while the model ran on this slide."


class Steps:
    """The steps of one worker process."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, students: Students, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        self.paused = threading.Event()
        self.working = Working(config.node.data_dir)
        self._stop = stop
        self._config = config
        self._ledger = ledger
        self._students = students
        self._assigning = Assigning(ledger, students.roster)
        self._objects = ResultObjects(config, ledger, students.roster, self._assigning)

    def open(self, run: Run) -> Opened | Stale:
        """Move the study to `analyzing`; its slides, each by each student that runs on it."""
        with self.working.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.QUEUED, moved)
        roster = self._students.roster
        if not self._ledger.studies.start_analysis(run, roster.engine, roster.digest, roster.runs):
            return Stale()
        log.info("study_started", attempt=run.attempt, engine=roster.engine)
        with self.working.on(run, "opening its slides") as moved:
            jobs = self._assigning.jobs(self._objects.slides(run, moved))
            return Opened(tuple(job.text for job in jobs))

    def analyze(self, run: Run, text: str) -> Analyzed | Stale:
        """The prediction of one slide by one student, on disk."""
        if not self._may_go_on(run):
            return Stale()
        job, began = Job.read(text), time.monotonic()
        with self.working.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.ANALYZING, moved)
        with self.working.on(run, _ANALYZING, self._spared(job)) as moved:
            slide = self._objects.slide(run, job.slide, moved)
            result, trouble = self._said_of(run, slide, job, moved)
            archive.save(result, self._objects.prediction_path(run, job))
            predict.discard(self._objects.tiles_path(run, job))
        self._note_work(run, job, time.monotonic() - began)
        return Analyzed(type(result).__name__, trouble)

    def build(self, run: Run, texts: Sequence[str], troubles: Sequence[str]) -> Built | Stale:
        """The objects of every slide, written, and their deliveries, queued."""
        if not self._may_go_on(run):
            return Stale()
        made: list[Result] = []
        seen_to = [self._objects.trouble_of(run), *troubles]
        with self.working.on(run, _BUILDING) as moved:
            slides = {slide.key: slide for slide in self._objects.slides(run, moved)}
            for number, job in enumerate(self._in_order(list(slides), map(Job.read, texts))):
                objects, trouble = self._written(run, slides[job.slide], job, number)
                moved()
                made += objects
                seen_to.append(self._heard(job, trouble))
        why = "; ".join(filter(None, seen_to)) or None
        goes = plan(self._config.destinations, self._ledger.queries.destinations())
        if not self._ledger.deliveries.start(
            run, made, list(goes.choices), trouble=why, only=goes.routes(made), told=goes.told()
        ):
            return Stale()
        return Built(len(made))

    def revision(self, run: Run) -> Revision:
        """The revision of an attempt, as it is now. Raises KeyError."""
        current = self._ledger.queries.revision(run.study, run.revision)
        if current is None:
            raise KeyError(f"revision {run.revision} of study {run.study} is not in the ledger")
        return current

    def _in_order(self, slides: Sequence[str], jobs: Iterable[Job]) -> list[Job]:
        """Slide after slide, silent students after all others: they change no number of theirs."""

        by_slide = sorted(jobs, key=lambda job: slides.index(job.slide))
        return sorted(by_slide, key=self._is_silent)

    def _written(
        self, run: Run, slide: SlideFiles, job: Job, number: int
    ) -> tuple[list[Result], str]:
        """The objects of a job, and what an operator must see to."""
        if not self._is_silent(job):
            return self._objects.write(run, slide, job, number)
        if is_set_aside(self._ledger, run, job, _BUILDING):
            return [], _DIED
        with self.working.on(run, _BUILDING, job):
            return self._objects.write(run, slide, job, number)

    def _spared(self, job: Job) -> Job | None:
        return job if self._is_silent(job) else None

    def _is_silent(self, job: Job) -> bool:
        known = self._students.roster.of(job.model)
        return known is not None and known.is_silent

    def _heard(self, job: Job, trouble: str) -> str:
        """What an operator must see to before the study is done: nothing of a silent student."""
        if trouble and self._is_silent(job):
            log.error("silent_model_failed", model=job.model, slide=job.slide, reason=trouble)
            return ""
        return trouble

    def _said_of(
        self, run: Run, slide: SlideFiles, job: Job, moved: Callable[[], None]
    ) -> tuple[Prediction | NotAssessable, str]:
        """The result of a job, and what an operator must see to. A silent student that fails holds
        nobody else back."""
        try:
            result, trouble = self._result_of(run, slide, job, moved)
        except DeviceFailed as error:
            if not self._is_silent(job):
                raise
            result, trouble = failed(str(error)), str(error)
        return result, self._heard(job, trouble)

    def _result_of(
        self, run: Run, slide: SlideFiles, job: Job, moved: Callable[[], None]
    ) -> tuple[Prediction | NotAssessable, str]:
        if missing := self._objects.missing_of(run, slide):
            return incomplete(missing), ""
        known = self._students.roster.of(job.model)
        assigned = self._assigning.of(slide)
        refusal = self._assigning.refusal(job, assigned)
        if refusal is not None or known is None:
            trouble = f"slide {slide.key}: {assigned.trouble}" if assigned.trouble else ""
            return refusal or no_model(assigned), trouble
        if self._is_silent(job) and is_set_aside(self._ledger, run, job, _ANALYZING):
            return failed(_DIED), _DIED
        try:
            with self._students.use(known) as runtime:
                return result_of(
                    slide,
                    runtime,
                    progress=reporter(self._ledger, run, slide.key, moved),
                    stop=StopAsked(self._ledger, run, self._stop),
                    resume=self._objects.tiles_path(run, job),
                    made_for=made_for(known),
                )
        except predict.Stopped as stopped:
            if not self._stop.is_set():
                log.info("slide_stopped", slide=slide.key, reason="the attempt is over")
                raise AttemptOver from None
            log.info("slide_paused", slide=slide.key, reason=str(stopped))
            self._pause()

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
        self.working.stop()
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
