"""Proof that a destination keeps a result, and what is removed when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, String, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Only adds: a version that knows schema 1 does not see it."""
    op.add_column("instances", Column("sha256", String(64)))
    op.add_column("instances", Column("purged_at", Float))
    op.add_column("instances", Column("held_at", Float))
    op.add_column("results", Column("purged_at", Float))
    op.add_column("deliveries", Column("proof", String(16)))
    op.create_index("ix_deliveries_proof", "deliveries", ["proof"])
    op.add_column("deliveries", Column("proof_at", Float))
    op.add_column("deliveries", Column("transaction_uid", String(64)))
    op.add_column("deliveries", Column("asks", Integer, nullable=False, server_default="0"))
    op.add_column("deliveries", Column("resends", Integer, nullable=False, server_default="0"))
    op.add_column("deliveries", Column("ask_at", Float))
    op.create_table(
        "commitments",
        Column("transaction_uid", String(64), primary_key=True),
        Column("destination", String(32), nullable=False),
        Column("state", String(16), nullable=False),
        Column("made_at", Float, nullable=False),
        Column("asked_at", Float),
        Column("closed_at", Float),
    )
    op.create_index("ix_commitments_state", "commitments", ["state"])
    op.create_table(
        "commitment_items",
        Column("transaction_uid", String(64), primary_key=True),
        Column("sop_instance_uid", String(64), primary_key=True),
        Column("sop_class_uid", String(64), nullable=False),
        Column("outcome", String(16)),
    )
    op.create_table(
        "holds",
        Column("study_instance_uid", String(64), primary_key=True),
        Column("at", Float, nullable=False),
        Column("reason", Text, nullable=False),
    )
    op.create_table(
        "discards",
        Column("path", String(512), primary_key=True),
        Column("at", Float, nullable=False),
        Column("owner", String(64)),
    )
    op.create_table(
        "patients",
        Column("study_instance_uid", String(64), primary_key=True),
        Column("digest", String(64), primary_key=True),
        Column("key_name", String(16), nullable=False),
    )
    op.create_table(
        "watched",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("since", Float, nullable=False),
        Column("until", Float, nullable=False),
    )
    op.execute(sa.text("UPDATE schema_version SET version = 4"))
