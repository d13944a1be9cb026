"""Several models in one node: what each attempt ran, and which model made a result."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Boolean, Column, Float, Integer, String, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it."""
    op.add_column("results", Column("model", String(32), nullable=False, server_default=""))
    op.add_column("results", Column("silent", Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "analyses",
        Column("study_instance_uid", String(64), primary_key=True),
        Column("revision", Integer, primary_key=True),
        Column("attempt", Integer, primary_key=True),
        Column("model", String(32), primary_key=True),
        Column("bundle_digest", String(64), nullable=False),
        Column("engine", Text, nullable=False),
        Column("precision", String(16), nullable=False),
        Column("silent", Boolean, nullable=False),
        Column("worked_s", Float, nullable=False, server_default="0"),
    )
    op.execute(sa.text("UPDATE schema_version SET version = 6"))
