"""The worker process: one engine, one study at a time, and the rounds that find what is due."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.config.models import ModelEntry
from dicom_node.config.whole import Config
from dicom_node.exit_status import MAY_PASS
from dicom_node.ledger.errors import LedgerBusy
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.queries.of_withdrawals import told_of_recalled
from dicom_node.ledger.rows import Revision
from dicom_node.observe.log import place_of
from dicom_node.processes.heartbeat import NOBODY, Heart
from dicom_node.processes.losses import Loss, Losses, missing_after, opened_after
from dicom_node.work.interruptions import Working, count_interruptions
from dicom_node.work.overseer import Overseer
from dicom_node.work.pruning import EVERY_S, prune
from dicom_node.work.rounds import WORKFLOW_VERSION, close, run_round
from dicom_node.work.students.opened import Students
from dicom_node.work.suspect import Suspect, note_death
from dicom_node.work.underway import workflow_id
from dicom_node.work.watch import own_bytes
from dicom_node.work.workflow import STUDY_QUEUE, StudyWorkflow
from engines.bundle import Bundle
from engines.errors import EngineMissing
from engines.here.records import Records
from engines.machine import available_memory
from engines.names import Opened
from engines.runtime import Runtime, open_runtime
from inference.durable import sweep
from inference.lock import held

log = structlog.get_logger()

_ROUND_S = 0.5
_DRAIN_LOOK_S = 0.1
_LEAST_MEMORY_BYTES = 1 << 30
"""For one study, however little the machine has left when the worker is ready."""


def run_worker(config: Config, stop: threading.Event, heart: Heart = NOBODY) -> None:
    """Work until `stop` is set, then let what is short finish within the drain time.

    Another worker on the same data folder is waited for before anything else is done: two would
    each recover the other's studies. A slide under analysis is paused at once and goes on after
    the next start. Raises BundleRejected or EngineMissing before anything is taken from the queue.
    """

    def waits(holder: str) -> None:
        log.warning("waiting_for_lock", lock="worker.lock", held_by=holder)

    _die_first()
    lock = config.node.data_dir / "worker.lock"
    with held(lock, stop=stop, waits=waits, looks=heart.waits) as is_alone:
        if is_alone:
            sweep(config.results_dir)
            _work(config, stop, heart)


def _die_first() -> None:
    """Where the kernel has to end a process for want of memory, let it be this one: the listener
    and the supervisor hold what is not written yet."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _work(config: Config, stop: threading.Event, heart: Heart) -> None:
    def opening(
        bundle: Bundle, entry: ModelEntry, again: Opened | None
    ) -> AbstractContextManager[Runtime]:
        return _runtime(config, losses, bundle, entry, again)

    losses = Losses(config.node.data_dir)

    students = Students(config, opening, heart.waits)
    try:
        _serve_studies(config, students, losses, stop, heart)
    finally:
        students.close()
    log.info("worker_stopped")


@contextmanager
def _runtime(
    config: Config, losses: Losses, bundle: Bundle, model: ModelEntry, again: Opened | None = None
) -> Iterator[Runtime]:
    """The model's runtime; a device that is lost ends this process with a status of its own."""
    before = losses.of(model.name, bundle.digest)
    if before is not None:
        log.warning("device_was_lost", engine=before.engine, reason=before.reason)
    try:
        with open_runtime(
            bundle,
            engine=model.engine,
            precision=model.precision,
            threads=model.threads,
            build_plans=model.build_plans,
            records=Records(config.comparisons_dir),
            lost=partial(losses.end, model.name, bundle.digest),
            again=again or opened_after(model.engine, before),
        ) as runtime:
            yield runtime
    except EngineMissing as error:
        told = missing_after(error, model.engine, before)
        if told is error:
            raise
        raise told from error


