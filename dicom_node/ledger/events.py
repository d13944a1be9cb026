"""The story of each study, and of the node: lines that are only ever added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import events


def note(db: sa.Connection, at: float, kind: str, study: str | None, **fields: Any) -> None:
    """Add a line, in the transaction of what it tells of.

    Its number is never given to another. On PostgreSQL it is drawn before the transaction ends, so
    a line of a transaction that took long may become visible after one with a larger number.
    """
    db.execute(
        events.insert().values(
            at=at, study_instance_uid=study, kind=kind, fields=json.dumps(fields)
        )
    )


def note_each(
    db: sa.Connection, at: float, kind: str, by_study: Mapping[str, Mapping[str, Any]]
) -> None:
    """Add a line to each of several stories, with the fields of each."""
    rows = [
        {"at": at, "study_instance_uid": study, "kind": kind, "fields": json.dumps(dict(fields))}
        for study, fields in by_study.items()
    ]
    if rows:
        db.execute(events.insert(), rows)


class Events:
    """Written by every process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, kind: str, *, study_instance_uid: str | None = None, **fields: Any) -> None:
        """Append one line to the story of a study, or of the node."""
        with self._database.write() as db:
            note(db, self._database.now(), kind, study_instance_uid, **fields)
