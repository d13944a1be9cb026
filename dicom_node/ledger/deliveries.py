"""What was made of a study, and where each object of it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import deliveries, destinations, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.queries import Queries
from dicom_node.ledger.rows import Result, Run
from dicom_node.ledger.statements import move, of_run, the
from dicom_node.ledger.states import DeliveryState, Proof, State


class Deliveries:
    """Written by who builds objects and who sends them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self, run: Run, made: Sequence[Result], to: Sequence[str], *, trouble: str | None = None
    ) -> bool:
        """Record the objects made and where they go; repeating it changes nothing.

        With a trouble the study is parked once they are delivered: somebody must see to it.
        What a destination refused before is tried again; what it has is sent again only after a
        retry that somebody asked for.
        """
        with self._database.write(study=run.study) as db:
            current = db.execute(
                of_run(self._database, sa.select(revisions), run, State.DELIVERING)
            ).first()
            if current is None:
                return False
            again = {DeliveryState.REFUSED} | (
                {DeliveryState.DELIVERED} if current.resend else set()
            )
            _forget_others(db, run, made, to)
            self._supersede_earlier(db, run)
            for result in made:
                _record_result(db, run, result)
                for name in to:
                    _queue_delivery(db, result.sop_instance_uid, name, again)
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
        outcomes = Queries(self._database).deliveries(run.study, run.revision)
        if any(d.state is DeliveryState.PENDING for d in outcomes):
            return None
        refused = [d for d in outcomes if d.state is DeliveryState.REFUSED]
        if refused:
            reason = f"{refused[0].destination} refused a result: {refused[0].error}"
            parked = move(
                self._database,
                run,
                State.PARKED,
                reason=reason,
                finished_at=self._database.now(),
            )
            return State.PARKED if parked else None
        trouble = self._trouble(run)
        state = State.PARKED if trouble else State.DONE
        moved = move(self._database, run, state, finished_at=self._database.now(), reason=trouble)
        return state if moved else None

    def _trouble(self, run: Run) -> str | None:
        """What was noted when the deliveries started."""
        query = sa.select(revisions.c.reason).where(
            revisions.c.study_instance_uid == run.study, revisions.c.revision == run.revision
        )
        with self._database.read() as db:
            return db.scalar(query)

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
        db.execute(results.update().where(*same).values(**values, purged_at=None))


def _queue_delivery(
    db: sa.Connection, sop_instance_uid: str, destination: str, again: set[DeliveryState]
) -> None:
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    if not insert_once(db, deliveries, **key, state=DeliveryState.PENDING):
        same = [deliveries.c[name] == value for name, value in key.items()]
        db.execute(
            deliveries.update()
            .where(*same, deliveries.c.state.in_(again))
            .values(state=DeliveryState.PENDING, error=None, next_attempt_at=None, **_UNASKED)
        )
