"""What senders ask us to keep, and what we promised; events numbered once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it, and removes nothing."""
    op.add_column("instances", Column("promised_at", Float))
    op.create_table(
        "inquiries",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("calling_ae", String(16), nullable=False),
        Column("transaction_uid", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("is_duplicate", Boolean, nullable=False),
        Column("asked_at", Float, nullable=False),
        Column("decided_at", Float),
        Column("closed_at", Float),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("next_attempt_at", Float),
        Column("ingest", String(64)),
    )
    op.create_index("ix_inquiries_state", "inquiries", ["state"])
    op.create_index("ix_inquiries_transaction_uid", "inquiries", ["transaction_uid"])
    op.create_table(
        "inquiry_items",
        Column(
            "inquiry", BigInteger().with_variant(Integer, "sqlite"), primary_key=True,
            autoincrement=False,
        ),
        Column("sop_instance_uid", String(64), primary_key=True),
        Column("sop_class_uid", String(64), primary_key=True),
        Column("outcome", String(16)),
    )  # fmt: skip
    if op.get_bind().dialect.name == "sqlite":
        _number_events()
    op.execute(sa.text("UPDATE schema_version SET version = 5"))


def _number_events() -> None:
    """SQLite gives the number of a deleted last row away again, unless a table says AUTOINCREMENT,
    which it can say only when it is made. A version that knows schema 1 does not see it."""
    op.create_table(
        "events_numbered",
        Column("id", Integer, primary_key=True),
        Column("at", Float, nullable=False),
        Column("study_instance_uid", String(64)),
        Column("kind", String(64), nullable=False),
        Column("fields", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    columns = "id, at, study_instance_uid, kind, fields"
    op.execute(sa.text(f"INSERT INTO events_numbered ({columns}) SELECT {columns} FROM events"))
    op.drop_table("events")
    op.rename_table("events_numbered", "events")
    op.create_index("ix_events_study_instance_uid", "events", ["study_instance_uid"])
