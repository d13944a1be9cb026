"""The ledger in a SQLite file: how it is opened, whether it is sound, what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged

_WAIT_S = 5.0  # for a lock, while a file is looked at
_SHUT_OUT = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")


def connect(path: Path) -> sa.Engine:
    """An engine on a SQLite file: WAL, full synchronisation, writers wait for each other.

    Whoever uses it, the workflow library too, gets LedgerDamaged when the file is damaged.
    """
    # Its errors quote the statement; the parameters may hold what a header said.
    engine = sa.create_engine(f"sqlite:///{path}", hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The workflow library expects its transactions to take the write lock when they begin.
        connection.isolation_level = "IMMEDIATE"
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "handle_error")
    def _damage_is_ours(context: Any) -> Exception | None:
        """What is raised in place of the library's exception; None: that one."""
        error = context.original_exception
        return failure(path, error) if is_damage(error) else None

    return engine


def require_sound(path: Path) -> None:
    """Return when the file is absent, or a database in which SQLite finds no fault.

    Reads all of it and creates nothing. Raises LedgerDamaged, or LedgerBusy when that cannot be
    told now.
    """
    if not path.exists():
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise _shut_out(path, "no right to write it")
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)
        ) as db:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise failure(path, error, opening=True) from error
    if verdict != "ok":  # its words are of trees and pages
        raise _damaged(path, "a page that is not what it should be")


def failure(
    path: Path, error: BaseException | None, *, opening: bool = False
) -> LedgerBusy | LedgerDamaged:
    """What an error of SQLite means, in words of ours: its own may quote what is stored."""
    name = _name(error)
    if is_damage(error):
        return _damaged(path, name)
    # Only while opening: a process that has used up its descriptors cannot open a file either.
    if opening and name.startswith(_SHUT_OUT):
        return _shut_out(path, name)
    if name == "SQLITE_ERROR":  # no such table or column: waiting would not help
        return LedgerDamaged(
            f"{path}: its tables are not those of this version ({name}): start the version that "
            "wrote it, or move the file aside with its -wal and -shm and run `dicom-node recover`; "
            "the received files are safe in the spool"
        )
    return LedgerBusy(f"{path}: cannot be used now ({name})")


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite says that the file is damaged, or no database."""
    if isinstance(error, sqlite3.OperationalError):
        # The only one without a name is a text that is none.
        return not hasattr(error, "sqlite_errorname")
    return _name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _name(error: BaseException | None) -> str:
    return str(getattr(error, "sqlite_errorname", "a text that cannot be decoded"))


def _damaged(path: Path, found: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"{path}: found damage ({found}), expected a SQLite database: stop the node, move the file "
        "aside with its -wal and -shm, put back a backup or start without one, then run "
        "`dicom-node recover`; the received files are safe in the spool"
    )


def _shut_out(path: Path, found: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"{path}: cannot be opened ({found}), expected a database file that the node's user may "
        "read and write, in a folder that it may write: correct that; the received files are safe "
        "in the spool"
    )
