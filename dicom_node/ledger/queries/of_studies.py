"""Where studies and their files stand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import array_length
from dicom_node.ledger.database.tables import (
    deliveries,
    instances,
    results,
    revisions,
    transfers,
)
from dicom_node.ledger.rows import Instance, Overview, Revision, Run
from dicom_node.ledger.statements import latest
from dicom_node.ledger.states import DeliveryState, State

_OF_OVERVIEW = [f.name for f in fields(Overview)][:-4]
"""The fields that are columns; the others are counted."""


class StudyQueries:
    """Questions of studies."""

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

    def input_sets(
        self, study: str, revision: int, instance_uids: Collection[str]
    ) -> list[tuple[str, ...]]:
        """What an earlier result may have been made from, of the inputs of a later one: all of
        them, or those that had come until a revision, this one first and then those before."""
        query = (
            sa.select(instances.c.sop_instance_uid, instances.c.revision)
            .where(instances.c.study_instance_uid == study)
            .order_by(instances.c.sop_instance_uid)
        )
        with self._database.read() as db:
            came = {uid: number for uid, number in db.execute(query) if uid in instance_uids}
        until = [
            tuple(uid for uid, came_with in came.items() if came_with <= number)
            for number in range(revision, 0, -1)
        ]
        return list(dict.fromkeys(s for s in (*until, tuple(sorted(instance_uids))) if s))

    def sender(self, sop_instance_uid: str) -> str | None:
        """Calling AE title that an instance came from; None where it is unknown."""
        query = sa.select(instances.c.calling_ae).where(
            instances.c.sop_instance_uid == sop_instance_uid
        )
        with self._database.read() as db:
            return db.scalar(query)

    def received(self, study: str) -> dict[str, tuple[str, float]]:
        """Who sent each instance of a study, by calling AE title, and when it was stored."""
        i = instances.c
        query = sa.select(i.sop_instance_uid, i.calling_ae, i.received_at)
        with self._database.read() as db:
            rows = db.execute(query.where(i.study_instance_uid == study))
            return {row.sop_instance_uid: (row.calling_ae, row.received_at) for row in rows}

    def arriving_from(self, calling_ae: str) -> float:
        """When the last byte came of what a sender is sending now, of whatever study; 0 if it sends
        nothing."""
        bytes_at = sa.select(sa.func.max(transfers.c.last_byte_at))
        with self._database.read() as db:
            return db.scalar(bytes_at.where(transfers.c.calling_ae == calling_ae)) or 0.0

    def stored_from(self, calling_ae: str) -> float:
        """When the last instance of a sender was stored, of whatever study; 0 if none was."""
        stored_at = sa.select(sa.func.max(instances.c.received_at))
        with self._database.read() as db:
            return db.scalar(stored_at.where(instances.c.calling_ae == calling_ae)) or 0.0

    def senders(self) -> dict[str, int]:
        """How many studies there still are files of from each calling AE title."""
        i = instances.c
        query = (
            sa.select(i.calling_ae, sa.func.count(i.study_instance_uid.distinct()))
            .where(i.purged_at.is_(None))
            .group_by(i.calling_ae)
        )
        with self._database.read() as db:
            return {title: int(number) for title, number in db.execute(query)}

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


def _revision(row: sa.Row[Any]) -> Revision:
    values = {f: getattr(row, f) for f in Revision.__slots__}
    evidence = None if row.evidence is None else Evidence.read(row.evidence)
    return Revision(**{**values, "state": State(row.state), "evidence": evidence})


def _overview(row: Sequence[Any]) -> Overview:
    study, revision, state, *others = row
    return Overview(study, revision, State(state), *others)
