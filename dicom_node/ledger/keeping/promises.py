"""What senders ask us to keep, and what we promised: durable before anybody is told.

A promise stands in the row of the instance, in the transaction that decides on the request, and
whoever removes files asks for it (`rules.inputs`): so none is removed after its sender was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

import sqlalchemy as sa

from dicom_node.ledger.answers.proofs import COMMITTED
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import inquiries, inquiry_items, instances
from dicom_node.ledger.errors import LedgerDamaged
from dicom_node.ledger.events import note, note_each
from dicom_node.ledger.keeping.inquiries import (
    OPEN,
    Inquiry,
    Kept,
    Reference,
    Unreadable,
    batches,
    forget_missing,
    inquiry_of,
    no_longer,
    references_of,
    title_of,
    write_outcomes,
)
from dicom_node.ledger.states import InquiryState

DUPLICATE = "0131"
"""Duplicate Transaction UID (PS3.3 C.14.1.1)."""
_MOST_OPEN = 1000
_Read = TypeVar("_Read")


class Receipt(StrEnum):
    """What a request was."""

    NEW = "new"
    KNOWN = "known"
    """The same once more, before it was reported on: one report answers both."""
    DUPLICATE = "duplicate"
    """Another request under a Transaction UID that this sender has used."""
    TOO_MANY = "too_many"
    """Not taken: too many of this sender's are open."""


