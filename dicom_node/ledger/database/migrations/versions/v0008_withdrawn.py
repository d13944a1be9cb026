"""Which result objects were withdrawn, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Float

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it."""
    op.add_column("results", Column("withdrawn_at", Float))
    op.execute(sa.text("UPDATE schema_version SET version = 8"))
