"""What happened, and what destinations were last seen to accept."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import destinations, events, revisions
from dicom_node.ledger.rows import DestinationSeen, Event

REFUSED_BY_STATUS = "refused_by_status"


class EventQueries:
    """Questions of what was noted."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def bundle_digests(self, study: str) -> set[str]:
        """The bundles that made something of a study, as far as it was noted."""
        query = sa.select(revisions.c.bundle_digest).where(
            revisions.c.study_instance_uid == study, revisions.c.bundle_digest.is_not(None)
        )
        with self._database.read() as db:
            found = set(db.scalars(query))
            of_study = analyses.c.study_instance_uid == study
            found |= set(db.scalars(sa.select(analyses.c.bundle_digest).where(of_study)))
        built = (e.fields for e in self.events(study) if e.kind == "results_built")
        return found | {digest for f in built if (digest := f.get("bundle_digest"))}

    def refused_kinds(self, study: str, revision: int) -> dict[str, dict[str, str]]:
        """As `refused_in`."""
        with self._database.read() as db:
            return refused_in(db, study, revision)

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


def refused_in(db: sa.Connection, study: str, revision: int) -> dict[str, dict[str, str]]:
    """What destinations refused by status of a revision, since somebody last asked for a retry: the
    status by the name of the kind, by destination."""
    query = (
        sa.select(events.c.kind, events.c.fields)
        .where(
            events.c.study_instance_uid == study,
            events.c.kind.in_((REFUSED_BY_STATUS, "retry_asked")),
        )
        .order_by(events.c.id)
    )
    found: dict[str, dict[str, str]] = {}
    for kind, text in db.execute(query):
        fields = json.loads(text)
        if kind != REFUSED_BY_STATUS:
            found.clear()
        elif fields["revision"] == revision:
            found.setdefault(fields["destination"], {})[fields["form"]] = fields["status"]
    return found
