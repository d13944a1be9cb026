"""What an operator has paused: intake, analysis, or the deliveries to one destination.

A switch holds for every node on the database, survives restarts, and stays until `resume`.
"""

from __future__ import annotations

import json
import math
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import events, switches
from dicom_node.ledger.events import note

INTAKE, ANALYSIS = "intake", "analysis"
"""The two that are no destination."""
_RESUMED = "resumed"


class Switches:
    """Moved by people; looked at by every process before it begins something."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, name: str) -> bool:
        """Begin nothing more of this kind; False where it was paused already."""
        with self._database.write() as db:
            now = self._database.now()
            is_new = insert_once(db, switches, name=name, paused_at=now)
            if is_new:
                note(db, now, "paused", None, name=name)
        return is_new

    def resume(self, name: str) -> bool:
        """Go on; False where it was not paused."""
        with self._database.write() as db:
            was_paused = db.execute(switches.delete().where(switches.c.name == name)).rowcount == 1
            if was_paused:
                note(db, self._database.now(), _RESUMED, None, name=name)
        return was_paused

    def is_paused(self, name: str) -> bool:
        """Whether nothing of this kind may begin now."""
        query = sa.select(switches.c.name).where(switches.c.name == name)
        with self._database.read() as db:
            return db.execute(query).first() is not None

    def going_since(self, name: str) -> float:
        """Since when what is of this kind may begin: now where it is paused, -inf where nobody
        remembers a pause. No time before counts against what waited."""
        resumed = (
            sa.select(events.c.at)
            .where(
                events.c.study_instance_uid.is_(None),
                events.c.kind == _RESUMED,
                events.c.fields == json.dumps({"name": name}),
            )
            .order_by(events.c.id.desc())
            .limit(1)
        )
        if self.is_paused(name):
            return self._database.now()
        with self._database.read() as db:
            at = db.scalar(resumed)
        return -math.inf if at is None else at

    def paused(self) -> dict[str, float]:
        """When each was paused that is, by name."""
        query = sa.select(switches.c.name, switches.c.paused_at).order_by(switches.c.name)
        with self._database.read() as db:
            return {row.name: row.paused_at for row in db.execute(query)}


def not_paused(name: Any) -> sa.ColumnElement[bool]:
    """Of a row: that what its column names is not paused."""
    return ~sa.exists(sa.select(switches.c.name).where(switches.c.name == name))
