"""Rows of what is made and where it goes, within the transaction that starts the deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import deliveries, results
from dicom_node.ledger.rows import Result, Run
from dicom_node.ledger.states import DeliveryState

_UNASKED: dict[str, Any] = {
    "proof": None,
    "proof_at": None,
    "transaction_uid": None,
    "ask_at": None,
}
_UNASKED |= {"resends": 0}


def forget_others(db: sa.Connection, run: Run, routes: Mapping[str, Sequence[str]]) -> None:
    """Forget what earlier attempts had to send, and did not, that is not to be sent any more."""
    of_revision = sa.select(results.c.sop_instance_uid).where(
        results.c.study_instance_uid == run.study, results.c.revision == run.revision
    )
    d = deliveries.c
    wanted = sa.or_(
        sa.false(),
        *(
            sa.and_(d.destination == name, d.sop_instance_uid.in_(uids))
            for name, uids in routes.items()
        ),
    )
    db.execute(
        deliveries.delete().where(
            deliveries.c.sop_instance_uid.in_(of_revision),
            deliveries.c.state != DeliveryState.DELIVERED,
            sa.not_(wanted),
        )
    )


def record_result(db: sa.Connection, run: Run, result: Result) -> None:
    """Store an object that was made, or what is new of it."""
    key = {
        "study_instance_uid": run.study,
        "revision": run.revision,
        "sop_instance_uid": result.sop_instance_uid,
    }
    values = {f: getattr(result, f) for f in result.__slots__ if f != "sop_instance_uid"}
    if not insert_once(db, results, **key, **values):
        same = [results.c[name] == value for name, value in key.items()]
        db.execute(results.update().where(*same).values(**values))


def queue_delivery(
    db: sa.Connection,
    sop_instance_uid: str,
    destination: str,
    again: sa.ColumnElement[bool],
    is_here: bool,
) -> None:
    """Have an object sent; one that stands at its destination as `again` says is sent once more, if
    its file is here."""
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    if not insert_once(db, deliveries, **key, state=DeliveryState.PENDING) and is_here:
        same = [deliveries.c[name] == value for name, value in key.items()]
        db.execute(
            deliveries.update()
            .where(*same, again)
            .values(state=DeliveryState.PENDING, error=None, next_attempt_at=None, **_UNASKED)
        )
