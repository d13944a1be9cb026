"""The worker process: one engine, one study at a time, and the rounds that find what is due."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetWorkflowID,
    WorkflowStatus,
    WorkflowStatusString,
)

from dicom_node.config import Config
from dicom_node.ledger import Ledger
from dicom_node.records import DeliveryState, LedgerBusy, Revision, State
from dicom_node.closing import close_ready
from dicom_node.workflow import (
    DELIVERY_QUEUE,
    MOST_FAILURES,
    STUDY_QUEUE,
    StudyWorkflow,
    ask_destinations,
)
from engines.bundle import open_bundle
from engines.runtime import open_runtime

log = structlog.get_logger()

_ROUND_S = 0.5
_DRAIN_LOOK_S = 0.1
_WORKFLOW_VERSION = "1"
"""Changes when the steps of a workflow change: what an old version began is begun anew."""
_UNDER_WAY = {"ENQUEUED", "PENDING", "DELAYED"}


def run_worker(config: Config, stop: threading.Event) -> None:
    """Work until `stop` is set, then let what is short finish within the drain time.

    A slide under analysis is paused at once and goes on after the next start. Raises
    BundleRejected or EngineMissing before anything is taken from the queue.
    """
    bundle = open_bundle(config.model.bundle)
    with (
        open_runtime(
            bundle,
            engine=config.model.engine,
            precision=config.model.precision,
            threads=config.model.threads,
            build_plans=config.model.build_plans,
        ) as runtime,
        _alone(config, stop),
    ):
        log.info(
            "model_ready",
            bundle=bundle.manifest.name,
            version=bundle.manifest.version,
            digest=bundle.digest[:12],
            engine=runtime.engine,
            note=runtime.note or None,
        )
        ledger = Ledger.open(config.database_path)
        _count_interruptions(ledger, config.node.most_crashes)
        workflow = StudyWorkflow(config, ledger, runtime, stop)
        DBOS(config=_dbos_config(ledger))
        DBOS.launch()
        DBOS.register_queue(STUDY_QUEUE, worker_concurrency=1, polling_interval_sec=0.2)
        DBOS.register_queue(DELIVERY_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
        ask_destinations(config, ledger)
        while not stop.is_set():
            try:
                _round(config, ledger, workflow)
            except LedgerBusy as error:
                log.warning("ledger_busy", error=str(error))
            stop.wait(_ROUND_S)
        log.info("worker_draining")
        drain_s = _wait_for_study(ledger, workflow, config.node.drain_s)
        DBOS.destroy(workflow_completion_timeout_sec=int(drain_s))
        _leave_if_busy(ledger)
    log.info("worker_stopped")


@contextmanager
def _alone(config: Config, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of the data folder: two workers would each recover the other's studies."""
    path = config.node.data_dir / "worker.lock"
    with path.open("w") as lock:
        while not stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                log.warning("another_worker_runs", lock=str(path))
                stop.wait(1.0)
        yield


def _dbos_config(ledger: Ledger) -> DBOSConfig:
    return {
        "name": "dicom-node",
        "system_database_engine": ledger.engine,
        "application_version": _WORKFLOW_VERSION,
        "executor_id": "worker",  # the same after a restart: it recovers its own workflows
        "serializer": DBOSPortableJSONSerializer(),  # the default unpickles what is in the database
        "log_level": "ERROR",
        "enable_otlp": False,
    }


def _round(config: Config, ledger: Ledger, workflow: StudyWorkflow) -> None:
    """Close studies that are complete, and queue what is due."""
    close_ready(
        ledger,
        config.spool_dir,
        quiet_time_s=config.node.quiet_time_s,
        incomplete_after_s=config.node.incomplete_after_s,
    )
    for revision in ledger.in_state(State.QUEUED):
        if revision.not_before <= ledger.now():
            _queue_study(ledger, workflow, revision)
    for revision in ledger.in_state(State.ANALYZING):
        _queue_study(ledger, workflow, revision)
    for revision in ledger.in_state(State.DELIVERING):
        _queue_deliveries(config, ledger, workflow, revision)


