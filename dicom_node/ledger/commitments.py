"""Proof that destinations keep what they were sent: requests, reports, and what follows."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import (
    commitment_items,
    commitments,
    deliveries,
    results,
)
from dicom_node.ledger.events import note
from dicom_node.ledger.proofs import COMMITTED, settle
from dicom_node.ledger.rows import CommitmentRequest, Unproven
from dicom_node.ledger.states import CommitmentState, DeliveryState, Proof

_NAMESPACE = uuid.UUID("6f0b2c1e-31c5-5d0e-9f6f-6a0a3d6c1b57")
_OPEN = (CommitmentState.MADE, CommitmentState.ASKED)


class Receipt(StrEnum):
    """What a report was."""

    RECORDED = "recorded"
    UNKNOWN = "unknown"
    """No request of ours, or one to somebody else."""
    LATE = "late"
    """Its request is over: reported before, or given up."""


class Commitments:
    """Written by who delivers, and by who hears reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, destination: str, *, most: int, needs_commitment: bool) -> list[Unproven]:
        """Objects that a destination has taken and that nobody has proof of, oldest first.

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
                unproven,
                sa.or_(d.ask_at.is_(None), d.ask_at <= now),
            )
            .order_by(d.delivered_at, results.c.id)
            .limit(most)
        )
        with self._database.read() as db:
            return [Unproven(*row) for row in db.execute(query)]

    def open(self, destination: str, items: Sequence[Unproven]) -> CommitmentRequest | None:
        """Keep a request before it is sent; None when none of the items still needs it.

        Its Transaction UID follows from what is asked for the how-manieth time.
        """
        uid = _transaction_uid(destination, items)
        taken = []
        with self._database.write() as db:
            for item in items:
                asked = db.execute(
                    deliveries.update()
                    .where(
                        deliveries.c.sop_instance_uid == item.sop_instance_uid,
                        deliveries.c.destination == destination,
                        deliveries.c.state == DeliveryState.DELIVERED,
                        deliveries.c.asks == item.asks,
                    )
                    .values(proof=Proof.ASKED, transaction_uid=uid, asks=deliveries.c.asks + 1)
                )
                if asked.rowcount:
                    taken.append(item)
            if not taken:
                return None
            at = self._database.now()
            db.execute(
                commitments.insert().values(
                    transaction_uid=uid,
                    destination=destination,
                    state=CommitmentState.MADE,
                    made_at=at,
                )
            )
            db.execute(
                commitment_items.insert(),
                [
                    {
                        "transaction_uid": uid,
                        "sop_instance_uid": item.sop_instance_uid,
                        "sop_class_uid": item.sop_class_uid,
                    }
                    for item in taken
                ],
            )
        return CommitmentRequest(uid, tuple((i.sop_class_uid, i.sop_instance_uid) for i in taken))

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
            .where(commitments.c.destination == destination, which)
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

    def sent(self, transaction_uid: str) -> None:
        """Note that the destination took a request; its report may have come before."""
        with self._database.write() as db:
            db.execute(
                commitments.update()
                .where(
                    commitments.c.transaction_uid == transaction_uid,
                    commitments.c.state == CommitmentState.MADE,
                )
                .values(state=CommitmentState.ASKED, asked_at=self._database.now())
            )

    def is_open(self, transaction_uid: str) -> bool:
        """Whether the report of a request is still awaited."""
        query = sa.select(commitments.c.state).where(
            commitments.c.transaction_uid == transaction_uid
        )
        with self._database.read() as db:
            return db.scalar(query) in _OPEN

    def report(
        self,
        transaction_uid: str,
        destinations: Collection[str],
        committed: Iterable[str],
        failed: Mapping[str, str],
    ) -> Receipt:
        """Record what a destination says of a request; `failed` has reasons of PS3.3 C.14.1.1.

        `destinations` are those that whoever reports may speak for. What the report leaves out is
        asked for again.
        """
        with self._database.write() as db:
            row = db.execute(
                sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is None or row.destination not in destinations:
                return Receipt.UNKNOWN
            if row.state not in _OPEN:
                return Receipt.LATE
            outcomes = {**dict.fromkeys(committed, COMMITTED), **failed}
            self._close(db, row.destination, transaction_uid, outcomes, CommitmentState.REPORTED)
        return Receipt.RECORDED

    def close(self, transaction_uid: str, outcomes: Mapping[str, str]) -> None:
        """Give up waiting for a report; `outcomes` are as `proofs.settle` has them."""
        with self._database.write() as db:
            row = db.execute(
                sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is not None and row.state in _OPEN:
                state = CommitmentState.CLOSED
                self._close(db, row.destination, transaction_uid, outcomes, state)

    def _close(
        self,
        db: sa.Connection,
        destination: str,
        transaction_uid: str,
        outcomes: Mapping[str, str],
        state: CommitmentState,
    ) -> None:
        at = self._database.now()
        items = db.scalars(
            sa.select(commitment_items.c.sop_instance_uid).where(
                commitment_items.c.transaction_uid == transaction_uid
            )
        ).all()
        for uid in items:
            outcome = outcomes.get(uid, "")
            of_request = deliveries.c.transaction_uid == transaction_uid
            settle(db, at, uid, destination, outcome, of_request)
            db.execute(
                commitment_items.update()
                .where(
                    commitment_items.c.transaction_uid == transaction_uid,
                    commitment_items.c.sop_instance_uid == uid,
                )
                .values(outcome=outcome or "unsaid")
            )
        db.execute(
            commitments.update()
            .where(commitments.c.transaction_uid == transaction_uid)
            .values(state=state, closed_at=at)
        )
        committed = sum(outcomes.get(uid) == COMMITTED for uid in items)
        fields = {"objects": len(items), "committed": committed, "destination": destination}
        note(db, at, f"commitment_{state}", None, transaction_uid=transaction_uid, **fields)

    def learn(self, destination: str, outcomes: Mapping[str, str]) -> None:
        """Record what was found out without a request; as `proofs.settle` has it."""
        free = deliveries.c.transaction_uid.is_(None)
        with self._database.write() as db:
            for uid, outcome in outcomes.items():
                settle(db, self._database.now(), uid, destination, outcome, free)

    def postpone(self, destination: str, items: Sequence[Unproven], wait_s: float) -> None:
        """Ask for nothing of these for a while: the destination offers no proof now."""
        until = self._database.now() + wait_s
        with self._database.write() as db:
            db.execute(
                deliveries.update()
                .where(
                    deliveries.c.destination == destination,
                    deliveries.c.sop_instance_uid.in_([i.sop_instance_uid for i in items]),
                )
                .values(ask_at=until)
            )


def _transaction_uid(destination: str, items: Sequence[Unproven]) -> str:
    asked = sorted(f"{i.sop_instance_uid}:{i.asks}" for i in items)
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join([destination, *asked])).int}"
