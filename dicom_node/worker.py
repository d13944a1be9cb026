"""The worker process: one engine, one study at a time, and the rounds that find what is due."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from dicom_node import deliver
from dicom_node.config import Config
from dicom_node.ledger import Ledger
from dicom_node.records import DeliveryState, Revision, State
from dicom_node.study import close_ready
from dicom_node.workflow import DELIVERY_QUEUE, STUDY_QUEUE, StudyWorkflow
from engines.bundle import open_bundle
from engines.runtime import open_runtime

log = structlog.get_logger()

_ROUND_S = 0.5
_WORKFLOW_VERSION = "1"
"""Changes when the steps of a workflow change, so that old ones are not replayed by new code."""


def run_worker(config: Config, stop: threading.Event) -> None:
    """Work until `stop` is set, then finish the running study within the drain time.

    Raises BundleRejected or EngineMissing before anything is taken from the queue.
    """
    bundle = open_bundle(config.model.bundle)
    with open_runtime(bundle, engine=config.model.engine, threads=config.model.threads) as runtime:
        log.info(
            "model_ready",
            bundle=bundle.manifest.name,
            version=bundle.manifest.version,
            digest=bundle.digest[:12],
            engine=runtime.engine,
        )
        ledger = Ledger.open(config.database_path)
        _count_interruptions(ledger, config.node.most_crashes)
        workflow = StudyWorkflow(config, ledger, runtime)
        DBOS(config=_dbos_config(ledger))
        DBOS.launch()
        DBOS.register_queue(STUDY_QUEUE, worker_concurrency=1, polling_interval_sec=0.2)
        DBOS.register_queue(DELIVERY_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
        _ask_destinations(config, ledger)
        try:
            _rounds(config, ledger, workflow, stop)
        finally:
            log.info("worker_draining")
            DBOS.destroy(workflow_completion_timeout_sec=int(config.node.drain_s))
    log.info("worker_stopped")


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


def _rounds(config: Config, ledger: Ledger, workflow: StudyWorkflow, stop: threading.Event) -> None:
    """Close studies, queue what is due, until told to stop."""
    queued: set[str] = set()
    while not stop.is_set():
        close_ready(
            ledger,
            config.spool_dir,
            quiet_time_s=config.node.quiet_time_s,
            incomplete_after_s=config.node.incomplete_after_s,
        )
        for revision in ledger.in_state(State.QUEUED):
            if revision.not_before <= ledger.now():
                _enqueue_study(workflow, revision, queued)
        for revision in ledger.in_state(State.ANALYZING):
            _park_if_broken(ledger, revision, _study_id(revision))
        for revision in ledger.in_state(State.DELIVERING):
            _enqueue_deliveries(config, ledger, workflow, revision, queued)
        stop.wait(_ROUND_S)


def _enqueue_study(workflow: StudyWorkflow, revision: Revision, queued: set[str]) -> None:
    arguments = (revision.study_instance_uid, revision.revision, revision.attempt)
    _once(
        _study_id(revision),
        queued,
        partial(DBOS.enqueue_workflow, STUDY_QUEUE, workflow.run_study, *arguments),
    )


def _enqueue_deliveries(
    config: Config, ledger: Ledger, workflow: StudyWorkflow, revision: Revision, queued: set[str]
) -> None:
    study, number = revision.study_instance_uid, revision.revision
    rows = ledger.deliveries(study, number)
    for name in sorted({d.destination for d in rows}):
        if name not in {d.name for d in config.destinations}:
            ledger.refuse_pending(study, number, name, "no longer in the configuration")
            ledger.finish_delivery(study, number)
            continue
        mine = [d for d in rows if d.destination == name]
        pending = [d for d in mine if d.state is DeliveryState.PENDING]
        due_at = max((d.next_attempt_at or 0.0 for d in pending), default=0.0)
        if due_at > ledger.now():
            continue
        # Attempts only grow, so every round of a delivery has an id of its own.
        tries = sum(d.attempts for d in mine)
        workflow_id = f"{_study_id(revision)}/{name}/{tries}"
        _park_if_broken(ledger, revision, workflow_id)
        _once(
            workflow_id,
            queued,
            partial(
                DBOS.enqueue_workflow, DELIVERY_QUEUE, workflow.deliver_to, study, number, name
            ),
        )


def _study_id(revision: Revision) -> str:
    return f"{revision.study_instance_uid}/{revision.revision}/{revision.attempt}"


def _park_if_broken(ledger: Ledger, revision: Revision, workflow_id: str) -> None:
    """Park a study whose workflow ended with an error that no step foresaw: never stay silent."""
    status = DBOS.get_workflow_status(workflow_id)
    if status is not None and status.status in ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
        reason = f"unexpected error in the workflow: {status.error or status.status}"
        ledger.park(revision.study_instance_uid, revision.revision, reason)
        log.error("study_parked", study=revision.study_instance_uid, reason=reason)


def _once(workflow_id: str, queued: set[str], enqueue: Callable[[], object]) -> None:
    """Enqueue under an id: DBOS runs an id once ever, the set only spares asking it again."""
    if workflow_id not in queued:
        with SetWorkflowID(workflow_id):
            enqueue()
        queued.add(workflow_id)


def _count_interruptions(ledger: Ledger, most_crashes: int) -> None:
    """A study that was being analyzed when the worker died counts it; too often parks it."""
    for revision in ledger.in_state(State.ANALYZING):
        study, number = revision.study_instance_uid, revision.revision
        crashes = ledger.note_interruption(study, number)
        log.warning("study_interrupted", study=study, revision=number, crashes=crashes)
        if crashes > most_crashes:
            ledger.park(study, number, f"the worker died {crashes} times while analyzing it")


def _ask_destinations(config: Config, ledger: Ledger) -> None:
    """Learn, before the first study runs, what each destination will accept."""
    for destination in config.destinations:
        answer = deliver.ask(destination, config.node.ae_title)
        ledger.note_destination(destination.name, answer.reachable, answer.accepted, answer.reason)
        if answer.reason:
            log.warning("destination_problem", destination=destination.name, reason=answer.reason)
        else:
            log.info("destination_ready", destination=destination.name)
