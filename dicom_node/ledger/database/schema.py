"""Which tables a database has, and how they become those of this version."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from dicom_node.ledger.database.clock import boot_id, since_boot
from dicom_node.ledger.database.dialects import insert_once, is_shared, wait_for_others
from dicom_node.ledger.database.tables import boots, revisions, schema_version, transfers
from dicom_node.ledger.errors import LedgerDamaged, LedgerTooNew

VERSION = 8
"""The schema that this version writes; each script in `migrations/versions` makes the next one."""
_MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: sa.Engine) -> None:
    """Make the tables those of this version, in one transaction, or find them so.

    A schema that is newer is left as it is, if it says that this version may still use it: the
    node can go one version back. Raises LedgerTooNew otherwise, and LedgerDamaged for tables of
    something else.
    """
    with engine.connect() as db:
        found = _found(db)
    if found >= VERSION:
        return
    with engine.begin() as db:
        wait_for_others(db)  # who starts at the same time waits, then finds it done
        if _found(db) < VERSION:
            _migrate(db)


def anchor_of_this_boot(engine: sa.Engine) -> float:
    """What 1970 is behind the start of this host: set by the first process that asks after it.

    Never so that the clock would be behind what is written already.
    """
    mine = sa.select(boots.c.anchor).where(boots.c.boot_id == boot_id())
    with engine.connect() as db:
        found = db.scalar(mine)
    if found is not None:
        return float(found)
    with engine.begin() as db:
        wait_for_others(db)
        newest = max(
            time.time(),
            *(
                db.scalar(sa.select(sa.func.max(column))) or 0.0
                for column in (revisions.c.last_instance_at, transfers.c.last_byte_at)
            ),
        )
        insert_once(db, boots, boot_id=boot_id(), anchor=newest - since_boot())
        return float(db.scalar(mine) or 0.0)


def _found(db: sa.Connection) -> int:
    """The version of a database; 0 without tables, or with those from before versions were kept."""
    tables = sa.inspect(db)
    if not tables.has_table(schema_version.name):
        if tables.has_table("revisions"):
            _require_first_tables(db, {c["name"] for c in tables.get_columns("revisions")})
        return 0
    version, oldest_reader = db.execute(sa.select(schema_version)).one()
    if oldest_reader > VERSION:
        raise LedgerTooNew(
            f"{_name(db)}: found tables of schema {version}, which only a version "
            f"that knows schema {oldest_reader} may use; this one knows {VERSION}: start the "
            "version that ran last, or put back a backup from before it"
        )
    return int(version)


def _require_first_tables(db: sa.Connection, columns: set[str]) -> None:
    if not columns >= {"attempt", "evidence", "resend", "crashes"}:
        raise LedgerDamaged(
            f"{_name(db)}: its tables are not those of this version, nor of an "
            "earlier one: move the file aside with its -wal and -shm and run `dicom-node recover`; "
            "the received files are safe in the spool"
        )


def _migrate(db: sa.Connection) -> None:
    # Not loaded by a node whose database is up to date.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = db
    command.upgrade(config, f"{VERSION:04d}")


def _name(db: sa.Connection) -> str:
    return str(db.engine.url) if is_shared(db.engine) else str(db.engine.url.database)
