"""Statements of the writers: the one way a revision moves, what is made and where it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import deliveries, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.rows import WITHDRAWN, Result, Run
from dicom_node.ledger.states import MAY_FOLLOW, DeliveryState, State

_UNASKED: dict[str, Any] = {
    "proof": None,
    "proof_at": None,
    "transaction_uid": None,
    "ask_at": None,
}
_UNASKED |= {"resends": 0}


def move(database: Database, run: Run, state: State, **values: Any) -> bool:
    """Move a revision, in a transaction of its own."""
    with database.write(study=run.study) as db:
        return move_in(db, database, run, state, **values)


def move_in(db: sa.Connection, database: Database, run: Run, state: State, **values: Any) -> bool:
    """Move a revision, if this attempt is the current one, nobody else's, and the move allowed.

    Nobody has to see to one that has a successor: it is superseded instead of parked. The
    transaction holds the study.
    """
    owner = database.owner if state is State.ANALYZING else None
    last = db.execute(latest(run.study)).first()
    has_successor = last is not None and last.revision > run.revision
    becomes = State.SUPERSEDED if state is State.PARKED and has_successor else state
    moved = db.execute(
        of_run(database, revisions.update(), run, state).values(
            state=becomes, executor=owner, **values
        )
    )
    if moved.rowcount:
        fields = {"reason": values["reason"]} if values.get("reason") else {}
        kind = f"study_{becomes}"
        note(db, database.now(), kind, run.study, revision=run.revision, **fields)
    return bool(moved.rowcount)


def the(study: str, revision: int) -> sa.Update:
    """An update of one revision, whoever asks."""
    return revisions.update().where(
        revisions.c.study_instance_uid == study, revisions.c.revision == revision
    )


def latest(study: str) -> sa.Select[Any]:
    """The last revision of a study."""
    return (
        sa.select(revisions)
        .where(revisions.c.study_instance_uid == study)
        .order_by(revisions.c.revision.desc())
        .limit(1)
    )


def open_revision(db: sa.Connection, study: str, at: float, why: str) -> int:
    """A new revision of a study, to receive into; one that was not finished is superseded."""
    last = db.execute(latest(study)).first()
    number = 1 if last is None else int(last.revision) + 1
    if last is not None and last.state in (State.QUEUED, State.PARKED):
        reason = f"{why} opened revision {number}"
        db.execute(the(study, last.revision).values(state=State.SUPERSEDED, reason=reason))
    db.execute(
        revisions.insert().values(
            study_instance_uid=study,
            revision=number,
            state=State.RECEIVING,
            opened_at=at,
            last_instance_at=at,
        )
    )
    note(db, at, "revision_opened", study, revision=number)
    return number


def of_run(database: Database, statement: Any, run: Run, into: State) -> Any:
    """Only the revision of this run, in its current attempt, in a state that may be left, and not
    under analysis by another executor."""
    return statement.where(
        sa.or_(revisions.c.executor.is_(None), revisions.c.executor == database.owner),
        revisions.c.study_instance_uid == run.study,
        revisions.c.revision == run.revision,
        revisions.c.attempt == run.attempt,
        revisions.c.state.in_(MAY_FOLLOW[into]),
    )


def forget_others(db: sa.Connection, run: Run, routes: Mapping[str, Sequence[str]]) -> None:
    """Forget what earlier attempts had to send, and did not, that is not to be sent any more."""
    of_revision = sa.select(results.c.sop_instance_uid).where(
        results.c.study_instance_uid == run.study,
        results.c.revision == run.revision,
        sa.not_(results.c.kind.endswith(WITHDRAWN)),  # these go, whatever is made anew
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
