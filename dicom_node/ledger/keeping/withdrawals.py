"""Taking back what was answered: marked, out of the outbox, and what says so on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import deliveries, results
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.of_withdrawals import WITHDRAWN_EVENT, Answer, answers_of
from dicom_node.ledger.rows import WITHDRAWN, Result, Run
from dicom_node.ledger.standing import reopen, study_of
from dicom_node.ledger.statements import record_result
from dicom_node.ledger.states import DeliveryState


@dataclass(frozen=True, slots=True)
class Made:
    """One object that says of others that they are withdrawn, and who gets it."""

    result: Result
    to: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of a study."""

    withdrawn: tuple[str, ...]
    """SOP Instance UIDs."""
    made: tuple[Made, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    """Fields for the story of the study."""


class Withdrawals:
    """Written by people who withdraw."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def withdraw(self, study: str, decide: Callable[[Sequence[Answer], float], Decided]) -> Decided:
        """Mark objects of a study as withdrawn, and have sent what says so, in one transaction.

        `decide` is given what was answered and the time of the ledger. It writes the files of what
        it makes: who is killed before the transaction ends has left files that nothing refers to.
        What is not delivered yet will not be.
        """
        with self._database.write(study=study) as db:
            at = self._database.now()
            decided = decide(answers_of(db, study), at)
            if not decided.withdrawn:
                return decided
            _take_out(db, decided.withdrawn)
            db.execute(
                results.update()
                .where(
                    results.c.study_instance_uid == study,
                    results.c.sop_instance_uid.in_(decided.withdrawn),
                )
                .values(withdrawn_at=at, replaced=True)
            )
            for made in decided.made:
                run = Run(study, made.revision, 0)
                record_result(db, run, made.result)
                for name in made.to:
                    _queue(db, made.result.sop_instance_uid, name)
            for number in sorted({made.revision for made in decided.made if made.to}):
                reopen(db, at, study, number)
            told = {"withdrawn": list(decided.withdrawn), **decided.told}
            note(db, at, WITHDRAWN_EVENT, study, **told)
        return decided


def came_late(
    db: sa.Connection, sop_instance_uid: str, destination: str, outcome: Mapping[str, Any]
) -> None:
    """An object was being sent when it was withdrawn, and has been taken: it is withdrawn there,
    too. Nothing where it was not withdrawn."""
    withdrawn = sa.select(results.c.withdrawn_at).where(
        results.c.sop_instance_uid == sop_instance_uid, results.c.withdrawn_at.is_not(None)
    )
    if db.execute(withdrawn).first() is None:
        return
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    if not insert_once(db, deliveries, **key, **outcome, attempts=1):
        return
    says = sa.select(results.c.sop_instance_uid, results.c.revision).where(
        results.c.predecessor == sop_instance_uid, results.c.kind.endswith(WITHDRAWN)
    )
    study = study_of(db, sop_instance_uid)
    for uid, revision in db.execute(says).all():
        _queue(db, uid, destination)
        if study is not None:
            reopen(db, outcome["delivered_at"], study, revision, destination=destination)


def _take_out(db: sa.Connection, withdrawn: Sequence[str]) -> None:
    """What nobody has is not sent; what is had and would be sent again is had."""
    mine = deliveries.c.sop_instance_uid.in_(withdrawn)
    db.execute(deliveries.delete().where(mine, deliveries.c.delivered_at.is_(None)))
    had = {"state": DeliveryState.DELIVERED, "next_attempt_at": None}
    db.execute(
        deliveries.update().where(mine, deliveries.c.state != DeliveryState.DELIVERED).values(**had)
    )


def _queue(db: sa.Connection, sop_instance_uid: str, destination: str) -> None:
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    insert_once(db, deliveries, **key, state=DeliveryState.PENDING)
