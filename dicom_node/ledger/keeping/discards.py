"""Paths that are to be unlinked: listed with what gives them up, removed after it.

A path is listed in the transaction that says that nothing refers to it, and unlinked after; so
whatever ends the process, no row names a file that is gone without saying so, and none is left
that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import discards, instances, results, revisions
from dicom_node.ledger.states import AT_REST

SPOOL = "spool"
"""Folder of received files below the data folder."""


def discard(db: sa.Connection, owner: str, at: float, paths: Iterable[str]) -> None:
    """List paths of a node, in the transaction of what gives them up."""
    for path in paths:
        insert_once(db, discards, path=path, at=at, owner=owner)


class Discards:
    """Written by who purges, of the files of its own data folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paths(self) -> list[str]:
        """Paths to be unlinked, relative to the data folder, the longest listed first."""
        mine = sa.or_(discards.c.owner.is_(None), discards.c.owner == self._database.owner)
        with self._database.read() as db:
            query = sa.select(discards.c.path).where(mine).order_by(discards.c.at)
            return list(db.scalars(query))

    def adopt(self, paths: Iterable[str]) -> None:
        """List what a process left that ended while it gave them up."""
        with self._database.write() as db:
            discard(db, self._database.owner, self._database.now(), paths)

    def unlink(self, path: str, remove: Callable[[str], object]) -> None:
        """Remove a listed path, unless it is in use again; while a study is under way, not now."""
        with self._database.read() as db:
            study = _study_of(db, path)
        with self._database.write(study=study) as db:
            if db.execute(sa.select(discards.c.at).where(discards.c.path == path)).first() is None:
                return  # kept after all, a moment ago
            if not _is_used(db, path):
                if study is not None and _is_under_way(db, study):
                    return
                remove(path)
            db.execute(discards.delete().where(discards.c.path == path))


def _places(path: str) -> list[tuple[sa.Table, str]]:
    """Tables that may name a path, and what they call it."""
    return [(results, path), (instances, path.removeprefix(f"{SPOOL}/"))]


def _study_of(db: sa.Connection, path: str) -> str | None:
    """The study that a path is of, or was."""
    for table, name in _places(path):
        query = sa.select(table.c.study_instance_uid).where(table.c.path == name)
        if (study := db.scalar(query)) is not None:
            return str(study)
    return None


def _is_used(db: sa.Connection, path: str) -> bool:
    return any(
        db.execute(
            sa.select(sa.literal(1)).where(table.c.path == name, table.c.purged_at.is_(None))
        ).first()
        for table, name in _places(path)
    )


def _is_under_way(db: sa.Connection, study: str) -> bool:
    query = sa.select(revisions.c.state).where(
        revisions.c.study_instance_uid == study, revisions.c.state.not_in(AT_REST)
    )
    return db.execute(query).first() is not None
