"""What an operator has paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Float, String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it, and pauses nothing."""
    op.create_table(
        "switches",
        Column("name", String(64), primary_key=True),
        Column("paused_at", Float, nullable=False),
    )
    op.execute(sa.text("UPDATE schema_version SET version = 3, oldest_reader = 1"))
