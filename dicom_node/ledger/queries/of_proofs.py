"""What proof is still missing, and which requests for it are under way."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import (
    commitment_items,
    commitments,
    deliveries,
    results,
)
from dicom_node.ledger.rows import CommitmentRequest, Unproven
from dicom_node.ledger.states import CommitmentState, DeliveryState, Proof

OPEN = (CommitmentState.MADE, CommitmentState.ASKED)


class CommitmentQueries:
    """What is asked; it changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, destination: str, *, most: int, needs_commitment: bool) -> list[Unproven]:
        """Objects that a destination has taken and that nobody has proof of, oldest first;
        not those whose file is gone.

        With `needs_commitment` also those that only a query has found.
        """
        d, now = deliveries.c, self._database.now()
        unproven: sa.ColumnElement[bool] = d.proof.is_(None)
        if needs_commitment:
            unproven = sa.or_(unproven, d.proof == Proof.FOUND)
        made = results.alias()
        newest = (
            sa.select(sa.func.max(made.c.id))
            .where(made.c.sop_instance_uid == d.sop_instance_uid)
            .correlate(deliveries)
            .scalar_subquery()
        )
        query = (
            sa.select(
                d.sop_instance_uid,
                results.c.sop_class_uid,
                results.c.study_instance_uid,
                results.c.path,
                d.asks,
            )
            .join(results, results.c.sop_instance_uid == d.sop_instance_uid)
            .where(
                results.c.id == newest,
                d.destination == destination,
                d.state == DeliveryState.DELIVERED,
                results.c.purged_at.is_(None),
                unproven,
                sa.or_(d.ask_at.is_(None), d.ask_at <= now),
            )
            .order_by(d.delivered_at, results.c.id)
            .limit(most)
        )
        with self._database.read() as db:
            return [Unproven(*row) for row in db.execute(query)]

    def unsent(self, destination: str) -> list[CommitmentRequest]:
        """Requests of which it is not known whether the destination got them."""
        return self._requests(destination, commitments.c.state == CommitmentState.MADE)

    def overdue(self, destination: str, wait_s: float) -> list[CommitmentRequest]:
        """Requests that were taken so long ago, and not reported on."""
        before = self._database.now() - wait_s
        is_old = commitments.c.asked_at <= before
        return self._requests(
            destination, sa.and_(commitments.c.state == CommitmentState.ASKED, is_old)
        )

    def _requests(self, destination: str, which: sa.ColumnElement[bool]) -> list[CommitmentRequest]:
        query = (
            sa.select(
                commitments.c.transaction_uid,
                commitment_items.c.sop_class_uid,
                commitment_items.c.sop_instance_uid,
            )
            .join(
                commitment_items,
                commitment_items.c.transaction_uid == commitments.c.transaction_uid,
            )
            .where(
                commitments.c.destination == destination,
                commitment_items.c.outcome.is_(None),
                which,
            )
            .order_by(commitments.c.made_at, commitment_items.c.sop_instance_uid)
        )
        found: dict[str, list[tuple[str, str]]] = {}
        with self._database.read() as db:
            for uid, sop_class, instance in db.execute(query):
                found.setdefault(uid, []).append((sop_class, instance))
        return [CommitmentRequest(uid, tuple(items)) for uid, items in found.items()]

    def paths(self, request: CommitmentRequest) -> dict[str, str]:
        """Files of the objects of a request, by SOP Instance UID, relative to the data folder."""
        wanted = [uid for _, uid in request.items]
        query = sa.select(results.c.sop_instance_uid, results.c.path).where(
            results.c.sop_instance_uid.in_(wanted)
        )
        with self._database.read() as db:
            return {uid: path for uid, path in db.execute(query)}

    def is_open(self, transaction_uid: str) -> bool:
        """Whether the report of a request is still awaited."""
        query = sa.select(commitments.c.state).where(
            commitments.c.transaction_uid == transaction_uid
        )
        with self._database.read() as db:
            return db.scalar(query) in OPEN
