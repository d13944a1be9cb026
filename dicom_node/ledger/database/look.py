"""A database looked at before it is used: nothing is created or changed."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from dicom_node.ledger.database import postgresql, sqlite

Where = Path | str
"""A SQLite file, or the URL of a database of a server."""


def name_of(where: Where) -> str:
    """The file, or the address without the password."""
    return str(where) if isinstance(where, Path) else str(sa.make_url(where))


def require_sound(where: Where) -> None:
    """Return when a node may use the database, or make it.

    Of a file all is read. Raises LedgerDamaged, and LedgerBusy when that cannot be told now.
    """
    if isinstance(where, Path):
        sqlite.require_sound(where)
    else:
        exists(where)


def exists(where: Where) -> bool:
    """Whether a node has ever run on it. Raises LedgerDamaged and LedgerBusy."""
    if isinstance(where, Path):
        return where.exists()
    engine = postgresql.connect(where)
    try:
        return sa.inspect(engine).has_table("revisions")
    except DBAPIError as error:
        raise postgresql.failure(name_of(where), error.orig, opening=True) from error
    finally:
        engine.dispose()
