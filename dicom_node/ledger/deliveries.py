"""What was made of a study, and where each object of it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import deliveries, destinations, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.of_results import deliveries_of
from dicom_node.ledger.rows import Result, Run
from dicom_node.ledger.standing import LOST, mark_replaced
from dicom_node.ledger.statements import move, move_in, of_run, the
from dicom_node.ledger.states import DeliveryState, Proof, State


class Deliveries:
    """Written by who builds objects and who sends them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self, run: Run, made: Sequence[Result], to: Sequence[str], *, trouble: str | None = None
    ) -> bool:
        """Record the objects made and where they go; repeating it changes nothing. Silent ones go
        nowhere.

        With a trouble the study is parked once they are delivered: somebody must see to it.
        What a destination refused before, or lost, is tried again; what it has is sent again only
        after a retry that somebody asked for. A file that is gone is not.
        """
        with self._database.write(study=run.study) as db:
            current = db.execute(
                of_run(self._database, sa.select(revisions), run, State.DELIVERING)
            ).first()
            if current is None:
                return False
            again = _REFUSED_OR_LOST if not current.resend else _NOT_PENDING
            sent = [result for result in made if not result.silent]
            _forget_others(db, run, sent, to)
            if sent:  # else there is nothing that replaces anything
                self._supersede_earlier(db, run)
                mark_replaced(db, run)
            for result in made:
                _record_result(db, run, result)
                for name in () if result.silent else to:
                    is_here = result.purged_at is None
                    _queue_delivery(db, result.sop_instance_uid, name, again, is_here)
            db.execute(
                the(run.study, run.revision).values(
                    state=State.DELIVERING,
                    executor=None,
                    analyzed_at=self._database.now(),
                    resend=False,
                    reason=trouble,
                )
            )
            note(
                db,
                self._database.now(),
                "results_built",
                run.study,
                revision=run.revision,
                objects=len(made),
                attempt=run.attempt,
                trouble=trouble,
                bundle_digest=current.bundle_digest,
            )
        return True

    def _supersede_earlier(self, db: sa.Connection, run: Run) -> None:
        """What an earlier revision still has to send would reach a PACS after what replaces it."""
        earlier = db.execute(
            sa.select(revisions.c.revision).where(
                revisions.c.study_instance_uid == run.study,
                revisions.c.revision < run.revision,
                revisions.c.state == State.DELIVERING,
            )
        )
        for (number,) in earlier.all():
            reason = f"the results of revision {run.revision} are sent instead"
            db.execute(the(run.study, number).values(state=State.SUPERSEDED, reason=reason))
            now = self._database.now()
            note(db, now, "study_superseded", run.study, revision=number, reason=reason)

    def record(
        self,
        sop_instance_uid: str,
        destination: str,
        state: DeliveryState,
        *,
        status: str | None,
        error: str | None,
        next_attempt_at: float | None = None,
        proof: Proof | None = None,
    ) -> None:
        """Store the outcome of one attempt to send one object that was pending."""
        with self._database.write() as db:
            outcome: dict[str, Any] = {"state": state, "status": status, "error": error}
            if state is DeliveryState.DELIVERED:
                outcome["delivered_at"] = self._database.now()
                outcome |= {"ask_at": None, "proof": proof}
                outcome["proof_at"] = self._database.now() if proof else None
            db.execute(
                _pending(destination)
                .where(deliveries.c.sop_instance_uid == sop_instance_uid)
                .values(
                    **outcome,
                    attempts=deliveries.c.attempts + 1,
                    next_attempt_at=next_attempt_at,
                )
            )

    def refuse_pending(self, run: Run, destination: str, error: str) -> None:
        """Stop trying a destination for every object of a revision it has not got."""
        made = sa.select(results.c.sop_instance_uid).where(
            results.c.study_instance_uid == run.study, results.c.revision == run.revision
        )
        with self._database.write() as db:
            db.execute(
                _pending(destination)
                .where(deliveries.c.sop_instance_uid.in_(made))
                .values(state=DeliveryState.REFUSED, error=error)
            )

    def finish(self, run: Run) -> State | None:
        """Done, or parked on a refusal, once nothing is pending; None when nothing moved."""
        if not self._is_over(run):
            return None  # without a transaction that writes: this is asked again and again
        with self._database.write(study=run.study) as db:
            # Anew: a report may have said meanwhile that an object is lost.
            outcomes = deliveries_of(db, run.study, run.revision)
            if any(d.state is DeliveryState.PENDING for d in outcomes):
                return None
            refused = [d for d in outcomes if d.state is DeliveryState.REFUSED]
            why = _trouble(db, run)
            if refused:
                why = f"{refused[0].destination} refused a result: {refused[0].error}"
            state = State.PARKED if why else State.DONE
            at = self._database.now()
            moved = move_in(db, self._database, run, state, finished_at=at, reason=why)
            return state if moved else None

    def _is_over(self, run: Run) -> bool:
        with self._database.read() as db:
            outcomes = deliveries_of(db, run.study, run.revision)
        return all(d.state is not DeliveryState.PENDING for d in outcomes)

    def park(self, run: Run, reason: str) -> bool:
        """Stop a revision whose deliveries cannot be seen to."""
        at = self._database.now()
        return move(self._database, run, State.PARKED, reason=reason, finished_at=at)

    def note_destination(
        self, name: str, reachable: bool, accepted: dict[str, list[str]], reason: str
    ) -> None:
        """Store what a destination was last seen to accept."""
        with self._database.write() as db:
            db.execute(destinations.delete().where(destinations.c.name == name))
            db.execute(
                destinations.insert().values(
                    name=name,
                    checked_at=self._database.now(),
                    reachable=reachable,
                    accepted=accepted,
                    reason=reason,
                )
            )


