"""The main job, durable: open slides, analyze, build results, deliver.

DBOS checkpoints every step: after a crash the step that was running is run again and none before
it. Steps are at least once; the PACS sees one result set, because UIDs and bytes are a function of
the input. A failure is a value (`Failure`), so that what is replayed is what happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, DBOSConfiguredInstance
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node import __version__, deliver
from dicom_node.analysis import BuiltObject, SlideFiles, build_objects, slides_to_analyze
from dicom_node.config import Config
from dicom_node.facts import read_facts
from dicom_node.ledger import Ledger
from dicom_node.records import DeliveryState, LedgerBusy, Result, Revision, State
from dicom_node.results.files import write
from dicom_node.results.identity import Provenance
from dicom_node.study import gather_evidence
from engines.errors import DeviceFailed
from engines.runtime import Runtime
from inference import archive, predict
from inference.errors import SlideUnreadable
from inference.types import Progress

log = structlog.get_logger()

STUDY_QUEUE = "studies"
DELIVERY_QUEUE = "deliveries"
_PROGRESS_EVERY_S = 1.0
_MOST_FAILURES = 5
"""Attempts for a cause that may pass and does not, before a person has to look."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step could not be done, and whether the cause can pass by itself."""

    reason: str
    may_pass: bool


@DBOS.dbos_class()
class StudyWorkflow(DBOSConfiguredInstance):
    """The workflows of one worker process, with what they need to run."""

    def __init__(self, config: Config, ledger: Ledger, runtime: Runtime) -> None:
        super().__init__(config_name="node")
        self._config = config
        self._ledger = ledger
        self._runtime = runtime

    @DBOS.workflow()
    def run_study(self, study: str, revision: int, attempt: int) -> str:
        """A closed study becomes slides, predictions, objects, and rows to deliver."""
        with structlog.contextvars.bound_contextvars(study=study, revision=revision):
            opened = self.open_slides(study, revision, attempt)
            if "slides" not in opened:
                return self._give_up(study, revision, opened)
            for key in opened["slides"]:
                analyzed = self.analyze(study, revision, key)
                if "failed" in analyzed:
                    return self._give_up(study, revision, analyzed)
            built = self.build_results(study, revision)
            if "failed" in built:
                return self._give_up(study, revision, built)
            return "built"

    @DBOS.workflow()
    def deliver_to(self, study: str, revision: int, destination: str) -> str:
        """Every object of a revision still pending for a destination, one step an object."""
        with structlog.contextvars.bound_contextvars(study=study, revision=revision):
            pending = self.pending_for(study, revision, destination)
            for sop_instance_uid in pending:
                state = self.deliver_one(study, revision, destination, sop_instance_uid)
                if state == DeliveryState.PENDING:
                    break  # the destination is not well: the rest waits for the next round too
            return self.finish_delivery(study, revision)

    # -- steps ----------------------------------------------------------------------------------

    @DBOS.step()
    def open_slides(self, study: str, revision: int, attempt: int) -> dict[str, Any]:
        """Keys of the slides to analyze; moves the study to `analyzing`."""
        current = self._ledger.revision(study, revision)
        if current is None or current.attempt != attempt or current.state is State.PARKED:
            return {"stale": True}
        self._ledger.start_analysis(study, revision, self._runtime.engine)
        log.info("study_started", attempt=attempt, engine=self._runtime.engine)
        return _answer(lambda: {"slides": [s.key for s in self._slides(study, revision)]})

    @DBOS.step()
    def analyze(self, study: str, revision: int, key: str) -> dict[str, Any]:
        """Run the student on one slide; the prediction is on disk when the step is done."""

        def work() -> dict[str, Any]:
            slide = self._slide(study, revision, key)
            result = predict.predict(
                slide.paths, self._runtime, progress=self._reporter(study, revision, key)
            )
            archive.save(result, self._folder(study, revision) / f"prediction-{key}.npz")
            return {"result": type(result).__name__}

        answer = _answer(work)
        log.info("slide_analyzed", slide=key, **answer)
        return answer

    @DBOS.step()
    def build_results(self, study: str, revision: int) -> dict[str, Any]:
        """Write the objects of every slide and queue their deliveries."""

        def work() -> dict[str, Any]:
            made: list[Result] = []
            for number, slide in enumerate(self._slides(study, revision)):
                made += self._write_objects(study, revision, slide, number)
            self._ledger.start_delivery(
                study, revision, made, [d.name for d in self._config.destinations]
            )
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
        result = self._result(study, revision, sop_instance_uid)
        outcome = deliver.send(
            self._config.node.data_dir / result.path, target, self._config.node.ae_title
        )
        state, error = outcome.state, outcome.error
        delivery = self._delivery(study, revision, destination, sop_instance_uid)
        next_attempt_at = None
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
    def finish_delivery(self, study: str, revision: int) -> str:
        """Close the revision when nothing is pending any more."""
        state = self._ledger.finish_delivery(study, revision)
        if state is not State.DELIVERING:
            log.info("study_finished", state=state.value)
        return state.value

    @DBOS.step()
    def note_failure(self, study: str, revision: int, reason: str, may_pass: bool) -> str:
        """Queue the study again with back-off, or park it with the reason."""
        current = self._revision(study, revision)
        if may_pass and current.failures < _MOST_FAILURES:
            wait_s = deliver.wait_before_retry_s(self._config.delivery, current.failures)
            self._ledger.try_later(study, revision, reason, wait_s)
            log.warning("study_failed", reason=reason, retry_in_s=round(wait_s, 1))
            return "again"
        self._ledger.park(study, revision, reason)
        log.error("study_parked", reason=reason)
        return "parked"

    # -- inside ---------------------------------------------------------------------------------

    def _give_up(self, study: str, revision: int, answer: dict[str, Any]) -> str:
        if "stale" in answer:
            return "stale"
        return self.note_failure(study, revision, answer["failed"], answer["may_pass"])

    def _slides(self, study: str, revision: int) -> list[SlideFiles]:
        rows = self._ledger.instances(study, revision)
        paths = {row["sop_instance_uid"]: self._config.spool_dir / row["path"] for row in rows}
        return slides_to_analyze(gather_evidence(read_facts(p) for p in paths.values()), paths)

    def _slide(self, study: str, revision: int, key: str) -> SlideFiles:
        return next(s for s in self._slides(study, revision) if s.key == key)

    def _revision(self, study: str, revision: int) -> Revision:
        current = self._ledger.revision(study, revision)
        if current is None:
            raise KeyError(f"revision {revision} of study {study} is not in the ledger")
        return current

    def _result(self, study: str, revision: int, uid: str) -> Result:
        return next(r for r in self._ledger.results(study, revision) if r.sop_instance_uid == uid)

    def _delivery(self, study: str, revision: int, destination: str, uid: str) -> Any:
        return next(
            d
            for d in self._ledger.deliveries(study, revision)
            if d.sop_instance_uid == uid and d.destination == destination
        )

    def _too_old(self, study: str, revision: int) -> bool:
        analyzed_at = self._revision(study, revision).analyzed_at or self._ledger.now()
        return self._ledger.now() - analyzed_at > self._config.delivery.give_up_after_s

    def _folder(self, study: str, revision: int) -> Path:
        """Folder of a revision's predictions and objects; named by us, not by DICOM values."""
        name = hashlib.sha256(f"{study}/{revision}".encode()).hexdigest()[:24]
        folder = self._config.results_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _reporter(self, study: str, revision: int, key: str) -> Callable[[Progress], None]:
        """Writes progress to the ledger at most once a second, and when a slide is done."""
        last = -_PROGRESS_EVERY_S

        def report(progress: Progress) -> None:
            nonlocal last
            done = progress.tiles_done == progress.tiles_total
            if progress.elapsed_s - last < _PROGRESS_EVERY_S and not done:
                return
            last = progress.elapsed_s
            self._ledger.note_progress(
                study,
                revision,
                key,
                progress.tiles_done,
                progress.tiles_total,
                progress.tiles_per_s,
            )

        return report

    def _write_objects(
        self, study: str, revision: int, slide: SlideFiles, number: int
    ) -> list[Result]:
        bundle = self._runtime.bundle
        current = self._revision(study, revision)
        folder = self._folder(study, revision)
        # The time the study was closed, not the time of this run: a second run must give the
        # same bytes under the same UIDs.
        created_at = datetime.fromtimestamp(current.closed_at or 0).astimezone()
        provenance = Provenance(
            bundle_name=bundle.manifest.name,
            bundle_version=bundle.manifest.version,
            bundle_digest=bundle.digest,
            engine=self._runtime.engine,
            node_version=__version__,
            created_at=created_at,
        )
        built = build_objects(
            dcmread(slide.base_path, stop_before_pixels=True),
            archive.load(folder / f"prediction-{slide.key}.npz"),
            bundle.manifest,
            provenance,
            slide=slide,
            number=number,
            predecessor=self._predecessor(study, revision, slide.key),
        )
        return [self._keep(folder, item) for item in built]

    def _keep(self, folder: Path, item: BuiltObject) -> Result:
        """Write one object, unless these very UIDs have already reached a destination.

        What a PACS holds under a UID must not change, for example after an update of the node.
        """
        path = folder / f"{item.kind}-{item.slide}.dcm"
        uid = str(item.dataset.SOPInstanceUID)
        if not (path.exists() and self._ledger.was_delivered(uid)):
            write(item.dataset, path)
        return Result(
            sop_instance_uid=uid,
            sop_class_uid=str(item.dataset.SOPClassUID),
            kind=item.kind,
            slide=item.slide,
            path=str(path.relative_to(self._config.node.data_dir)),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )

    def _predecessor(self, study: str, revision: int, key: str) -> Dataset | None:
        """The report of the same slide in the revision before, which this one replaces."""
        for earlier in range(revision - 1, 0, -1):
            for result in self._ledger.results(study, earlier):
                if result.kind == "report" and result.slide == key:
                    return dcmread(self._config.node.data_dir / result.path)
        return None


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The value of a step, or its failure as a value that survives a replay."""
    try:
        return work()
    except (DeviceFailed, LedgerBusy, OSError) as error:
        return {"failed": f"{type(error).__name__}: {error}", "may_pass": True}
    except (SlideUnreadable, InvalidDicomError) as error:
        return {"failed": f"{type(error).__name__}: {error}", "may_pass": False}
    except Exception as error:  # the worker's loop: the study is parked with the reason, not lost
        log.exception("unexpected_error")
        return {"failed": f"unexpected {type(error).__name__}: {error}", "may_pass": False}
