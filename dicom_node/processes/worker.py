"""The worker process: one engine, one study at a time, and the rounds that find what is due."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, WorkflowStatus
from sqlalchemy.exc import DatabaseError, OperationalError

from dicom_node.config import Config
from dicom_node.deliver.lanes import Lanes, finish
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import DeliveryState, LedgerBusy, LedgerDamaged, Revision, State
from dicom_node.observe.log import place_of, trace_of
from dicom_node.study.closing import close_ready
from dicom_node.work.workflow import (
    MOST_FAILURES,
    NO_ROOM_WAIT_S,
    STUDY_QUEUE,
    StudyWorkflow,
    workflow_id,
)
from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime
from inference.lock import held

log = structlog.get_logger()

_ROUND_S = 0.5
_DRAIN_LOOK_S = 0.1
_LEAST_FREE_BYTES = 4 << 20
"""With less room on the disk no study is taken up: its tiles could not be kept."""
_WORKFLOW_VERSION = "2"
"""Changes when the steps of a workflow change: what an old version began is begun anew."""
_WAITING = {"ENQUEUED", "DELAYED"}
_PENDING = "PENDING"


def run_worker(config: Config, stop: threading.Event) -> None:
    """Work until `stop` is set, then let what is short finish within the drain time.

    Another worker on the same data folder is waited for before anything else is done: two would
    each recover the other's studies. A slide under analysis is paused at once and goes on after
    the next start. Raises BundleRejected or EngineMissing before anything is taken from the queue.
    """

    def waits(holder: str) -> None:
        log.warning("waiting_for_lock", lock="worker.lock", held_by=holder)

    with held(config.node.data_dir / "worker.lock", stop=stop, waits=waits) as is_alone:
        if is_alone:
            _work(config, stop)


def _work(config: Config, stop: threading.Event) -> None:
    bundle = open_bundle(config.model.bundle)
    with open_runtime(
        bundle,
        engine=config.model.engine,
        precision=config.model.precision,
        threads=config.model.threads,
        build_plans=config.model.build_plans,
    ) as runtime:
        log.info(
            "model_ready",
            bundle=bundle.manifest.name,
            version=bundle.manifest.version,
            digest=bundle.digest[:12],
            engine=runtime.engine,
            note=runtime.note or None,
        )
        _serve_studies(config, runtime, stop)
    log.info("worker_stopped")


def _serve_studies(config: Config, runtime: Runtime, stop: threading.Event) -> None:
    ledger = Ledger.open(config.database_path)
    _count_interruptions(ledger, config.node.most_crashes)
    workflow = StudyWorkflow(config, ledger, runtime, stop)
    lanes = Lanes(config, ledger, stop)
    DBOS(config=_dbos_config(ledger))
    DBOS.launch()
    DBOS.register_queue(STUDY_QUEUE, worker_concurrency=1, polling_interval_sec=0.2)
    lanes.start()
    while not stop.is_set():
        try:
            _round(config, ledger, workflow)
        except LedgerBusy as error:
            log.warning("ledger_busy", error=str(error))
        except OperationalError as error:  # of the workflow library, on the same database
            log.warning("ledger_busy", error=place_of(error))
        stop.wait(_ROUND_S)
    log.info("worker_draining")
    deadline = time.monotonic() + config.node.drain_s
    _wait_for_study(workflow, deadline)
    have_ended = lanes.join(deadline - time.monotonic())
    DBOS.destroy(workflow_completion_timeout_sec=0)
    _leave_if_busy(ledger, have_ended)


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
    """Close studies that are complete, queue what is due, finish what is delivered."""
    close_ready(
        ledger,
        config.spool_dir,
        quiet_time_s=config.node.quiet_time_s,
        incomplete_after_s=config.node.incomplete_after_s,
    )
    has_room = shutil.disk_usage(config.node.data_dir).free >= _LEAST_FREE_BYTES
    for revision in ledger.in_state(State.QUEUED):
        if has_room and revision.not_before <= ledger.now():
            _alone(ledger, revision, lambda r: _queue_study(ledger, workflow, r))
    for revision in ledger.in_state(State.ANALYZING):
        _alone(ledger, revision, lambda r: _queue_study(ledger, workflow, r))
    for revision in ledger.in_state(State.DELIVERING):
        _alone(ledger, revision, lambda r: _tend_deliveries(config, ledger, r))


def _alone(ledger: Ledger, revision: Revision, act: Callable[[Revision], None]) -> None:
    """Do something for one study; an error nobody expected parks that study and no other."""
    try:
        act(revision)
    except (LedgerBusy, LedgerDamaged, DatabaseError):
        raise  # of the database, so of all studies
    except Exception as error:  # noqa: BLE001 - whatever it is, the other studies go on
        log.error("study_failed", study=revision.study_instance_uid, trace=trace_of(error))
        ledger.park(revision.run, f"unexpected {place_of(error)}")


def _queue_study(ledger: Ledger, workflow: StudyWorkflow, revision: Revision) -> None:
    """Queue an attempt once; one whose workflow ended without an outcome is tried anew."""
    run = revision.run
    name = workflow_id(run)
    status = DBOS.get_workflow_status(name)
    if status is None:
        with SetWorkflowID(name):
            DBOS.enqueue_workflow(
                STUDY_QUEUE, workflow.run_study, run.study, run.revision, run.attempt
            )
    elif not _is_under_way(status, workflow):
        # A workflow that has just moved the study on also ends: then none of this changes anything.
        reason = f"the workflow of attempt {run.attempt} ended as {status.status}"
        if workflow.underway.was_unwritten(name):
            reason = f"what attempt {run.attempt} did could not be written"
            if ledger.try_later(run, reason, NO_ROOM_WAIT_S, counts=False):
                log.error("study_waits_for_room", study=run.study, reason=reason)
        elif revision.failures >= MOST_FAILURES:
            ledger.park(run, reason)
        elif ledger.try_later(run, reason, NO_ROOM_WAIT_S):
            log.error("workflow_broken", study=run.study, reason=reason)


def _is_under_way(status: WorkflowStatus, workflow: StudyWorkflow) -> bool:
    """Whether a workflow of ours will come to an outcome by itself."""
    if status.app_version not in (None, _WORKFLOW_VERSION):
        return False
    if status.status == _PENDING:
        return not workflow.underway.is_lost(status.workflow_id)
    return status.status in _WAITING


def _tend_deliveries(config: Config, ledger: Ledger, revision: Revision) -> None:
    """Give up destinations that are gone from the configuration; finish what has all arrived."""
    run, known = revision.run, {d.name for d in config.destinations}
    rows = ledger.deliveries(run.study, run.revision)
    pending = {d.destination for d in rows if d.state is DeliveryState.PENDING}
    for name in sorted(pending - known):
        ledger.refuse_pending(run, name, "no longer in the configuration")
    if not pending & known:
        finish(ledger, run)


def _count_interruptions(ledger: Ledger, most_crashes: int) -> None:
    """A study that was being analyzed when the worker died counts it; too often parks it."""
    for revision in ledger.in_state(State.ANALYZING):
        crashes = ledger.note_interruption(revision.run)
        log.warning("study_interrupted", study=revision.study_instance_uid, crashes=crashes)
        if crashes > most_crashes:
            ledger.park(revision.run, f"the worker died {crashes} times while analyzing it")


def _wait_for_study(workflow: StudyWorkflow, deadline: float) -> None:
    """Wait until no study is being analyzed or the one that is has paused."""
    while workflow.underway.any() and time.monotonic() < deadline:
        if workflow.paused.wait(_DRAIN_LOOK_S):
            return


def _leave_if_busy(ledger: Ledger, lanes_have_ended: bool) -> None:
    """End the process now when a study or a delivery still runs: both are durable and go on after
    the next start."""
    unfinished: list[Revision] = []
    try:
        unfinished = ledger.in_state(State.ANALYZING)
        for revision in unfinished:
            ledger.note_interruption(revision.run, by=-1)  # a planned stop is not a crash
            log.info("study_paused", study=revision.study_instance_uid)
    except LedgerBusy as error:
        log.warning("ledger_busy", error=str(error))
    if unfinished or not lanes_have_ended:
        log.info("worker_stopped")
        os._exit(0)  # a plain exit would wait for the threads that analyze and send
