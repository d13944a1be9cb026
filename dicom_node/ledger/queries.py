"""What the ledger is asked: it changes nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import array_length
from dicom_node.ledger.database.tables import (
    deliveries,
    destinations,
    events,
    instances,
    results,
    revisions,
    transfers,
)
from dicom_node.ledger.rows import (
    Delivery,
    DestinationSeen,
    DueDelivery,
    Event,
    Instance,
    Overview,
    Result,
    Revision,
    Run,
)
from dicom_node.ledger.statements import latest
from dicom_node.ledger.states import DeliveryState, Proof, State
from dicom_node.ledger.switches import not_paused

_OF_OVERVIEW = [f.name for f in fields(Overview)][:-4]
"""The fields that are columns; the others are counted."""


class Queries:
    """Every question to the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self, study: str, revision: int | None = None) -> Revision | None:
        """One revision of a study, the latest by default."""
        query = latest(study)
        if revision is not None:
            query = query.where(revisions.c.revision == revision)
        with self._database.read() as db:
            row = db.execute(query).first()
        return None if row is None else _revision(row)

    def in_state(self, state: State) -> list[Revision]:
        """Revisions in a state, oldest first."""
        query = (
            sa.select(revisions).where(revisions.c.state == state).order_by(revisions.c.opened_at)
        )
        with self._database.read() as db:
            return [_revision(row) for row in db.execute(query)]

    def my_analyses(self) -> list[Revision]:
        """Revisions that the owner of this ledger analyzes, or analyzed when it died."""
        mine = (None, self._database.owner)
        return [r for r in self.in_state(State.ANALYZING) if r.executor in mine]

    def all_revisions(self) -> list[Revision]:
        """Every revision, oldest first."""
        with self._database.read() as db:
            return [
                _revision(r)
                for r in db.execute(sa.select(revisions).order_by(revisions.c.opened_at))
            ]

    def of_study(self, study: str) -> list[Revision]:
        """Every revision of a study, oldest first."""
        query = sa.select(revisions).where(revisions.c.study_instance_uid == study)
        with self._database.read() as db:
            return [_revision(r) for r in db.execute(query.order_by(revisions.c.revision))]

    def overview(self) -> list[Overview]:
        """Every revision as a list shows it, oldest first: one SELECT, however many there are."""
        outcomes = (
            sa.select(
                results.c.study_instance_uid,
                results.c.revision,
                sa.func.count().label("deliveries"),
                sa.func.sum(
                    sa.case((deliveries.c.state == DeliveryState.DELIVERED, 1), else_=0)
                ).label("delivered"),
            )
            .join(deliveries, deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
            .group_by(results.c.study_instance_uid, results.c.revision)
            .subquery()
        )
        of_revision = sa.and_(
            outcomes.c.study_instance_uid == revisions.c.study_instance_uid,
            outcomes.c.revision == revisions.c.revision,
        )
        counted = revisions.c.evidence
        query = (
            sa.select(
                *(revisions.c[name] for name in _OF_OVERVIEW),
                counted["instances"].as_integer(),
                array_length(counted, "slides", self._database.engine),
                sa.func.coalesce(outcomes.c.deliveries, 0),
                sa.func.coalesce(outcomes.c.delivered, 0),
            )
            .outerjoin(outcomes, of_revision)
            .order_by(revisions.c.opened_at)
        )
        with self._database.read() as db:
            return [_overview(row) for row in db.execute(query)]

    def is_current(self, run: Run, state: State) -> bool:
        """Whether this attempt still is the one to act, in this state."""
        found = self.revision(run.study, run.revision)
        return found is not None and found.attempt == run.attempt and found.state is state

    def instances(self, study: str, revision: int) -> list[Instance]:
        """The instances up to a revision, in a fixed order."""
        query = (
            sa.select(
                instances.c.sop_instance_uid,
                instances.c.path,
                instances.c.size_bytes,
                instances.c.purged_at,
            )
            .where(instances.c.study_instance_uid == study, instances.c.revision <= revision)
            .order_by(instances.c.series_instance_uid, instances.c.sop_instance_uid)
        )
        with self._database.read() as db:
            return [Instance(*row) for row in db.execute(query)]

    def last_byte_at(self, study: str) -> tuple[float, float]:
        """When the last instance of a study was stored, and the last byte of its senders came."""
        of_study = instances.c.study_instance_uid == study
        senders = sa.select(instances.c.calling_ae).where(of_study)
        with self._database.read() as db:
            stored = db.scalar(sa.select(sa.func.max(instances.c.received_at)).where(of_study))
            arriving = db.scalar(
                sa.select(sa.func.max(transfers.c.last_byte_at)).where(
                    transfers.c.calling_ae.in_(senders)
                )
            )
        return stored or 0.0, arriving or 0.0

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
        query = (
            sa.select(deliveries)
            .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
            .where(results.c.study_instance_uid == study, results.c.revision == revision)
            .order_by(deliveries.c.destination, results.c.id)
        )
        with self._database.read() as db:
            return [_delivery(row) for row in db.execute(query)]

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
                revisions.c.state == State.DELIVERING,
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING,
                not_paused(deliveries.c.destination),
                due,
            )
            .order_by(revisions.c.analyzed_at, results.c.id)
        )
        with self._database.read() as db:
            return [DueDelivery(Run(*row[:3]), *row[3:]) for row in db.execute(query)]

    def events(self, study: str | None = None) -> list[Event]:
        """The story of a study, or of the node, oldest first."""
        query = sa.select(events).order_by(events.c.id)
        if study is not None:
            query = query.where(events.c.study_instance_uid == study)
        with self._database.read() as db:
            return [
                Event(row.at, row.study_instance_uid, row.kind, json.loads(row.fields))
                for row in db.execute(query)
            ]

    def events_after(self, number: int, kinds: Sequence[str], most: int) -> list[tuple[int, Event]]:
        """Events of some kinds with their numbers, from the one after `number` on."""
        query = (
            sa.select(events)
            .where(events.c.id > number, events.c.kind.in_(kinds))
            .order_by(events.c.id)
            .limit(most)
        )
        with self._database.read() as db:
            return [
                (row.id, Event(row.at, row.study_instance_uid, row.kind, json.loads(row.fields)))
                for row in db.execute(query)
            ]

    def last_event(self) -> int:
        """The number of the last event; 0 without any."""
        with self._database.read() as db:
            return int(db.scalar(sa.select(sa.func.max(events.c.id))) or 0)

    def destinations(self) -> dict[str, DestinationSeen]:
        """What each destination was last seen to accept, by name."""
        with self._database.read() as db:
            return {
                row.name: DestinationSeen(row.checked_at, row.reachable, row.accepted, row.reason)
                for row in db.execute(sa.select(destinations))
            }


def _later(one: Any, other: Any) -> sa.ColumnElement[float]:
    """The later of two times; the second may be absent."""
    return sa.case((other > one, other), else_=one)


def _result(row: sa.Row[Any]) -> Result:
    return Result(**{f: getattr(row, f) for f in Result.__slots__})


def _revision(row: sa.Row[Any]) -> Revision:
    values = {f: getattr(row, f) for f in Revision.__slots__}
    evidence = None if row.evidence is None else Evidence.read(row.evidence)
    return Revision(**{**values, "state": State(row.state), "evidence": evidence})


def _delivery(row: sa.Row[Any]) -> Delivery:
    values = {f: getattr(row, f) for f in Delivery.__slots__}
    proof = None if row.proof is None else Proof(row.proof)
    return Delivery(**{**values, "state": DeliveryState(row.state), "proof": proof})


def _overview(row: Sequence[Any]) -> Overview:
    study, revision, state, *others = row
    return Overview(study, revision, State(state), *others)
