"""Closing studies: which of them are quiet and complete, and what becomes of the others.

Whatever one study holds, it is counted by itself: an error parks that study and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import structlog

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Instance, Revision, Run
from dicom_node.ledger.states import State
from dicom_node.ledger.switches import INTAKE
from dicom_node.observe.log import os_reason, place_of, trace_of
from dicom_node.study.evidence import PatientsDiffer, first_of, gather_evidence
from dicom_node.study.facts import InstanceFacts, Uncountable, read_facts
from inference.slide.claims.patient import first_difference

log = structlog.get_logger()

_LONGEST_HOLD, _LEAST_HOLD_S = 10, 600.0
"""A study is held for bytes that may not be its own at most this many quiet times, and at least
these seconds: longer than one large instance takes."""


Watched = Callable[[Run], AbstractContextManager[Callable[[], None]]]
"""Around the counting of one study; what it yields is called after each file."""


@contextmanager
def unwatched(_run: Run) -> Iterator[Callable[[], None]]:
    """For callers that nobody watches."""
    yield lambda: None


def close_ready(
    ledger: WorkerLedger,
    spool: Path,
    *,
    quiet_time_s: float,
    incomplete_after_s: float,
    watched: Watched = unwatched,
    only: str | None = None,
) -> list[Revision]:
    """Close every study that is quiet and complete, or was long enough; those closed now.

    With `only`, that study and no other.
    """
    closed = []
    for revision in ledger.queries.in_state(State.RECEIVING):
        if only not in (None, revision.study_instance_uid):
            continue
        quiet_s = _quiet_s(ledger, revision, quiet_time_s)
        if quiet_s < quiet_time_s:
            continue
        rows = ledger.queries.instances(revision.study_instance_uid, revision.revision)
        is_late = quiet_s >= incomplete_after_s and _could_send(ledger, incomplete_after_s)
        if _counted_before(revision, rows) and not is_late:
            continue
        if ledger.database.is_shared and not is_here(rows, spool):
            if is_late:
                _leave_to_another(ledger, revision)
            continue
        with watched(revision.run) as moved:
            if _counted(ledger, revision, rows, spool, quiet_s, is_late, moved):
                closed.append(revision)
    return closed


def _could_send(ledger: WorkerLedger, for_s: float) -> bool:
    """Whether intake was not paused for so long: a sender that was turned away is waited for."""
    return ledger.database.now() - ledger.switches.going_since(INTAKE) >= for_s


def _counted(
    ledger: WorkerLedger,
    revision: Revision,
    rows: Sequence[Instance],
    spool: Path,
    quiet_s: float,
    is_late: bool,
    moved: Callable[[], None],
) -> bool:
    """Count one study, and settle it; True if closed. What goes wrong is its own affair."""
    if gone := sum(row.purged_at is not None for row in rows):
        _wait_for_resend(ledger, revision, rows, gone, is_late)
        return False
    try:
        return _settle(ledger, revision, _evidence(rows, spool, quiet_s, moved), is_late)
    except LedgerFailed:
        raise  # of the database, so of all studies
    except OSError as error:
        _wait_for_storage(ledger, revision, rows, os_reason(error), is_late)
    except (Uncountable, PatientsDiffer) as error:
        _park(ledger, revision, rows, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach other studies
        log.error("counting_failed", study=revision.study_instance_uid, trace=trace_of(error))
        _park(ledger, revision, rows, f"cannot be counted: {place_of(error)}")
    return False


def is_here(rows: Sequence[Instance], spool: Path) -> bool:
    """Whether the folders of a study's files are in this spool.

    They are not where another node, with a spool of its own, received them into a database that
    both share: its studies are its own to close and to analyze.
    """
    try:
        return all(folder.is_dir() for folder in {(spool / row.path).parent for row in rows})
    except OSError:  # of another user, or of a server that is gone
        return False


def _leave_to_another(ledger: WorkerLedger, revision: Revision) -> None:
    """Say once what a study waits for that no node which sees all of it has closed."""
    reason = "waits for a node that sees the spool its files are in"
    if revision.reason != reason:
        ledger.studies.note_waiting(revision.run, reason)
        log.error("study_elsewhere", study=revision.study_instance_uid, reason=reason)


def _settle(ledger: WorkerLedger, revision: Revision, evidence: Evidence, is_late: bool) -> bool:
    """Close what is complete, or has been waited for long enough; True if closed.

    What lacks something then has a preliminary report: nobody at the PACS reads our log.
    """
    study, run = revision.study_instance_uid, revision.run
    missing = "; ".join(evidence.missing)
    if missing and not is_late:
        ledger.studies.note_missing(
            run, evidence, f"waiting: {missing}", as_of=revision.last_instance_at
        )
        log.info("study_waits", study=study, missing=missing)
        return False
    if not ledger.studies.close(run, evidence, as_of=revision.last_instance_at):
        return False
    if missing:
        log.warning("study_incomplete", study=study, missing=missing)
    else:
        instances, quiet_s = evidence.instances, round(evidence.quiet_s, 1)
        log.info("study_closed", study=study, instances=instances, quiet_s=quiet_s)
    _warn_of_two_patients(ledger, revision, evidence)
    return True


def park_uncounted(ledger: WorkerLedger, revision: Revision, reason: str) -> None:
    """Stop a study whose counting costs others too much."""
    rows = ledger.queries.instances(revision.study_instance_uid, revision.revision)
    _park(ledger, revision, rows, reason)


def _park(ledger: WorkerLedger, revision: Revision, rows: Sequence[Instance], reason: str) -> None:
    """Stop a study that no further waiting will make countable."""
    evidence = Evidence(len(rows), _bytes(rows), missing=(reason,))
    if ledger.studies.park_uncounted(
        revision.run, evidence, reason, as_of=revision.last_instance_at
    ):
        log.error("study_parked", study=revision.study_instance_uid, reason=reason)


def _wait_for_resend(
    ledger: WorkerLedger, revision: Revision, rows: Sequence[Instance], gone: int, is_late: bool
) -> None:
    """Something came for a study whose other files were removed after their time."""
    reason = (
        f"{gone} of {len(rows)} instances were removed when their time was over, and are needed "
        "again: send the whole study once more"
    )
    if is_late:
        _park(ledger, revision, rows, reason)
    elif revision.reason != reason:
        ledger.studies.note_waiting(revision.run, reason)
        log.warning("study_waits", study=revision.study_instance_uid, missing=reason)


def _wait_for_storage(
    ledger: WorkerLedger, revision: Revision, rows: Sequence[Instance], why: str, is_late: bool
) -> None:
    """A file that the disk does not give now: said once, and parked when it stays so."""
    reason = f"the spool cannot be read: {why}"
    if is_late:
        _park(ledger, revision, rows, f"{reason}; see to the disk, then retry")
    elif revision.reason != reason:
        ledger.studies.note_waiting(revision.run, reason)
        log.error("spool_unreadable", study=revision.study_instance_uid, reason=why)


def _quiet_s(ledger: WorkerLedger, revision: Revision, quiet_time_s: float) -> float:
    """Seconds since the last byte for this study.

    Bytes of its senders that are still arriving may be for it, so they count; but a sender that
    never pauses must not hold a study for ever.
    """
    stored_at, arriving_at = ledger.queries.last_byte_at(revision.study_instance_uid)
    stored_at = max(stored_at, revision.last_instance_at)  # or restored, or asked for again
    since_stored = ledger.database.now() - stored_at
    if since_stored >= _LONGEST_HOLD * quiet_time_s and since_stored >= _LEAST_HOLD_S:
        return since_stored
    return ledger.database.now() - max(stored_at, arriving_at)


def _evidence(
    rows: Sequence[Instance], spool: Path, quiet_s: float, moved: Callable[[], None]
) -> Evidence:
    """What was counted and what is missing, as stored in the ledger.

    Raises Uncountable and PatientsDiffer, after which waiting helps nobody, and OSError.
    """
    facts = []
    for row in rows:
        facts.append(_facts_of(row, spool))
        moved()
    slides = gather_evidence(facts)
    other = first_difference({f.header.sop_instance_uid: f.header.patient for f in facts})
    return Evidence(
        len(rows),
        _bytes(rows),
        round(quiet_s, 3),
        slides,
        tuple(first_of([sentence for slide in slides for sentence in slide.missing])),
        () if other is None else tuple(other.attributes),
    )


def _facts_of(row: Instance, spool: Path) -> InstanceFacts:
    try:
        return read_facts(spool / row.path)
    except Uncountable as error:
        uid = row.sop_instance_uid
        raise Uncountable(f"{uid} cannot be counted: {error}") from error


def _bytes(rows: Sequence[Instance]) -> int:
    return sum(row.size_bytes for row in rows)


def _warn_of_two_patients(ledger: WorkerLedger, revision: Revision, evidence: Evidence) -> None:
    """Two slides of one study that name two patients: each keeps its own, and somebody is told."""
    differ = list(evidence.patients_differ)
    if differ:
        study = revision.study_instance_uid
        log.warning("study_of_two_patients", study=study, attributes=differ)
        ledger.events.record("study_of_two_patients", study_instance_uid=study, attributes=differ)


def _counted_before(revision: Revision, rows: Sequence[Instance]) -> bool:
    return revision.evidence is not None and revision.evidence.instances == len(rows)
