"""Requests of senders, and what they ask about, as rows: read and written in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.ledger.answers.proofs import MISSING
from dicom_node.ledger.database.tables import inquiries, inquiry_items, instances
from dicom_node.ledger.states import InquiryState

Reference = tuple[str, str]
"""SOP class and SOP Instance UID."""
CHANGED = "0110"
"""Processing failure: the file was replaced while it was looked at."""
OPEN = (InquiryState.ASKED, InquiryState.DECIDED)
"""A request in one of these awaits its report."""
_AT_ONCE = 500  # values in one statement


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A request of a sender that awaits its report."""

    id: int
    calling_ae: str
    transaction_uid: str
    state: InquiryState
    is_duplicate: bool
    asked_at: float
    attempts: int
    outcomes: dict[Reference, str | None]
    """`COMMITTED` or a failure reason; None where that is not decided."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A request whose rows hold what was never written there: a disk, or a hand, changed them."""

    id: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A received instance that was asked about."""

    sop_class_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    path: str
    """Relative to the spool."""
    size_bytes: int
    sha256: str | None
    purged_at: float | None


def title_of(db: sa.Connection, inquiry: int) -> str | None:
    """Calling AE title of a request; None where there is no such request."""
    return db.scalar(sa.select(inquiries.c.calling_ae).where(inquiries.c.id == inquiry))


def inquiry_of(db: sa.Connection, inquiry: int) -> Inquiry | None:
    """One request; None where there is no such request.

    Raises LedgerDamaged, TypeError or ValueError where its rows hold no such values.
    """
    row = db.execute(sa.select(inquiries).where(inquiries.c.id == inquiry)).first()
    if row is None:
        return None
    state, asked_at = InquiryState(row.state), float(row.asked_at)
    attempts = max(0, int(row.attempts))
    names = (row.calling_ae, row.transaction_uid)
    return Inquiry(row.id, *names, state, row.is_duplicate, asked_at, attempts,
                   outcomes_of(db, row.id))  # fmt: skip


def references_of(db: sa.Connection, inquiry: int) -> set[Reference]:
    """What a request asks about."""
    return set(outcomes_of(db, inquiry))


def outcomes_of(db: sa.Connection, inquiry: int) -> dict[Reference, str | None]:
    """What was decided of each reference of a request; None where nothing was."""
    c = inquiry_items.c
    query = sa.select(c.sop_class_uid, c.sop_instance_uid, c.outcome).where(c.inquiry == inquiry)
    return {(row.sop_class_uid, row.sop_instance_uid): row.outcome for row in db.execute(query)}


def no_longer(db: sa.Connection, looked_at: Mapping[str, Kept]) -> Iterator[tuple[str, str]]:
    """Reasons for those that are not as they were looked at."""
    c = instances.c
    now: dict[str, tuple[str, float | None]] = {}
    for uids in batches(looked_at):
        query = sa.select(c.sop_instance_uid, c.path, c.purged_at).where(
            c.sop_instance_uid.in_(uids)
        )
        now |= {row.sop_instance_uid: (row.path, row.purged_at) for row in db.execute(query)}
    for uid, kept in looked_at.items():
        path, purged_at = now.get(uid, ("", 0.0))
        if purged_at is not None:
            yield uid, MISSING
        elif path != kept.path:
            yield uid, CHANGED


def write_outcomes(db: sa.Connection, inquiry: int, outcomes: Mapping[Reference, str]) -> None:
    """Note what was decided."""
    c = inquiry_items.c
    statement = (
        inquiry_items.update()
        .where(
            c.inquiry == inquiry,
            c.sop_class_uid == sa.bindparam("of_class"),
            c.sop_instance_uid == sa.bindparam("of_instance"),
        )
        .values(outcome=sa.bindparam("is_now"))
    )
    rows = [
        {"of_class": sop_class, "of_instance": uid, "is_now": outcome}
        for (sop_class, uid), outcome in outcomes.items()
    ]
    db.execute(statement, rows)


def answer_erased(
    db: sa.Connection, study: str, at: float, is_answered: sa.ColumnElement[bool]
) -> None:
    """Break what was promised of a study, before its rows go: an open request is answered that its
    instances are missing, and ends untold where it asks about nothing else.

    What nobody will report on (requests that are not `is_answered`) is deleted now; the rest by
    `forget_missing` when its request ends.
    """
    c = inquiry_items.c
    erased = _of_study(study)
    is_open = sa.select(inquiries.c.id).where(inquiries.c.state.in_(OPEN))
    concerned = sa.select(c.inquiry).where(erased, c.inquiry.in_(is_open)).distinct()
    of_others = sa.select(c.inquiry).where(sa.not_(erased))
    db.execute(inquiry_items.update().where(erased, c.inquiry.in_(is_open)).values(outcome=MISSING))
    asks_of_it_only = sa.and_(inquiries.c.id.in_(concerned), inquiries.c.id.not_in(of_others))
    ends = {"state": InquiryState.GIVEN_UP, "closed_at": at}
    db.execute(inquiries.update().where(asks_of_it_only).values(**ends))
    reported = sa.select(inquiries.c.id).where(inquiries.c.state.in_(OPEN), is_answered)
    db.execute(inquiry_items.delete().where(erased, c.inquiry.not_in(reported)))


def forget_told(db: sa.Connection, study: str) -> None:
    """Delete what ended requests asked about a study, before its rows go."""
    ended = sa.select(inquiries.c.id).where(inquiries.c.closed_at.is_not(None))
    db.execute(inquiry_items.delete().where(_of_study(study), inquiry_items.c.inquiry.in_(ended)))


def forget_missing(db: sa.Connection, inquiry: int) -> None:
    """Delete what an ended request asked about instances that are not known, or no longer."""
    known = sa.select(instances.c.sop_instance_uid)
    db.execute(
        inquiry_items.delete().where(
            inquiry_items.c.inquiry == inquiry, inquiry_items.c.sop_instance_uid.not_in(known)
        )
    )


def _of_study(study: str) -> sa.ColumnElement[bool]:
    of_it = sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == study)
    return inquiry_items.c.sop_instance_uid.in_(of_it)


def batches(uids: Iterable[str]) -> Iterator[list[str]]:
    """All of them, as many at a time as a statement takes."""
    every = list(uids)
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]
