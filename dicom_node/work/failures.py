"""An attempt that failed for a cause that may pass: queued again with back-off, or parked."""

from __future__ import annotations

import structlog

from dicom_node.deliver.retry import Again, GiveUp, Policy, decide
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Revision, Run
from dicom_node.ledger.states import State

log = structlog.get_logger()


def again_or_park(
    ledger: WorkerLedger, policy: Policy, revision: Revision, reason: str, *, draw: float
) -> State | None:
    """Where a revision stands after its attempt failed; None if it is not this attempt's turn."""
    age_s = ledger.database.now() - revision.opened_at
    match decide(policy, failures=revision.failures, age_s=age_s, draw=draw):
        case Again(wait_s):
            if not ledger.studies.try_later(revision.run, reason, wait_s):
                return None
            study = revision.study_instance_uid
            log.warning("study_failed", study=study, reason=reason, retry_in_s=round(wait_s, 1))
            return State.QUEUED
        case GiveUp(why):
            return park(ledger, revision.run, f"{why}: {reason}")


def park(ledger: WorkerLedger, run: Run, reason: str) -> State | None:
    """Stop a revision for good; None if it is not this attempt's turn."""
    if not ledger.studies.park(run, reason):
        return None
    log.error("study_parked", study=run.study, reason=reason)
    return State.PARKED
