"""The end of workflow rows: the ledger keeps what became of a study, they would only grow."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog
from dbos import DBOS

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.states import State
from dicom_node.work.underway import run_of

log = structlog.get_logger()

EVERY_S = 3600.0
_KEPT_S = 24 * 3600.0
_AT_ONCE = 500
_GOES_ON = (State.QUEUED, State.ANALYZING)


def prune(ledger: WorkerLedger) -> int:
    """Delete workflows a day old that no attempt still needs, some at once; how many.

    One that ended is one of them, and one that another version began and nobody goes on with.
    """
    before = datetime.fromtimestamp(time.time() - _KEPT_S, UTC).isoformat()
    found = DBOS.list_workflows(
        end_time=before, limit=_AT_ONCE, load_input=False, load_output=False
    )
    over = [w.workflow_id for w in found if not _is_needed(ledger, w.workflow_id)]
    if over:
        DBOS.delete_workflows(over)
        log.info("workflows_pruned", workflows=len(over))
    return len(over)


def _is_needed(ledger: WorkerLedger, workflow: str) -> bool:
    """Whether it is of the current attempt of a study that is not analyzed yet."""
    run = run_of(workflow)
    found = ledger.queries.revision(run.study, run.revision) if run else None
    return found is not None and found.run == run and found.state in _GOES_ON
