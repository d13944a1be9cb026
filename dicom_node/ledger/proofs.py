"""What follows from what a destination says of one object that it has taken."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.tables import deliveries, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.states import DeliveryState, Proof, State

COMMITTED = "committed"
FOUND = "found"
MISSING = "0112"
"""No such object instance (PS3.3 C.14.1.1); what a query did not find is the same."""
_NEVER = {
    "0119": "its SOP class and its SOP Instance UID do not belong together there",
    "0122": "it does not keep objects of this SOP class",
}
_MOST_RESENDS = 1
_FIRST_WAIT_S = 60.0
_LONGEST_WAIT_S = 6 * 3600.0
_MOST_DOUBLINGS = 12


def settle(
    db: sa.Connection,
    at: float,
    sop_instance_uid: str,
    destination: str,
    outcome: str,
    which: sa.ColumnElement[bool],
) -> None:
    """Apply one outcome to a delivery that was taken, if it is one of `which`.

    `COMMITTED` and `FOUND` are proof; `MISSING` is sent again once; 0119 and 0122 are refused;
    anything else, nothing said included, is asked for again later.
    """
    same = sa.and_(
        deliveries.c.sop_instance_uid == sop_instance_uid,
        deliveries.c.destination == destination,
        deliveries.c.state == DeliveryState.DELIVERED,
        which,
    )
    row = db.execute(sa.select(deliveries).where(same)).first()
    if row is None:
        return
    values: dict[str, Any] = {"transaction_uid": None, "proof": None, "proof_at": at}
    later_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(row.asks, _MOST_DOUBLINGS))
    if outcome in (COMMITTED, FOUND):
        values |= {"proof": Proof(outcome), "ask_at": at + _LONGEST_WAIT_S}
    elif outcome == MISSING:
        values |= _missing(db, at, row)
    elif outcome in _NEVER:
        reopen(db, at, row)
        error = f"it says that it cannot commit to the object: {_NEVER[outcome]}"
        values |= {"state": DeliveryState.REFUSED, "status": outcome, "error": error}
    else:
        values |= {"ask_at": at + later_s}
    db.execute(deliveries.update().where(same).values(**values))


def _missing(db: sa.Connection, at: float, row: sa.Row[Any]) -> dict[str, Any]:
    """The object is sent again, once; one that was replaced is not."""
    if not reopen(db, at, row):
        return {"proof": Proof.LOST}
    if row.resends >= _MOST_RESENDS:
        error = "it took the object twice and does not have it"
        return {"state": DeliveryState.REFUSED, "status": MISSING, "error": error}
    error = "it took the object and does not have it; sent again"
    values: dict[str, Any] = {"state": DeliveryState.PENDING, "status": MISSING, "error": error}
    return {**values, "resends": row.resends + 1, "ask_at": None, "next_attempt_at": None}


def reopen(db: sa.Connection, at: float, row: sa.Row[Any]) -> bool:
    """Have a study's deliveries seen to again; False where the object was replaced by another."""
    newest = (
        sa.select(
            revisions.c.study_instance_uid, sa.func.max(revisions.c.revision).label("revision")
        )
        .group_by(revisions.c.study_instance_uid)
        .subquery()
    )
    made_for = (
        sa.select(revisions)
        .join(
            newest,
            sa.and_(
                newest.c.study_instance_uid == revisions.c.study_instance_uid,
                newest.c.revision == revisions.c.revision,
            ),
        )
        .join(
            results,
            sa.and_(
                results.c.study_instance_uid == revisions.c.study_instance_uid,
                results.c.revision == revisions.c.revision,
            ),
        )
        .where(results.c.sop_instance_uid == row.sop_instance_uid)
    )
    found = db.execute(made_for).first()
    if found is None:
        return False
    moved = db.execute(
        revisions.update()
        .where(
            revisions.c.study_instance_uid == found.study_instance_uid,
            revisions.c.revision == found.revision,
            revisions.c.state.in_((State.DONE, State.PARKED)),
        )
        .values(state=State.DELIVERING, finished_at=None)
    )
    if moved.rowcount:
        fields = {"revision": found.revision, "destination": row.destination}
        note(db, at, "study_delivering", found.study_instance_uid, **fields)
    return True
