"""Proof that destinations keep what they were sent: requests, reports, and what follows."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import sqlalchemy as sa

from dicom_node.ledger.answers.proofs import COMMITTED, settle
from dicom_node.ledger.database.tables import (
    commitment_items,
    commitments,
    deliveries,
    results,
)
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.of_proofs import OPEN, CommitmentQueries
from dicom_node.ledger.rows import CommitmentRequest, Unproven
from dicom_node.ledger.states import CommitmentState, DeliveryState, Proof


class Receipt(StrEnum):
    """What a report was."""

    RECORDED = "recorded"
    UNKNOWN = "unknown"
    """No request of ours, or one to somebody else."""
    LATE = "late"
    """Its request is over: reported before, or given up."""


class Commitments(CommitmentQueries):
    """Written by who delivers, and by who hears reports."""

    def open(self, destination: str, items: Sequence[Unproven]) -> CommitmentRequest | None:
        """Keep a request before it is sent; None when none of the items still needs it.

        No other request ever has its Transaction UID, which would be easily done: a study that was
        erased, or a lost database, comes again under the same UIDs, and a report on what was asked
        before must prove nothing of it. What a crash left unsent has its UID in its row.
        """
        uid = f"2.25.{uuid.uuid4().int}"
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
        with self._database.write(studies=self._studies_of(transaction_uid)) as db:
            row = db.execute(
                sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is None or row.destination not in destinations:
                return Receipt.UNKNOWN
            if row.state not in OPEN:
                return Receipt.LATE
            outcomes = {**dict.fromkeys(committed, COMMITTED), **failed}
            self._close(db, row.destination, transaction_uid, outcomes, CommitmentState.REPORTED)
        return Receipt.RECORDED

    def close(self, transaction_uid: str, outcomes: Mapping[str, str]) -> None:
        """Give up waiting for a report; `outcomes` are as `proofs.settle` has them."""
        with self._database.write(studies=self._studies_of(transaction_uid)) as db:
            row = db.execute(
                sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is not None and row.state in OPEN:
                state = CommitmentState.CLOSED
                self._close(db, row.destination, transaction_uid, outcomes, state)

    def answer(self, transaction_uid: str, outcomes: Mapping[str, str]) -> None:
        """Record what was found out of some items of a request that nobody reported on; it is
        over with its last. `outcomes` are as `proofs.settle` has them."""
        with self._database.write(studies=self._studies_of(transaction_uid)) as db:
            row = db.execute(
                sa.select(commitments).where(commitments.c.transaction_uid == transaction_uid)
            ).first()
            if row is None or row.state not in OPEN:
                return
            at = self._database.now()
            for uid, outcome in outcomes.items():
                self._settle(db, at, row.destination, transaction_uid, uid, outcome)
            if None not in outcomes_of(db, transaction_uid).values():
                self._close(db, row.destination, transaction_uid, {}, CommitmentState.CLOSED)

    def _settle(
        self,
        db: sa.Connection,
        at: float,
        destination: str,
        transaction_uid: str,
        uid: str,
        outcome: str,
    ) -> None:
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

    def _close(
        self,
        db: sa.Connection,
        destination: str,
        transaction_uid: str,
        outcomes: Mapping[str, str],
        state: CommitmentState,
    ) -> None:
        at = self._database.now()
        settled = outcomes_of(db, transaction_uid)
        for uid, known in settled.items():
            if known is None or uid in outcomes:
                self._settle(db, at, destination, transaction_uid, uid, outcomes.get(uid, ""))
        db.execute(
            commitments.update()
            .where(commitments.c.transaction_uid == transaction_uid)
            .values(state=state, closed_at=at)
        )
        committed = sum(outcomes.get(uid) == COMMITTED for uid in settled)
        fields = {"objects": len(settled), "committed": committed, "destination": destination}
        note(db, at, f"commitment_{state}", None, transaction_uid=transaction_uid, **fields)

    def learn(self, destination: str, outcomes: Mapping[str, str]) -> None:
        """Record what was found out without a request; as `proofs.settle` has it."""
        free = deliveries.c.transaction_uid.is_(None)
        made = sa.select(results.c.study_instance_uid).where(
            results.c.sop_instance_uid.in_(list(outcomes))
        )
        with self._database.write(studies=self._studies(made)) as db:
            for uid, outcome in outcomes.items():
                settle(db, self._database.now(), uid, destination, outcome, free)

    def _studies_of(self, transaction_uid: str) -> set[str]:
        """Studies whose deliveries an answer to a request may move."""
        asked = sa.select(commitment_items.c.sop_instance_uid).where(
            commitment_items.c.transaction_uid == transaction_uid
        )
        made = sa.select(results.c.study_instance_uid).where(results.c.sop_instance_uid.in_(asked))
        return self._studies(made)

    def _studies(self, query: sa.Select[tuple[str]]) -> set[str]:
        with self._database.read() as db:
            return set(db.scalars(query))

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


def outcomes_of(db: sa.Connection, transaction_uid: str) -> dict[str, str | None]:
    """What was said of each item of a request; None of one that nothing was said of yet."""
    query = sa.select(commitment_items.c.sop_instance_uid, commitment_items.c.outcome).where(
        commitment_items.c.transaction_uid == transaction_uid
    )
    return {uid: outcome for uid, outcome in db.execute(query)}
