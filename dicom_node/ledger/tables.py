"""Tables of the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

instances = Table(
    "instances",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("series_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("peer", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("revision", Integer, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("calling_ae", String(16), nullable=False),
    Column("peer", Text, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("last_byte_at", Float, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", Text),
    Column("opened_at", Float, nullable=False),
    Column("last_instance_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("started_at", Float),
    Column("analyzed_at", Float),
    Column("finished_at", Float),
    Column("evidence", JSON),
    Column("attempt", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("engine", Text),
    Column("bundle_digest", String(64)),
    Column("resend", sa.Boolean, nullable=False, default=False),
    Column("slide", Text),
    Column("tiles_done", Integer, nullable=False, default=0),
    Column("tiles_total", Integer, nullable=False, default=0),
    Column("tiles_per_s", Float, nullable=False, default=0.0),
)

results = Table(
    "results",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("slide", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    UniqueConstraint("study_instance_uid", "revision", "sop_instance_uid"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("status", String(4)),
    Column("error", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float),
    Column("delivered_at", Float),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", String(64), index=True),
    Column("kind", String(64), nullable=False),
    Column("fields", Text, nullable=False),
)

destinations = Table(
    "destinations",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("checked_at", Float, nullable=False),
    Column("reachable", sa.Boolean, nullable=False),
    Column("accepted", JSON, nullable=False),
    Column("reason", Text, nullable=False),
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("oldest_reader", Integer, nullable=False),
)
"""One row: the schema these tables are, and the oldest one whose versions may still use them."""
