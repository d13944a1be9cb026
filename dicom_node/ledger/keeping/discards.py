"""Paths that are to be removed: listed with what gives them up, removed after it.

A path is listed in the transaction that says that nothing refers to it, and removed after; so
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
RESULTS = "results"
"""Folder of predictions, maps and objects below the data folder."""
ASIDE = "gone-"
"""Begins a name under which something waits to be removed: nothing else ever has such a name."""
_OF_NODE = "by-"


def discard(db: sa.Connection, owner: str, at: float, paths: Iterable[str]) -> None:
    """List paths of a node, in the transaction of what gives them up.

    A received file is listed for the node that received it, if its path names one.
    """
    for path in paths:
        insert_once(db, discards, path=path, at=at, owner=owner_of(path) or owner)


def owner_of(path: str) -> str:
    """The node whose a path of a received file is; empty if it names none."""
    parts = path.split("/")
    is_named = len(parts) > 2 and parts[0] == SPOOL and parts[1].startswith(_OF_NODE)
    return parts[1].removeprefix(_OF_NODE) if is_named else ""


def aside_of(path: str) -> str:
    """Where what has a path waits to be removed: beside it, so that a rename brings it there."""
    folder, _, name = path.rpartition("/")
    return path if name.startswith(ASIDE) else f"{folder}/{ASIDE}{name}"


def unlist_below(db: sa.Connection, owner: str, folder: str) -> None:
    """List what is in a folder no more: the folder is set aside as a whole."""
    below = discards.c.path.startswith(f"{folder}/", autoescape=True)
    db.execute(discards.delete().where(below, _is_of(owner)))


class Discards:
    """Written by who purges, of the files of its own data folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paths(self) -> list[str]:
        """Paths to be removed here, relative to the data folder, the longest listed first."""
        query = sa.select(discards.c.path).where(_is_of(self._database.owner))
        with self._database.read() as db:
            return list(db.scalars(query.order_by(discards.c.at)))

    def of_others(self) -> dict[str, str]:
        """Paths that other nodes have to remove, each with the name of its node."""
        others = sa.select(discards).where(sa.not_(_is_of(self._database.owner)))
        with self._database.read() as db:
            return {row.path: row.owner for row in db.execute(others.order_by(discards.c.at))}

    def adopt(self, paths: Iterable[str]) -> None:
        """List what a process left that ended while it gave them up."""
        with self._database.write() as db:
            discard(db, self._database.owner, self._database.now(), paths)

    def unless_listed(self, path: str, study: str | None, act: Callable[[], object]) -> None:
        """Do something with a path of a study that is not to be removed, while nobody lists it."""
        with self._database.write(study=study) as db:
            if not _is_listed(db, path):
                act()

    def unlink(
        self,
        path: str,
        set_aside: Callable[[str], object],
        remove: Callable[[str], object],
        is_there: Callable[[str], bool],
    ) -> None:
        """Remove a listed path, unless it is in use again; while a study is under way, not now.

        It is set aside in the transaction that finds it unused, and removed after that: a large
        file or folder takes long, and others write meanwhile. It stays listed until it is gone.
        Raises what the last three raise.
        """
        with self._database.read() as db:
            study = _study_of(db, path)
        with self._database.write(study=study) as db:
            if not _is_listed(db, path):
                return  # kept after all, a moment ago
            is_used = _is_used(db, path)
            if not is_used:
                if study is not None and _is_under_way(db, study):
                    return
                set_aside(path)
        if not is_used or aside_of(path) != path:
            remove(path)  # what was set aside: a process that was killed may have left it so
        with self._database.write(study=study) as db:
            if _is_used(db, path) or not is_there(path):  # else it was used and given up meanwhile
                db.execute(discards.delete().where(discards.c.path == path))


def _is_of(owner: str) -> sa.ColumnElement[bool]:
    return sa.or_(discards.c.owner.is_(None), discards.c.owner == owner)


def _is_listed(db: sa.Connection, path: str) -> bool:
    return db.execute(sa.select(discards.c.at).where(discards.c.path == path)).first() is not None


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