_UNASKED: dict[str, Any] = {
    "proof": None,
    "proof_at": None,
    "transaction_uid": None,
    "ask_at": None,
}
_UNASKED |= {"resends": 0}
_NOT_PENDING: sa.ColumnElement[bool] = deliveries.c.state != DeliveryState.PENDING
_REFUSED_OR_LOST: sa.ColumnElement[bool] = sa.or_(deliveries.c.state == DeliveryState.REFUSED, LOST)


def _trouble(db: sa.Connection, run: Run) -> str | None:
    """What was noted when the deliveries started."""
    query = sa.select(revisions.c.reason).where(
        revisions.c.study_instance_uid == run.study, revisions.c.revision == run.revision
    )
    return db.scalar(query)


def _pending(destination: str) -> sa.Update:
    return deliveries.update().where(
        deliveries.c.destination == destination, deliveries.c.state == DeliveryState.PENDING
    )


def _forget_others(db: sa.Connection, run: Run, made: Sequence[Result], to: Sequence[str]) -> None:
    """Forget what earlier attempts had to send, and did not, that is not to be sent any more."""
    of_revision = sa.select(results.c.sop_instance_uid).where(
        results.c.study_instance_uid == run.study, results.c.revision == run.revision
    )
    wanted = sa.and_(
        deliveries.c.sop_instance_uid.in_([result.sop_instance_uid for result in made]),
        deliveries.c.destination.in_(to),
    )
    db.execute(
        deliveries.delete().where(
            deliveries.c.sop_instance_uid.in_(of_revision),
            deliveries.c.state != DeliveryState.DELIVERED,
            sa.not_(wanted),
        )
    )


def _record_result(db: sa.Connection, run: Run, result: Result) -> None:
    key = {
        "study_instance_uid": run.study,
        "revision": run.revision,
        "sop_instance_uid": result.sop_instance_uid,
    }
    values = {f: getattr(result, f) for f in result.__slots__ if f != "sop_instance_uid"}
    if not insert_once(db, results, **key, **values):
        same = [results.c[name] == value for name, value in key.items()]
        db.execute(results.update().where(*same).values(**values))


def _queue_delivery(
    db: sa.Connection,
    sop_instance_uid: str,
    destination: str,
    again: sa.ColumnElement[bool],
    is_here: bool,
) -> None:
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    if not insert_once(db, deliveries, **key, state=DeliveryState.PENDING) and is_here:
        same = [deliveries.c[name] == value for name, value in key.items()]
        db.execute(
            deliveries.update()
            .where(*same, again)
            .values(state=DeliveryState.PENDING, error=None, next_attempt_at=None, **_UNASKED)
        )