def _queue_study(ledger: Ledger, workflow: StudyWorkflow, revision: Revision) -> None:
    """Queue an attempt once; one whose workflow ended without an outcome is tried anew."""
    run = revision.run
    workflow_id = f"{run.study}/{run.revision}/{run.attempt}"
    status = DBOS.get_workflow_status(workflow_id)
    if status is None:
        with SetWorkflowID(workflow_id):
            DBOS.enqueue_workflow(
                STUDY_QUEUE, workflow.run_study, run.study, run.revision, run.attempt
            )
    elif status.status not in _UNDER_WAY or status.app_version not in (None, _WORKFLOW_VERSION):
        reason = f"the workflow of attempt {run.attempt} ended as {status.status}"
        # A workflow that has just moved the study on also ends: then neither changes anything.
        if revision.failures >= MOST_FAILURES:
            ledger.park(run, reason)
        elif ledger.try_later(run, reason, 1.0):
            log.error("workflow_broken", study=run.study, reason=reason, error=str(status.error))


def _queue_deliveries(
    config: Config, ledger: Ledger, workflow: StudyWorkflow, revision: Revision
) -> None:
    """Queue a round of delivery to every destination that is due and has none under way."""
    run = revision.run
    rows = ledger.deliveries(run.study, run.revision)
    for name in sorted({d.destination for d in rows}):
        if name not in {d.name for d in config.destinations}:
            ledger.refuse_pending(run, name, "no longer in the configuration")
            ledger.finish_delivery(run)
            continue
        mine = [d for d in rows if d.destination == name and d.state is DeliveryState.PENDING]
        if max((d.next_attempt_at or 0.0 for d in mine), default=0.0) > ledger.now():
            continue
        prefix = f"{run.study}/{run.revision}/{run.attempt}/{name}/"
        rounds = DBOS.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
        if _broken(rounds) > MOST_FAILURES:
            ledger.park(run, f"delivery to {name} ended {_broken(rounds)} times with an error")
        elif not any(r.status in _UNDER_WAY for r in rounds):
            with SetWorkflowID(f"{prefix}{len(rounds)}"):
                DBOS.enqueue_workflow(
                    DELIVERY_QUEUE,
                    workflow.deliver_to,
                    run.study,
                    run.revision,
                    run.attempt,
                    name,
                )


def _broken(rounds: Sequence[WorkflowStatus]) -> int:
    return sum(r.status == WorkflowStatusString.ERROR.value for r in rounds)


def _count_interruptions(ledger: Ledger, most_crashes: int) -> None:
    """A study that was being analyzed when the worker died counts it; too often parks it."""
    for revision in ledger.in_state(State.ANALYZING):
        crashes = ledger.note_interruption(revision.run)
        log.warning("study_interrupted", study=revision.study_instance_uid, crashes=crashes)
        if crashes > most_crashes:
            ledger.park(revision.run, f"the worker died {crashes} times while analyzing it")


def _wait_for_study(ledger: Ledger, workflow: StudyWorkflow, drain_s: float) -> float:
    """Wait until no study is being analyzed or the one that is has paused; the drain time left."""
    deadline = time.monotonic() + drain_s
    while ledger.in_state(State.ANALYZING):
        if workflow.paused.wait(_DRAIN_LOOK_S) or time.monotonic() >= deadline:
            return 0.0
    return max(0.0, deadline - time.monotonic())


def _leave_if_busy(ledger: Ledger) -> None:
    """End the process now when a study still runs: it is durable and goes on after the start."""
    unfinished = ledger.in_state(State.ANALYZING)
    for revision in unfinished:
        ledger.note_interruption(revision.run, by=-1)  # a planned stop is not a crash
        log.info("study_paused", study=revision.study_instance_uid)
    if unfinished:
        log.info("worker_stopped")
        os._exit(0)  # a plain exit would wait for the thread that analyzes
