"""Studies that people hold: nothing of them is removed or erased until they are released."""

from __future__ import annotations

import json
from collections.abc import Callable

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import discards, events, holds, instances, results, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.keeping.discards import SPOOL


class Holds:
    """Written by people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, study: str) -> tuple[float, str] | None:
        """When a study was put on hold, and why; None for one that is not."""
        query = sa.select(holds.c.at, holds.c.reason).where(holds.c.study_instance_uid == study)
        with self._database.read() as db:
            row = db.execute(query).first()
        return None if row is None else (row.at, row.reason)

    def hold(
        self, study: str, reason: str, is_there: Callable[[str], bool], token: str = ""
    ) -> None:
        """Keep everything of a study until it is released, files that were given up and are still
        there included: `is_there` tells for a path below the data folder. `token` tells this hold
        from every other.

        Raises KeyError for an unknown study.
        """
        with self._database.write(study=study) as db:
            _require(db, study)
            now = self._database.now()
            if insert_once(db, holds, study_instance_uid=study, at=now, reason=reason):
                files = _take_back(db, study, is_there)
                fields = {"reason": reason, "files_taken_back": files, "token": token}
                note(db, now, "study_held", study, **fields)

    def is_known(self, study: str, token: str) -> bool | None:
        """Whether this database was told of a hold, released or not; None where it does not know
        the study."""
        held = (events.c.study_instance_uid == study, events.c.kind == "study_held")
        with self._database.read() as db:
            if not _is_known(db, study):
                return None
            said = db.scalars(sa.select(events.c.fields).where(*held)).all()
        return any(json.loads(fields).get("token") == token for fields in said)

    def release(self, study: str) -> bool:
        """End a hold; False if there was none. Raises KeyError for an unknown study."""
        with self._database.write(study=study) as db:
            _require(db, study)
            gone = db.execute(holds.delete().where(holds.c.study_instance_uid == study))
            if gone.rowcount:
                note(db, self._database.now(), "hold_released", study)
            return bool(gone.rowcount)


def _require(db: sa.Connection, study: str) -> None:
    if not _is_known(db, study):
        raise KeyError(study)


def _is_known(db: sa.Connection, study: str) -> bool:
    known = sa.select(revisions.c.revision).where(revisions.c.study_instance_uid == study)
    return db.execute(known).first() is not None


def _take_back(db: sa.Connection, study: str, is_there: Callable[[str], bool]) -> int:
    """Keep files after all that are listed and not unlinked yet; how many."""
    number = 0
    for table, prefix in ((instances, f"{SPOOL}/"), (results, "")):
        here = sa.and_(table.c.study_instance_uid == study, table.c.purged_at.is_not(None))
        for path in set(db.scalars(sa.select(table.c.path).where(here))):
            listed = discards.c.path == f"{prefix}{path}"
            if db.execute(sa.select(discards).where(listed)).first() and is_there(prefix + path):
                db.execute(table.update().where(here, table.c.path == path).values(purged_at=None))
                db.execute(discards.delete().where(listed))
                number += 1
    return number
