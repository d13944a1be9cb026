"""What the steps of an attempt do: open slides, analyze one, build the objects of all.

The workflow makes them durable. Each raises what stands in its way, and says Stale where the
attempt is no longer the one to act.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import structlog

from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Revision, Run
from dicom_node.ledger.states import State
from dicom_node.work.answers import Analyzed, Built, Opened, Stale
from dicom_node.work.attempts import AttemptOver, StopAsked, reporter, wait_while_paused
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import incomplete, result_of
from dicom_node.work.watch import Watch
from engines.errors import DeviceFailed
from engines.runtime import Runtime
from inference import archive, predict
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()


class Steps:
    """The steps of one worker process."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, runtime: Runtime, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        self.paused = threading.Event()
        self.watch = Watch()
        self._stop = stop
        self._config = config
        self._ledger = ledger
        self._runtime = runtime
        self._objects = ResultObjects(config, ledger, runtime)

    def open(self, run: Run) -> Opened | Stale:
        """Move the study to `analyzing`; its slides."""
        with self.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.QUEUED, moved)
        runtime = self._runtime
        if not self._ledger.studies.start_analysis(run, runtime.engine, runtime.bundle.digest):
            return Stale()
        log.info("study_started", attempt=run.attempt, engine=runtime.engine)
        with self.watch.on(run, "opening its slides") as moved:
            return Opened(tuple(s.key for s in self._objects.slides(run, moved)))

    def analyze(self, run: Run, key: str) -> Analyzed | Stale:
        """The prediction of one slide, on disk."""
        if not self._may_go_on(run):
            return Stale()
        with self.watch.on(run, "waiting") as moved:
            self._wait_while_paused(run, State.ANALYZING, moved)
        with self.watch.on(run, "analyzing") as moved:
            slide = self._objects.slide(run, key, moved)
            result, trouble = self._result_of(run, slide, moved)
            archive.save(result, self._objects.prediction_path(run, key))
            predict.discard(self._objects.tiles_path(run, key))
        return Analyzed(type(result).__name__, trouble)

    def build(self, run: Run, troubles: Sequence[str]) -> Built | Stale:
        """The objects of every slide, written, and their deliveries, queued."""
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

    def revision(self, run: Run) -> Revision:
        """The revision of an attempt, as it is now. Raises KeyError."""
        current = self._ledger.queries.revision(run.study, run.revision)
        if current is None:
            raise KeyError(f"revision {run.revision} of study {run.study} is not in the ledger")
        return current

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

    def _wait_while_paused(self, run: Run, state: State, moved: Callable[[], None]) -> None:
        """Begin nothing as long as an operator has paused analysis."""
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
        begun = self.revision(run)
        now_with = (self._runtime.engine, self._runtime.bundle.digest)
        if (begun.engine, begun.bundle_digest) != now_with:
            raise DeviceFailed("the bundle or the engine was changed during the analysis")
        return True