def _serve_studies(
    config: Config, students: Students, losses: Losses, stop: threading.Event, heart: Heart
) -> None:
    ledger = WorkerLedger.open(config.ledger_at, owner=config.node.name)
    workflow = StudyWorkflow(config, ledger, students, stop)
    suspect = Suspect(config.node.data_dir / "counting")

    def analyzed() -> str:
        run = workflow.working.watch.run_of("analyzing")
        return workflow_id(run) if run else ""

    losses.during = analyzed

    def end() -> None:
        suspect.clear()  # what is to blame is parked
        workflow.working.forget()
        os._exit(MAY_PASS)

    def beat() -> None:
        heart.beat()
        if stop.is_set():
            workflow.working.stop()

    Overseer(
        workflow.working.watch,
        ledger,
        longest_standstill_s=config.analysis.longest_standstill_s,
        most_memory_bytes=_most_memory_bytes(config),
        beat=beat,
        end=end,
    ).start()
    _note_modes(ledger, students)
    warn_of_recalled(ledger, [(one.model, one.bundle.digest) for one in students.roster.known])
    _look_back(config, ledger, workflow.working, suspect, losses.settle())
    DBOS(config=_dbos_config(config, ledger))
    DBOS.launch()
    DBOS.register_queue(STUDY_QUEUE, worker_concurrency=1, polling_interval_sec=0.2)
    pruned_at = float("-inf")
    while not stop.is_set():
        try:
            with workflow.working.watch.on(None, "going its rounds") as moved:
                run_round(config, ledger, workflow, suspect)
                moved()
            if time.monotonic() - pruned_at > EVERY_S:
                prune(ledger)
                workflow.sweep()
                pruned_at = time.monotonic()
        except LedgerBusy as error:
            log.warning("ledger_busy", error=str(error))
        except (
            OperationalError,
            InterfaceError,
            NoConnectionFree,
        ) as error:  # of the workflow library, on the same database
            log.warning("ledger_busy", error=place_of(error))
        stop.wait(_ROUND_S)
    workflow.working.stop()
    log.info("worker_draining")
    deadline = time.monotonic() + config.node.drain_s
    _wait_for_study(workflow, deadline)
    DBOS.destroy(workflow_completion_timeout_sec=0)
    is_idle = workflow.early.ended(deadline - time.monotonic()) and not workflow.underway.any()
    _leave_if_busy(ledger, is_idle=is_idle)


def _note_modes(ledger: WorkerLedger, students: Students) -> None:
    """Record which models are live or silent from now on: going live is a change that is kept."""
    ledger.analyses.note_modes(students.roster.modes())


def warn_of_recalled(ledger: WorkerLedger, bundles: Sequence[tuple[str, str]]) -> None:
    """A line of the log for each bundle, by model and digest, that was recalled."""
    recalled = ledger.queries.recalled()
    for model, digest in bundles:
        if told := told_of_recalled(digest, recalled):
            log.warning("recalled_bundle", model=model, reason=told)


def _most_memory_bytes(config: Config) -> int:
    """Of this process: what it may use before the study in work is held to be too large."""
    if config.analysis.most_memory_mb:
        return config.analysis.most_memory_mb << 20
    left = available_memory()
    return sys.maxsize if left is None else own_bytes() + max(_LEAST_MEMORY_BYTES, left * 3 // 4)


def _dbos_config(config: Config, ledger: WorkerLedger) -> DBOSConfig:
    return {
        "name": "dicom-node",
        "system_database_engine": ledger.database.engine,
        "application_version": WORKFLOW_VERSION,
        "executor_id": config.node.name,  # the same after a restart: it recovers its own workflows
        "serializer": DBOSPortableJSONSerializer(),  # the default unpickles what is in the database
        "log_level": "ERROR",
        "enable_otlp": False,
    }


def _look_back(
    config: Config, ledger: WorkerLedger, working: Working, suspect: Suspect, loss: Loss | None
) -> None:
    """Who was in work when the last worker died: what was counted or else what was analyzed.

    A study that was being counted is counted before anything else begins, so that nothing beside it
    is blamed for the next death.
    """
    death = suspect.left()
    if death is None:
        count_interruptions(
            ledger,
            working.left(),
            config.node.most_crashes,
            lambda run: loss.tells(workflow_id(run)) if loss else "",
        )
        working.forget()
        return
    working.forget()
    is_due = note_death(ledger, death, config.node.most_crashes)
    suspect.clear()
    if is_due:
        close(config, ledger, working.watch, suspect, only=death.run.study)


def _wait_for_study(workflow: StudyWorkflow, deadline: float) -> None:
    """Wait until no study is being analyzed or the one that is has paused."""
    while workflow.underway.any() and time.monotonic() < deadline:
        if workflow.paused.wait(_DRAIN_LOOK_S):
            return


def _leave_if_busy(ledger: WorkerLedger, *, is_idle: bool) -> None:
    """End the process now when a study is still under analysis: it is durable and goes on after the
    next start."""
    unfinished: list[Revision] = []
    try:
        unfinished = ledger.queries.my_analyses()
        for revision in unfinished:
            ledger.studies.note_pause(revision.run)
            log.info("study_paused", study=revision.study_instance_uid)
    except LedgerBusy as error:
        log.warning("ledger_busy", error=str(error))
    if unfinished or not is_idle:
        log.info("worker_stopped")
        os._exit(0)  # a plain exit would wait for the threads that analyze
