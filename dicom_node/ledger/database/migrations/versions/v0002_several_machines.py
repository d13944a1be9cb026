"""Who owns what is under way, a row per study to lock, and the start of the host."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Float, String

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it."""
    op.add_column("instances", Column("ingest", String(64)))
    op.add_column("transfers", Column("ingest", String(64)))
    op.add_column("revisions", Column("executor", String(64)))
    op.create_table("studies", Column("study_instance_uid", String(64), primary_key=True))
    op.execute("INSERT INTO studies SELECT DISTINCT study_instance_uid FROM revisions")
    op.create_table(
        "boots",
        Column("boot_id", String(64), primary_key=True),
        Column("anchor", Float, nullable=False),
    )
    op.execute(sa.text("UPDATE schema_version SET version = 2, oldest_reader = 1"))
