"""What the two databases say differently, and more than one place needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
"""Parsed once, when it is written: a list of studies reads one number of each."""


def is_shared(engine: sa.Engine) -> bool:
    """Whether several machines may use the database."""
    return engine.dialect.name == "postgresql"


def insert_once(db: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless its key is there already: a step that runs twice must write once."""
    dialect = postgresql if is_shared(db.engine) else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Without the option an INSERT has no count with every driver.
    done = db.execute(statement, execution_options={"preserve_rowcount": True})
    return done.rowcount == 1


def insert_all_once(db: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """The same for several rows, one or more."""
    dialect = postgresql if is_shared(db.engine) else sqlite
    db.execute(dialect.insert(table).values(rows).on_conflict_do_nothing())


def wait_for_others(db: sa.Connection) -> None:
    """Until the transaction ends, no other process that asks this is past it."""
    if is_shared(db.engine):
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('dicom-node'))"))
    else:
        db.exec_driver_sql("BEGIN IMMEDIATE")


def array_length(column: Any, key: str, engine: sa.Engine) -> sa.ColumnElement[int]:
    """How long the array under a key of a JSON column is."""
    if is_shared(engine):
        return sa.func.jsonb_array_length(column[key])
    return sa.func.json_array_length(column, f"$.{key}")  # column[key] would be made a text first
