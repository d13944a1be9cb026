"""What stands of a study, the objects built last, and having them sent again."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.tables import deliveries, events, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.rows import Run
from dicom_node.ledger.statements import the
from dicom_node.ledger.states import AT_REST, DeliveryState, Proof, State

LOST: sa.ColumnElement[bool] = sa.and_(
    deliveries.c.state == DeliveryState.DELIVERED, deliveries.c.proof == Proof.LOST
)
"""Of a delivery: that the destination took the object and does not have it any more."""

_REPLACED = "another object stands in its place"
_CANCELLED = "the study was cancelled"
_REMOVED = "its file was removed when its time was over"


def is_standing() -> sa.ColumnElement[bool]:
    """Of a result: that it is of the last revision of its study that has any to be sent, and that
    no later attempt made others in its place."""
    same = results.alias()
    of_study = same.c.study_instance_uid == results.c.study_instance_uid
    last = (
        sa.select(sa.func.max(same.c.revision))
        .where(of_study, sa.not_(same.c.silent))
        .correlate(results)
        .scalar_subquery()
    )
    return sa.and_(results.c.revision == last, sa.not_(results.c.replaced))


def mark_replaced(db: sa.Connection, run: Run) -> None:
    """What earlier attempts made stands no more; what is made again is recorded as standing."""
    of_revision = [
        results.c.study_instance_uid == run.study,
        results.c.revision == run.revision,
        sa.not_(results.c.silent),
    ]
    db.execute(results.update().where(*of_revision).values(replaced=True))


def study_of(db: sa.Connection, sop_instance_uid: str) -> str | None:
    """The study that an object was made for."""
    query = sa.select(results.c.study_instance_uid).where(
        results.c.sop_instance_uid == sop_instance_uid
    )
    return db.scalar(query.limit(1))


def send_anew(db: sa.Connection, at: float, sop_instance_uid: str, destination: str) -> str:
    """Have the deliveries of an object's study seen to again; why not, if they are not.

    A revision that is newer and has no objects yet replaces none: what stands is sent again.
    """
    query = sa.select(results).where(results.c.sop_instance_uid == sop_instance_uid, is_standing())
    found = db.execute(query).first()
    if found is None:
        return _REPLACED
    if found.purged_at is not None:
        return _REMOVED
    if _is_cancelled(db, found.study_instance_uid, found.revision):
        return _CANCELLED
    reopen(db, at, found.study_instance_uid, found.revision, destination=destination)
    return ""


def send_what_is_lost(db: sa.Connection, at: float, study: str) -> None:
    """When a revision ended without objects: send again what still stands and was lost meanwhile.

    It was left to that revision, which would have sent it with its own.
    """
    query = sa.select(results.c.revision, results.c.sop_instance_uid).where(
        results.c.study_instance_uid == study, results.c.purged_at.is_(None), is_standing()
    )
    standing = db.execute(query).all()
    if not standing or _is_cancelled(db, study, standing[0].revision):
        return
    revision = standing[0].revision
    state = db.scalar(
        sa.select(revisions.c.state).where(
            revisions.c.study_instance_uid == study, revisions.c.revision == revision
        )
    )
    if state not in AT_REST:
        return  # which sends it with its own, or comes here
    of_standing = deliveries.c.sop_instance_uid.in_([s.sop_instance_uid for s in standing])
    db.execute(
        deliveries.update()
        .where(of_standing, LOST)
        .values(state=DeliveryState.PENDING, next_attempt_at=None, proof=None, ask_at=None)
    )
    waits = sa.select(deliveries.c.destination).where(
        of_standing,
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.delivered_at.is_not(None),
    )
    if destination := db.scalar(waits.limit(1)):
        reopen(db, at, study, revision, destination=destination)


def reopen(db: sa.Connection, at: float, study: str, revision: int, **fields: Any) -> None:
    """Move a revision that is at rest back to its deliveries."""
    query = sa.select(revisions).where(
        revisions.c.study_instance_uid == study,
        revisions.c.revision == revision,
        revisions.c.state.in_(AT_REST),
    )
    found = db.execute(query).first()
    if found is None:
        return
    values = {"state": State.DELIVERING, "finished_at": None, "reason": _trouble(db, found)}
    db.execute(the(study, revision).values(**values))
    note(db, at, "study_delivering", study, revision=revision, **fields)


def _trouble(db: sa.Connection, row: sa.Row[Any]) -> str | None:
    """Why a revision is parked once more when it is delivered.

    That is what was noted when its objects were built, or why a later attempt built none. That a
    destination refused one is found out anew.
    """
    reason: str | None = row.reason
    for fields in reversed(_told(db, row.study_instance_uid, "results_built")):
        if fields["revision"] == row.revision:
            is_last = fields.get("attempt") == row.attempt  # earlier versions did not say
            return fields["trouble"] if is_last else reason
    return reason


def _is_cancelled(db: sa.Connection, study: str, since: int) -> bool:
    """Whether somebody cancelled a revision, `since` or a later one, and nobody asked for a retry.

    Its story tells that, not its reason: that is a sentence for people.
    """
    cancelled: dict[int, bool] = {}
    for fields in _told(db, study, "study_cancelled", "retry_asked"):
        cancelled[fields["revision"]] = fields["kind"] == "study_cancelled"
    return any(is_so for revision, is_so in cancelled.items() if revision >= since)


def _told(db: sa.Connection, study: str, *kinds: str) -> list[dict[str, Any]]:
    """Fields and kinds of the lines of these kinds in the story of a study, oldest first."""
    query = (
        sa.select(events.c.kind, events.c.fields)
        .where(events.c.study_instance_uid == study, events.c.kind.in_(kinds))
        .order_by(events.c.id)
    )
    return [{**json.loads(row.fields), "kind": row.kind} for row in db.execute(query)]
