"""What a result object is: its series, its dates, its engine, and what it replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Boolean, Column, Float, Integer, String, Text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it.

    The kind of an object ends in the name of its map, which may have 64 characters; SQLite counts
    none. Of objects that earlier versions made nobody knows it: their rows have it empty.
    """
    op.add_column(
        "results", Column("series_instance_uid", String(64), nullable=False, server_default="")
    )
    op.add_column("results", Column("engine", Text, nullable=False, server_default=""))
    op.add_column("results", Column("dated_at", Float))
    op.add_column("results", Column("predecessor", String(64), nullable=False, server_default=""))
    op.add_column("results", Column("number", Integer))
    op.add_column("results", Column("replaced", Boolean, nullable=False, server_default=sa.false()))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("results", "kind", type_=String(96))
    op.execute(sa.text("UPDATE schema_version SET version = 7"))
