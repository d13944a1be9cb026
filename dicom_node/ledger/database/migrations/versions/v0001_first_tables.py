"""The tables of 0.1: made where they are absent, taken over where 0.1.0 or 0.1.1 made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String, Text
from sqlalchemy.dialects import postgresql

Big = BigInteger().with_variant(Integer, "sqlite")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From nothing, or from tables without a version."""
    _arrivals()
    _revisions()
    _results()
    _the_node()


def _arrivals() -> None:
    op.create_table(
        "instances",
        Column("sop_instance_uid", String(64), primary_key=True),
        Column("sop_class_uid", String(64), nullable=False),
        Column("study_instance_uid", String(64), nullable=False),
        Column("series_instance_uid", String(64), nullable=False),
        Column("transfer_syntax_uid", String(64), nullable=False),
        Column("size_bytes", Big, nullable=False),
        Column("path", Text, nullable=False),
        Column("calling_ae", String(16), nullable=False),
        Column("peer", Text, nullable=False),
        Column("received_at", Float, nullable=False),
        Column("revision", Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_instances_study_instance_uid", "instances", ["study_instance_uid"], if_not_exists=True
    )
    op.create_table(
        "transfers",
        Column("id", Big, primary_key=True),
        Column("calling_ae", String(16), nullable=False),
        Column("peer", Text, nullable=False),
        Column("opened_at", Float, nullable=False),
        Column("last_byte_at", Float, nullable=False),
        if_not_exists=True,
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        Column("study_instance_uid", String(64), primary_key=True),
        Column("revision", Integer, primary_key=True),
        Column("state", String(16), nullable=False),
        Column("reason", Text),
        Column("opened_at", Float, nullable=False),
        Column("last_instance_at", Float, nullable=False),
        Column("closed_at", Float),
        Column("started_at", Float),
        Column("analyzed_at", Float),
        Column("finished_at", Float),
        Column("evidence", Json),
        Column("attempt", Integer, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("crashes", Integer, nullable=False),
        Column("not_before", Float, nullable=False),
        Column("engine", Text),
        Column("bundle_digest", String(64)),
        Column("resend", Boolean, nullable=False),
        Column("slide", Text),
        Column("tiles_done", Integer, nullable=False),
        Column("tiles_total", Integer, nullable=False),
        Column("tiles_per_s", Float, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_revisions_state", "revisions", ["state"], if_not_exists=True)


def _results() -> None:
    op.create_table(
        "results",
        Column("id", Big, primary_key=True),
        Column("study_instance_uid", String(64), nullable=False),
        Column("revision", Integer, nullable=False),
        Column("sop_instance_uid", String(64), nullable=False),
        Column("sop_class_uid", String(64), nullable=False),
        Column("kind", String(32), nullable=False),
        Column("slide", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("sha256", String(64), nullable=False),
        sa.UniqueConstraint("study_instance_uid", "revision", "sop_instance_uid"),
        if_not_exists=True,
    )
    op.create_table(
        "deliveries",
        Column("sop_instance_uid", String(64), primary_key=True),
        Column("destination", String(32), primary_key=True),
        Column("state", String(16), nullable=False),
        Column("status", String(4)),
        Column("error", Text),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", Float),
        Column("delivered_at", Float),
        if_not_exists=True,
    )


def _the_node() -> None:
    op.create_table(
        "events",
        Column("id", Big, primary_key=True),
        Column("at", Float, nullable=False),
        Column("study_instance_uid", String(64)),
        Column("kind", String(64), nullable=False),
        Column("fields", Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_events_study_instance_uid", "events", ["study_instance_uid"], if_not_exists=True
    )
    op.create_table(
        "destinations",
        Column("name", String(32), primary_key=True),
        Column("checked_at", Float, nullable=False),
        Column("reachable", Boolean, nullable=False),
        Column("accepted", Json, nullable=False),
        Column("reason", Text, nullable=False),
        if_not_exists=True,
    )
    made = op.create_table(
        "schema_version",
        Column("version", Integer, primary_key=True),
        Column("oldest_reader", Integer, nullable=False),
    )
    op.bulk_insert(made, [{"version": 1, "oldest_reader": 1}])
