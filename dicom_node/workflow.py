"""The main job, durable: open slides, analyze, build results, deliver.

DBOS checkpoints every step: after a crash the step that was running is run again and none before
it. Steps are at least once; the PACS sees one result set, because UIDs and bytes are a function of
the input. A failure is a value, so that what is replayed is what happened.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import structlog
from dbos import DBOS, DBOSConfiguredInstance

from dicom_node import deliver
from dicom_node.config import Config
from dicom_node.facts import Uncountable
from dicom_node.ledger import Ledger
from dicom_node.objects import ResultObjects
from dicom_node.records import Delivery, DeliveryState, LedgerBusy, Result, Revision, Run, State
from engines.errors import DeviceFailed
from engines.runtime import Runtime
from inference import archive, predict
from inference.errors import SlideUnreadable
from inference.types import Progress

log = structlog.get_logger()

STUDY_QUEUE = "studies"
DELIVERY_QUEUE = "deliveries"
_PROGRESS_EVERY_S = 1.0
_STALE: dict[str, Any] = {"stale": True}
"""Another attempt, or another revision, has taken over: nothing to do and nothing to report."""
MOST_FAILURES = 5
"""Attempts for a cause that may pass and does not, before a person has to look."""


@DBOS.dbos_class()
class StudyWorkflow(DBOSConfiguredInstance):
    """The workflows of one worker process, with what they need to run."""

    def __init__(
        self, config: Config, ledger: Ledger, runtime: Runtime, stop: threading.Event
    ) -> None:
        """A slide under analysis when `stop` is set is paused: `paused` says that it is."""
        super().__init__(config_name="node")
        self.paused = threading.Event()
        self._stop = stop
        self._config = config
        self._ledger = ledger
        self._runtime = runtime
        self._objects = ResultObjects(config, ledger, runtime)

    @DBOS.workflow()
    def run_study(self, study: str, revision: int, attempt: int) -> str:
        """A closed study becomes slides, predictions, objects, and rows to deliver."""
        with structlog.contextvars.bound_contextvars(study=study, revision=revision):
            opened = self.open_slides(study, revision, attempt)
            if "slides" not in opened:
                return self.settle_failure(study, revision, attempt, opened)
            for key in opened["slides"]:
                analyzed = self.analyze(study, revision, attempt, key)
                if "result" not in analyzed:
                    return self.settle_failure(study, revision, attempt, analyzed)
            built = self.build_results(study, revision, attempt)
            if "objects" not in built:
                return self.settle_failure(study, revision, attempt, built)
            return "built"

    @DBOS.workflow()
    def deliver_to(self, study: str, revision: int, attempt: int, destination: str) -> str:
        """Every object of a revision still pending for a destination, one step an object."""
        with structlog.contextvars.bound_contextvars(study=study, revision=revision):
            for sop_instance_uid in self.pending_for(study, revision, destination):
                state = self.deliver_one(study, revision, destination, sop_instance_uid)
                if state == DeliveryState.PENDING:
                    break  # the destination is not well: the rest waits for the next round too
            return self.finish_delivery(study, revision, attempt)

    # -- steps ----------------------------------------------------------------------------------

    @DBOS.step()
    def open_slides(self, study: str, revision: int, attempt: int) -> dict[str, Any]:
        """Keys of the slides to analyze; moves the study to `analyzing`."""
        run = Run(study, revision, attempt)
        runtime = self._runtime

        def work() -> dict[str, Any]:
            if not self._ledger.start_analysis(run, runtime.engine, runtime.bundle.digest):
                return _STALE
            log.info("study_started", attempt=attempt, engine=runtime.engine)
            ask_destinations(self._config, self._ledger)
            return {"slides": [s.key for s in self._objects.slides(study, revision)]}

        return _answer(work)

    @DBOS.step()
    def analyze(self, study: str, revision: int, attempt: int, key: str) -> dict[str, Any]:
        """Run the student on one slide; the prediction is on disk when the step is done."""
        run = Run(study, revision, attempt)

        def work() -> dict[str, Any]:
            if not self._may_go_on(run):
                return _STALE
            kept = self._objects.tiles_path(run, key)
            try:
                result = predict.predict(
                    self._objects.slide(study, revision, key).paths,
                    self._runtime,
                    progress=self._reporter(run, key),
                    stop=self._stop.is_set,
                    resume=kept,
                )
            except predict.Stopped as stopped:
                self._pause(key, stopped)
            archive.save(result, self._objects.prediction_path(run, key))
            predict.discard(kept)
            return {"result": type(result).__name__}

        answer = _answer(work)
        log.info("slide_analyzed", slide=key, **answer)
        return answer

    @DBOS.step()
    def build_results(self, study: str, revision: int, attempt: int) -> dict[str, Any]:
        """Write the objects of every slide and queue their deliveries."""
        run = Run(study, revision, attempt)

        def work() -> dict[str, Any]:
            if not self._may_go_on(run):
                return _STALE
            made: list[Result] = []
            for number, slide in enumerate(self._objects.slides(study, revision)):
                made += self._objects.write(run, slide, number)
            names = [d.name for d in self._config.destinations]
            if not self._ledger.start_delivery(run, made, names):
                return _STALE
            return {"objects": len(made)}

        answer = _answer(work)
        log.info("results_built", **answer)
        return answer

    @DBOS.step()
    def pending_for(self, study: str, revision: int, destination: str) -> list[str]:
        """SOP Instance UIDs still to be delivered, in order."""
        return [
            d.sop_instance_uid
            for d in self._ledger.deliveries(study, revision)
            if d.destination == destination and d.state is DeliveryState.PENDING
        ]

    @DBOS.step()
    def deliver_one(
        self, study: str, revision: int, destination: str, sop_instance_uid: str
    ) -> str:
        """Send one object and store the outcome; the delivery state it is in now."""
        target = next(d for d in self._config.destinations if d.name == destination)
        delivery = self._delivery(study, revision, destination, sop_instance_uid)
        if delivery.state is not DeliveryState.PENDING:
            return delivery.state.value
        path = self._config.node.data_dir / self._result(study, revision, sop_instance_uid).path
        outcome = deliver.send(path, target, self._config.node.ae_title)
        state, error, next_attempt_at = outcome.state, outcome.error, None
        if state is DeliveryState.PENDING:
            wait_s = deliver.wait_before_retry_s(self._config.delivery, delivery.attempts)
            next_attempt_at = self._ledger.now() + wait_s
            if self._too_old(study, revision):
                state, error = DeliveryState.REFUSED, f"given up: {error}"
        self._ledger.record_delivery(
            sop_instance_uid,
            destination,
            state,
            status=outcome.status,
            error=error,
            next_attempt_at=next_attempt_at,
        )
        log.info(
            "result_sent" if state is DeliveryState.DELIVERED else "result_not_delivered",
            destination=destination,
            sop_instance_uid=sop_instance_uid,
            status=outcome.status,
            error=error,
        )
        return state.value

    @DBOS.step()
    def finish_delivery(self, study: str, revision: int, attempt: int) -> str:
        """Close the revision when nothing is pending any more."""
        state = self._ledger.finish_delivery(Run(study, revision, attempt))
        if state is not None:
            log.info("study_finished", state=state.value)
        return "pending" if state is None else state.value

    @DBOS.step()
    def settle_failure(
        self, study: str, revision: int, attempt: int, answer: dict[str, Any]
    ) -> str:
        """Queue the study again with back-off, or park it with the reason."""
        if answer == _STALE:
            log.info("attempt_stale", attempt=attempt)
            return "stale"
        run, reason = Run(study, revision, attempt), str(answer["failed"])
        failures = self._revision(study, revision).failures
        if answer["may_pass"] and failures < MOST_FAILURES:
            wait_s = deliver.wait_before_retry_s(self._config.delivery, failures)
            self._ledger.try_later(run, reason, wait_s)
            log.warning("study_failed", reason=reason, retry_in_s=round(wait_s, 1))
            return "again"
        self._ledger.park(run, reason)
        log.error("study_parked", reason=reason)
        return "parked"

    # -- inside ---------------------------------------------------------------------------------

    def _pause(self, key: str, stopped: predict.Stopped) -> NoReturn:
        """Leave the step unfinished: the process ends, and the next one goes on from the tiles
        that are done."""
        log.info("slide_paused", slide=key, reason=str(stopped))
        self.paused.set()
        while True:
            threading.Event().wait()

    def _may_go_on(self, run: Run) -> bool:
        """Whether the attempt is still the current one, and was begun with this very student.

        A student that was changed by a restart must not sign what another one computed: that
        raises DeviceFailed, and a new attempt begins.
        """
        if not self._ledger.is_current(run, State.ANALYZING):
            return False
        begun = self._revision(run.study, run.revision)
        now_with = (self._runtime.engine, self._runtime.bundle.digest)
        if (begun.engine, begun.bundle_digest) != now_with:
            raise DeviceFailed("the bundle or the engine was changed during the analysis")
        return True

    def _revision(self, study: str, revision: int) -> Revision:
        current = self._ledger.revision(study, revision)
        if current is None:
            raise KeyError(f"revision {revision} of study {study} is not in the ledger")
        return current

    def _result(self, study: str, revision: int, uid: str) -> Result:
        return next(r for r in self._ledger.results(study, revision) if r.sop_instance_uid == uid)

    def _delivery(self, study: str, revision: int, destination: str, uid: str) -> Delivery:
        return next(
            d
            for d in self._ledger.deliveries(study, revision)
            if d.sop_instance_uid == uid and d.destination == destination
        )

    def _too_old(self, study: str, revision: int) -> bool:
        analyzed_at = self._revision(study, revision).analyzed_at or self._ledger.now()
        return self._ledger.now() - analyzed_at > self._config.delivery.give_up_after_s

    def _reporter(self, run: Run, key: str) -> Callable[[Progress], None]:
        """Writes progress to the ledger at most once a second, and when a slide is done."""
        last = -_PROGRESS_EVERY_S

        def report(progress: Progress) -> None:
            nonlocal last
            if progress.tiles_kept and last < 0:
                log.info("slide_resumed", slide=key, tiles_kept=progress.tiles_kept)
            done = progress.tiles_done == progress.tiles_total
            if progress.elapsed_s - last < _PROGRESS_EVERY_S and not done:
                return
            last = progress.elapsed_s
            self._ledger.note_progress(
                run, key, progress.tiles_done, progress.tiles_total, progress.tiles_per_s
            )

        return report


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The value of a step, or its failure as a value that survives a replay."""
    try:
        return work()
    except (DeviceFailed, LedgerBusy, OSError) as error:
        return {"failed": f"{type(error).__name__}: {error}", "may_pass": True}
    except (SlideUnreadable, Uncountable) as error:
        return {"failed": f"{type(error).__name__}: {error}", "may_pass": False}
    except Exception as error:  # the worker's loop: the study is parked with the reason, not lost
        # Where it happened, not its message: that could quote the dataset.
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.exception("unexpected_error")
        place = f"{Path(at.filename).name}:{at.lineno}"
        return {"failed": f"unexpected {type(error).__name__} at {place}", "may_pass": False}


def ask_destinations(config: Config, ledger: Ledger) -> None:
    """Learn, before a study runs, what each destination will accept; a problem is logged."""
    for destination in config.destinations:
        answer = deliver.ask(destination, config.node.ae_title)
        ledger.note_destination(destination.name, answer.reachable, answer.accepted, answer.reason)
        if answer.reason:
            log.warning("destination_problem", destination=destination.name, reason=answer.reason)
        else:
            log.info("destination_ready", destination=destination.name)
