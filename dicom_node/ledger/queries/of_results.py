"""What was made of studies, and where it stands with each destination."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import deliveries, results, revisions
from dicom_node.ledger.rows import WITHDRAWN, Delivery, DueDelivery, Result, Run, Standing
from dicom_node.ledger.standing import LOST, is_standing
from dicom_node.ledger.states import DeliveryState, Proof, State
from dicom_node.ledger.switches import not_paused


class ResultQueries:
    """Questions of objects and their deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def results(self, study: str, revision: int) -> list[Result]:
        """Objects made for a revision, in the order they are delivered."""
        query = (
            sa.select(results)
            .where(results.c.study_instance_uid == study, results.c.revision == revision)
            .order_by(results.c.id)
        )
        with self._database.read() as db:
            return [_result(row) for row in db.execute(query)]

    def kept_result(self, sop_instance_uid: str, run: Run) -> Result | None:
        """The object of this UID that must not be written again.

        That is one which a destination has had, or which another revision of the study made: an
        unchanged slide keeps its UIDs, and what is sent under a UID never changes.
        """
        query = (
            sa.select(results)
            .where(results.c.sop_instance_uid == sop_instance_uid)
            .order_by(results.c.revision)
        )
        with self._database.read() as db:
            rows = list(db.execute(query))
        others = [r for r in rows if r.revision != run.revision]
        if rows and (others or self.was_delivered(sop_instance_uid)):
            return _result(rows[0])
        return None

    def all_results(self) -> dict[tuple[str, int], list[Result]]:
        """Objects by study and revision."""
        found: dict[tuple[str, int], list[Result]] = defaultdict(list)
        with self._database.read() as db:
            for row in db.execute(sa.select(results).order_by(results.c.id)):
                found[row.study_instance_uid, row.revision].append(_result(row))
        return found

    def all_deliveries(self) -> dict[tuple[str, int], list[Delivery]]:
        """Where objects stand, by study and revision."""
        found: dict[tuple[str, int], list[Delivery]] = defaultdict(list)
        query = (
            sa.select(deliveries, results.c.study_instance_uid, results.c.revision)
            .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
            .order_by(deliveries.c.destination, results.c.id)
        )
        with self._database.read() as db:
            for row in db.execute(query):
                found[row.study_instance_uid, row.revision].append(_delivery(row))
        return found

    def was_delivered(self, sop_instance_uid: str) -> bool:
        """Whether any destination has ever taken this object."""
        query = sa.select(deliveries.c.delivered_at).where(
            deliveries.c.sop_instance_uid == sop_instance_uid,
            deliveries.c.delivered_at.is_not(None),
        )
        with self._database.read() as db:
            return db.execute(query).first() is not None

    def deliveries(self, study: str, revision: int) -> list[Delivery]:
        """Where each object of a revision stands with each destination."""
        with self._database.read() as db:
            return deliveries_of(db, study, revision)

    def standing_at(self, run: Run, destination: str) -> list[Standing]:
        """What a destination is sent of a revision, and where it stands there; nothing in whose
        place a later attempt made another."""
        r, d = results.c, deliveries.c
        query = (
            sa.select(r.kind, r.slide, r.model, d.state, d.error)
            .join(deliveries, d.sop_instance_uid == r.sop_instance_uid)
            .where(
                r.study_instance_uid == run.study,
                r.revision == run.revision,
                d.destination == destination,
                sa.not_(r.replaced),
            )
            .order_by(r.id)
        )
        with self._database.read() as db:
            return [Standing(*row[:3], DeliveryState(row[3]), row[4]) for row in db.execute(query)]

    def lost(self) -> dict[str, dict[str, int]]:
        """How many objects that stand a destination took and does not have, and that are not sent
        again by themselves: by its name and by study."""
        d, study = deliveries.c, results.c.study_instance_uid
        query = (
            sa.select(d.destination, study, sa.func.count(d.sop_instance_uid.distinct()))
            .join(results, results.c.sop_instance_uid == d.sop_instance_uid)
            .where(LOST, is_standing())
            .group_by(d.destination, study)
            .order_by(d.destination, study)
        )
        found: dict[str, dict[str, int]] = defaultdict(dict)
        with self._database.read() as db:
            for name, uid, number in db.execute(query):
                found[name][uid] = int(number)
        return dict(found)

    def unproven(self) -> dict[str, int]:
        """How many objects that are still here a destination has taken without proof, by name;
        one that it lost counts as long as no other stands in its place."""
        d = deliveries.c
        query = (
            sa.select(d.destination, sa.func.count(d.sop_instance_uid.distinct()))
            .join(results, results.c.sop_instance_uid == d.sop_instance_uid)
            .where(
                d.state == DeliveryState.DELIVERED,
                sa.or_(
                    d.proof.is_(None),
                    d.proof == Proof.ASKED,
                    sa.and_(d.proof == Proof.LOST, is_standing()),
                ),
                results.c.purged_at.is_(None),
            )
            .group_by(d.destination)
        )
        with self._database.read() as db:
            return {name: int(number) for name, number in db.execute(query)}

    def due_deliveries(self, destination: str) -> list[DueDelivery]:
        """What a destination should be sent now: oldest study first, its objects in order."""
        due = sa.or_(
            deliveries.c.next_attempt_at.is_(None),
            deliveries.c.next_attempt_at <= self._database.now(),
        )
        query = (
            sa.select(
                revisions.c.study_instance_uid,
                revisions.c.revision,
                revisions.c.attempt,
                results.c.sop_instance_uid,
                results.c.path,
                results.c.sha256,
                deliveries.c.attempts,
                _later(revisions.c.analyzed_at, deliveries.c.proof_at),
                results.c.kind,
                results.c.slide,
                results.c.model,
            )
            .join(
                results,
                sa.and_(
                    results.c.study_instance_uid == revisions.c.study_instance_uid,
                    results.c.revision == revisions.c.revision,
                ),
            )
            .join(deliveries, deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
            .where(
                # What says that others are withdrawn waits for no analysis.
                sa.or_(revisions.c.state == State.DELIVERING, results.c.kind.endswith(WITHDRAWN)),
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING,
                not_paused(deliveries.c.destination),
                due,
            )
            .order_by(revisions.c.analyzed_at, results.c.id)
        )
        with self._database.read() as db:
            return [DueDelivery(Run(*row[:3]), *row[3:]) for row in db.execute(query)]


def deliveries_of(db: sa.Connection, study: str, revision: int) -> list[Delivery]:
    """Where each object of a revision stands with each destination, within a transaction."""
    query = (
        sa.select(deliveries)
        .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(results.c.study_instance_uid == study, results.c.revision == revision)
        .order_by(deliveries.c.destination, results.c.id)
    )
    return [_delivery(row) for row in db.execute(query)]


def _later(one: Any, other: Any) -> sa.ColumnElement[float]:
    """The later of two times; the second may be absent."""
    return sa.case((other > one, other), else_=one)


def _result(row: sa.Row[Any]) -> Result:
    return Result(**{f: getattr(row, f) for f in Result.__slots__})


def _delivery(row: sa.Row[Any]) -> Delivery:
    values = {f: getattr(row, f) for f in Delivery.__slots__}
    proof = None if row.proof is None else Proof(row.proof)
    return Delivery(**{**values, "state": DeliveryState(row.state), "proof": proof})