class Promises:
    """Written by who hears requests, and by who decides and reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(
        self, calling_ae: str, transaction_uid: str, references: Collection[Reference]
    ) -> Receipt:
        """Keep a request, once. Raises LedgerFailed: then nothing may be promised about it."""
        of_peer = inquiries.c.calling_ae == calling_ae
        is_open = inquiries.c.state.in_(OPEN)
        same = sa.and_(of_peer, inquiries.c.transaction_uid == transaction_uid)
        with self._database.write() as db:
            before = db.execute(sa.select(inquiries.c.id, inquiries.c.state).where(same)).all()
            for row in before:
                if row.state in OPEN and references_of(db, row.id) == set(references):
                    return Receipt.KNOWN
            mine = inquiries.c.ingest == self._database.owner  # what another name left stays open
            number = db.scalar(sa.select(sa.func.count()).where(of_peer, is_open, mine)) or 0
            if number >= _MOST_OPEN:
                return Receipt.TOO_MANY
            at = self._database.now()
            made = db.execute(
                inquiries.insert().values(
                    calling_ae=calling_ae,
                    transaction_uid=transaction_uid,
                    state=InquiryState.ASKED,
                    is_duplicate=bool(before),
                    asked_at=at,
                    ingest=self._database.owner,
                )
            )
            (key,) = made.inserted_primary_key or (0,)
            items = [
                {"inquiry": key, "sop_class_uid": sop_class, "sop_instance_uid": uid}
                for sop_class, uid in references
            ]
            db.execute(inquiry_items.insert(), items)
            fields = {"calling_ae": calling_ae, "transaction_uid": transaction_uid}
            note(db, at, "commitment_requested", None, objects=len(items), **fields)
        return Receipt.DUPLICATE if before else Receipt.NEW

    def peers(self) -> dict[str, int]:
        """How many requests await their report, by calling AE title."""
        c = inquiries.c
        query = (
            sa.select(sa.func.min(c.id), sa.func.count())
            .where(c.state.in_(OPEN), c.ingest == self._database.owner)
            .group_by(c.calling_ae)
        )
        with self._database.read() as db:
            numbers = {key: number for key, number in db.execute(query)}
        titles = {key: self._alone(key, title_of) for key in numbers}
        return {title: numbers[key] for key, title in titles.items() if isinstance(title, str)}

    def due(self, calling_ae: str, *, most: int) -> list[Inquiry | Unreadable]:
        """Requests of a peer to decide or to report on now, the oldest first."""
        now, c = self._database.now(), inquiries.c
        query = (
            sa.select(c.id)
            .where(
                c.calling_ae == calling_ae,
                c.ingest == self._database.owner,
                c.state.in_(OPEN),
                sa.or_(c.next_attempt_at.is_(None), c.next_attempt_at <= now),
            )
            .order_by(c.asked_at, c.id)
            .limit(most)
        )
        with self._database.read() as db:
            keys = db.scalars(query).all()
        found = (self._alone(key, inquiry_of) for key in keys)
        return [one for one in found if one is not None]

    def _alone(self, key: int, reads: Callable[[sa.Connection, int], _Read]) -> _Read | Unreadable:
        """What is read of one request, or that its rows cannot be: no fault of any other."""
        try:
            with self._database.read() as db:
                return reads(db, key)
        except (LedgerDamaged, TypeError, ValueError):
            return Unreadable(key)

    def kept(self, instance_uids: Collection[str]) -> dict[str, Kept]:
        """Received instances by SOP Instance UID; those that are not known are left out."""
        c = instances.c
        columns = (c.sop_instance_uid, c.sop_class_uid, c.study_instance_uid, c.transfer_syntax_uid,
                   c.path, c.size_bytes, c.sha256, c.purged_at)  # fmt: skip
        found: dict[str, Kept] = {}
        with self._database.read() as db:
            for uids in batches(instance_uids):
                query = sa.select(*columns).where(c.sop_instance_uid.in_(uids))
                found.update({row[0]: Kept(*row[1:]) for row in db.execute(query)})
        return found

    def decide(
        self, inquiry: Inquiry, outcomes: Mapping[Reference, str], looked_at: Mapping[str, Kept]
    ) -> Inquiry:
        """Write what is promised, of what still is as it was `looked_at`; what was decided.

        What was removed meanwhile fails. From here on nothing removes what is promised.
        """
        promised = {uid for (_, uid), outcome in outcomes.items() if outcome == COMMITTED}
        studies = {looked_at[uid].study_instance_uid for uid in promised}
        with self._database.write(studies=studies) as db:
            at = self._database.now()
            lost = dict(no_longer(db, {uid: looked_at[uid] for uid in promised}))
            final = {
                (sop_class, uid): lost.get(uid, outcome) if outcome == COMMITTED else outcome
                for (sop_class, uid), outcome in outcomes.items()
            }
            for uids in batches(promised - lost.keys()):
                db.execute(
                    instances.update()
                    .where(instances.c.sop_instance_uid.in_(uids))
                    .values(promised_at=at)
                )
            write_outcomes(db, inquiry.id, final)
            db.execute(
                inquiries.update()
                .where(inquiries.c.id == inquiry.id)
                .values(state=InquiryState.DECIDED, decided_at=at)
            )
            by = {"calling_ae": inquiry.calling_ae, "transaction_uid": inquiry.transaction_uid}
            kept = Counter(looked_at[uid].study_instance_uid for uid in promised - lost.keys())
            told = {study: {"files": files, **by} for study, files in kept.items()}
            note_each(db, at, "inputs_promised", told)
        return replace(inquiry, state=InquiryState.DECIDED, outcomes=dict(final))

    def remember(self, instance_uids: Collection[str]) -> int:
        """Note promises of a database that was lost; how many this one did not know."""
        known = 0
        with self._database.write() as db:
            for uids in batches(instance_uids):
                here = instances.c.sop_instance_uid.in_(uids)
                forgotten = sa.and_(here, instances.c.promised_at.is_(None))
                values = {"promised_at": self._database.now()}
                known += db.execute(instances.update().where(forgotten).values(**values)).rowcount
        return known

    def postpone(self, inquiry: Inquiry | Unreadable, wait_s: float) -> None:
        """Note that the sender could not be told, and when to try again."""
        with self._database.write() as db:
            db.execute(
                inquiries.update()
                .where(inquiries.c.id == inquiry.id, inquiries.c.state.in_(OPEN))
                .values(
                    attempts=inquiries.c.attempts + 1,
                    next_attempt_at=self._database.now() + wait_s,
                )
            )

    def close(self, inquiry: Inquiry, state: InquiryState) -> None:
        """End a request: the sender has taken the report, or never will."""
        kept = sum(outcome == COMMITTED for outcome in inquiry.outcomes.values())
        fields = {"calling_ae": inquiry.calling_ae, "transaction_uid": inquiry.transaction_uid}
        with self._database.write() as db:
            at = self._database.now()
            gone = db.execute(
                inquiries.update()
                .where(inquiries.c.id == inquiry.id, inquiries.c.state.in_(OPEN))
                .values(state=state, closed_at=at)
            )
            if gone.rowcount:
                kind = "commitment_told" if state is InquiryState.REPORTED else "commitment_untold"
                forget_missing(db, inquiry.id)
                note(db, at, kind, None, objects=len(inquiry.outcomes), committed=kept, **fields)

    def note_digest(self, sop_instance_uid: str, sha256: str) -> None:
        """Keep the digest of an instance that came again, and is what is here."""
        here = instances.c.sop_instance_uid == sop_instance_uid
        with self._database.read() as db:
            known = db.scalar(sa.select(instances.c.sha256).where(here))
        if known is None:
            with self._database.write() as db:
                db.execute(
                    instances.update()
                    .where(here, instances.c.sha256.is_(None))
                    .values(sha256=sha256)
                )
