"""What a failure is: a value that a step answers, then a later attempt, or the end."""

from __future__ import annotations

import errno
from collections.abc import Callable

import structlog

from dicom_node.deliver.retry import Again, GiveUp, Policy, decide
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Revision, Run
from dicom_node.ledger.states import State
from dicom_node.observe.log import os_reason, place_of, trace_of
from dicom_node.results.selfcheck.whole import Unsound
from dicom_node.study.evidence import PatientsDiffer
from dicom_node.study.facts import Uncountable
from dicom_node.work.answers import Answer, Failed, NoRoom, Stale
from dicom_node.work.attempts import AttemptOver
from engines.errors import DeviceFailed
from inference.errors import SlideUnreadable

log = structlog.get_logger()

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


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


def answer_of(work: Callable[[], Answer]) -> Answer:
    """What a step answers: its value, or its failure as a value that survives a replay.

    Reasons are our own sentences, or a class and a place: a library's text could quote the dataset.
    """
    try:
        return work()
    except LedgerDamaged:
        raise  # the worker ends
    except AttemptOver:
        return Stale()
    except LedgerBusy as error:
        return NoRoom(str(error))
    except OSError as error:
        reason = f"a file cannot be read or written: {os_reason(error)}"
        return NoRoom(reason) if error.errno in _FULL else Failed(reason, may_pass=True)
    except DeviceFailed as error:
        return Failed(f"DeviceFailed: {error}", may_pass=True)
    except (SlideUnreadable, Uncountable, PatientsDiffer, Unsound) as error:
        return Failed(f"{type(error).__name__}: {error}", may_pass=False)
    except Exception as error:  # noqa: BLE001 - the study is parked with the reason, not lost
        log.error("unexpected_error", error=type(error).__name__, trace=trace_of(error))
        return Failed(f"unexpected {place_of(error)}", may_pass=False)
