"""What was made of a study, and where each object of it stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import deliveries, destinations, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.keeping.withdrawals import came_late
from dicom_node.ledger.queries.of_results import deliveries_of
from dicom_node.ledger.rows import Result, Run
from dicom_node.ledger.standing import LOST, mark_replaced
from dicom_node.ledger.statements import (
    forget_others,
    move,
    move_in,
    of_run,
    queue_delivery,
    record_result,
    the,
)
from dicom_node.ledger.states import DeliveryState, Proof, State


class Deliveries:
    """Written by who builds objects and who sends them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self,
        run: Run,
        made: Sequence[Result],
        to: Sequence[str],
        *,
        trouble: str | None = None,
        only: Mapping[str, Collection[str]] | None = None,
        told: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Record the objects made and where they go; repeating it changes nothing. Silent ones go
        nowhere.

        `only` are the SOP Instance UIDs that a destination is sent, where not all; `told` is what
        each is sent otherwise than asked, for people.

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
            routes = {
                name: [
                    result.sop_instance_uid
                    for result in sent
                    if only is None or result.sop_instance_uid in only.get(name, ())
                ]
                for name in to
            }
            forget_others(db, run, routes)
            if sent:  # else there is nothing that replaces anything
                self._supersede_earlier(db, run)
                mark_replaced(db, run)
            for result in made:
                record_result(db, run, result)
                for name in (n for n in to if result.sop_instance_uid in routes[n]):
                    is_here = result.purged_at is None
                    queue_delivery(db, result.sop_instance_uid, name, again, is_here)
            db.execute(
                the(run.study, run.revision).values(
                    state=State.DELIVERING,
                    executor=None,
                    analyzed_at=self._database.now(),
                    resend=False,
                    reason=trouble,
                )
            )
            for name, lines in (told or {}).items():
                said = {"destination": name, "reason": "; ".join(lines)}
                note(db, self._database.now(), "sent_otherwise", run.study, **said)
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
            stored = db.execute(
                _pending(destination)
                .where(deliveries.c.sop_instance_uid == sop_instance_uid)
                .values(
                    **outcome,
                    attempts=deliveries.c.attempts + 1,
                    next_attempt_at=next_attempt_at,
                )
            )
            if state is DeliveryState.DELIVERED and not stored.rowcount:
                came_late(db, sop_instance_uid, destination, outcome)

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
        """Store what a destination was last seen to accept; what it accepted before stays known
        while it is not reachable."""
        with self._database.write() as db:
            if not reachable:
                query = sa.select(destinations.c.accepted).where(destinations.c.name == name)
                accepted = db.scalar(query) or accepted
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
