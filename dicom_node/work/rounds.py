"""Rounds of the worker: which studies close, and which attempts are queued."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from dbos import DBOS, SetWorkflowID, WorkflowStatus
from sqlalchemy.exc import DatabaseError, InterfaceError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Revision, Run
from dicom_node.ledger.states import State
from dicom_node.ledger.switches import ANALYSIS
from dicom_node.observe.log import place_of, trace_of
from dicom_node.study.closing import close_ready, is_here
from dicom_node.work.suspect import Suspect
from dicom_node.work.underway import workflow_id
from dicom_node.work.watch import Watch
from dicom_node.work.workflow import NO_ROOM_WAIT_S, STUDY_QUEUE, StudyWorkflow

log = structlog.get_logger()

_LEAST_FREE_BYTES = 4 << 20
_SHARE_OF_RESERVE = 4
"""With less room on the disk, or less than a quarter of the reserve, no study is taken up: its
tiles could not be kept, and the rest of the reserve is the database's and the log's."""
WORKFLOW_VERSION = "4"
"""Changes when the steps of a workflow change, or what they answer. The workflow library goes on
with workflows of its own version only; an attempt that another version began is begun anew."""
_WAITING = {"ENQUEUED", "DELAYED"}
_PENDING = "PENDING"


def run_round(
    config: Config, ledger: WorkerLedger, workflow: StudyWorkflow, suspect: Suspect
) -> None:
    """Close studies that are complete, and queue what is due; what is still open may begin where
    nothing is."""
    watch = workflow.working.watch
    close(config, ledger, watch, suspect)
    may_begin = not ledger.switches.is_paused(ANALYSIS) and _has_room(config)
    is_free = may_begin and not workflow.underway.any()
    for revision in ledger.queries.in_state(State.QUEUED):
        is_due = revision.not_before <= ledger.database.now()
        if may_begin and is_due and _is_mine(config, ledger, revision):
            is_free = False
            _alone(ledger, revision, lambda r: _queue_study(ledger, workflow, r))
    for revision in ledger.queries.my_analyses():
        is_free = False
        _alone(ledger, revision, lambda r: _queue_study(ledger, workflow, r))
    workflow.early.look(partial(_counting, watch, suspect), is_free=is_free)


@contextmanager
def _counting(watch: Watch, suspect: Suspect, run: Run) -> Iterator[Callable[[], None]]:
    """Names a study while it is counted."""
    with suspect.on(run), watch.on(run, "counting") as moved:
        yield moved


def close(
    config: Config, ledger: WorkerLedger, watch: Watch, suspect: Suspect, only: str | None = None
) -> None:
    """Close studies that are complete, or this one if it is; each is named while it is counted."""
    close_ready(
        ledger,
        config.spool_dir,
        quiet_time_s=config.node.quiet_time_s,
        incomplete_after_s=config.node.incomplete_after_s,
        watched=partial(_counting, watch, suspect),
        only=only,
    )


def _has_room(config: Config) -> bool:
    kept = (config.node.reserve_mb << 20) // _SHARE_OF_RESERVE
    return shutil.disk_usage(config.node.data_dir).free >= max(_LEAST_FREE_BYTES, kept)


def _is_mine(config: Config, ledger: WorkerLedger, revision: Revision) -> bool:
    """Whether this node has the files of a study; all of them where nobody shares the database."""
    if not ledger.database.is_shared:
        return True
    rows = ledger.queries.instances(revision.study_instance_uid, revision.revision)
    return is_here(rows, config.spool_dir)


def _alone(ledger: WorkerLedger, revision: Revision, act: Callable[[Revision], None]) -> None:
    """Do something for one study; an error nobody expected parks that study and no other."""
    try:
        act(revision)
    except (LedgerBusy, LedgerDamaged, DatabaseError, InterfaceError, NoConnectionFree):
        raise  # of the database, so of all studies
    except Exception as error:  # noqa: BLE001 - whatever it is, the other studies go on
        log.error("study_failed", study=revision.study_instance_uid, trace=trace_of(error))
        ledger.studies.park(revision.run, f"unexpected {place_of(error)}")


def _queue_study(ledger: WorkerLedger, workflow: StudyWorkflow, revision: Revision) -> None:
    """Queue an attempt once; one whose workflow ended without an outcome is tried anew."""
    run = revision.run
    name = workflow_id(run)
    status = DBOS.get_workflow_status(name)
    if status is None:
        with SetWorkflowID(name):
            DBOS.enqueue_workflow(
                STUDY_QUEUE, workflow.run_study, run.study, run.revision, run.attempt
            )
    elif status.app_version not in (None, WORKFLOW_VERSION):
        reason = f"attempt {run.attempt} was begun by another version of the node"
        if ledger.studies.try_later(run, reason, 0.0, counts=False):
            log.info("study_begun_anew", study=run.study, reason=reason)
    elif not _is_under_way(status, workflow):
        # A workflow that has just moved the study on also ends: then none of this changes anything.
        reason = f"the workflow of attempt {run.attempt} ended as {status.status}"
        if workflow.underway.was_unwritten(name):
            reason = f"what attempt {run.attempt} did could not be written"
            if ledger.studies.try_later(run, reason, NO_ROOM_WAIT_S, counts=False):
                log.error("study_waits_for_room", study=run.study, reason=reason)
        elif workflow.try_again(run, reason):
            log.error("workflow_broken", study=run.study, reason=reason)


def _is_under_way(status: WorkflowStatus, workflow: StudyWorkflow) -> bool:
    """Whether a workflow of this version will come to an outcome by itself."""
    if status.status == _PENDING:
        return not workflow.underway.is_lost(status.workflow_id)
    return status.status in _WAITING
