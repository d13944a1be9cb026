"""What follows from what a destination says of one object that it has taken."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.tables import deliveries
from dicom_node.ledger.events import note
from dicom_node.ledger.standing import send_anew, study_of
from dicom_node.ledger.states import DeliveryState, Proof

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
    anything else, nothing said included, is asked for again later. The transaction holds the
    study of the object.
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
        send_anew(db, at, sop_instance_uid, destination)  # so that it is parked: refused
        error = f"it says that it cannot commit to the object: {_NEVER[outcome]}"
        values |= {"state": DeliveryState.REFUSED, "status": outcome, "error": error}
    else:
        values |= {"ask_at": at + later_s}
    db.execute(deliveries.update().where(same).values(**values))


def _missing(db: sa.Connection, at: float, row: sa.Row[Any]) -> dict[str, Any]:
    """The object is sent again, once, if it still is to be there."""
    error = "it took the object and does not have it"
    why_not = send_anew(db, at, row.sop_instance_uid, row.destination)
    if why_not:
        study = study_of(db, row.sop_instance_uid)
        fields = {"sop_instance_uid": row.sop_instance_uid, "destination": row.destination}
        note(db, at, "result_lost", study, **fields, reason=f"not sent again: {why_not}")
        return {"proof": Proof.LOST, "status": MISSING, "error": f"{error}; {why_not}"}
    if row.resends >= _MOST_RESENDS:
        error = "it took the object twice and does not have it"
        return {"state": DeliveryState.REFUSED, "status": MISSING, "error": error}
    values: dict[str, Any] = {"state": DeliveryState.PENDING, "status": MISSING}
    values |= {"error": f"{error}; sent again", "resends": row.resends + 1}
    return {**values, "ask_at": None, "next_attempt_at": None}
