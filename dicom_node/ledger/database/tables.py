"""Tables of the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, UniqueConstraint

from dicom_node.ledger.database.columns import Big, MadeKind, ShortWords, Values, Words

metadata = MetaData()

instances = Table(
    "instances",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("series_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("size_bytes", Big, nullable=False),
    Column("path", Words, nullable=False),
    Column("calling_ae", ShortWords(16), nullable=False),
    Column("peer", Words, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("ingest", String(64)),
    Column("sha256", String(64)),
    Column("purged_at", Float),
    Column("held_at", Float),
    Column("promised_at", Float),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Big, primary_key=True),
    Column("calling_ae", ShortWords(16), nullable=False),
    Column("peer", Words, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("last_byte_at", Float, nullable=False),
    Column("ingest", String(64)),
)

studies = Table(
    "studies",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
)
"""One row per study, to lock: whoever adds to a study or closes it takes it first."""

revisions = Table(
    "revisions",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", Words),
    Column("opened_at", Float, nullable=False),
    Column("last_instance_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("started_at", Float),
    Column("analyzed_at", Float),
    Column("finished_at", Float),
    Column("evidence", Values),
    Column("attempt", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("engine", Words),
    Column("bundle_digest", String(64)),
    Column("resend", sa.Boolean, nullable=False, default=False),
    Column("slide", Words),
    Column("tiles_done", Integer, nullable=False, default=0),
    Column("tiles_total", Integer, nullable=False, default=0),
    Column("tiles_per_s", Float, nullable=False, default=0.0),
    Column("executor", String(64)),
)

results = Table(
    "results",
    metadata,
    Column("id", Big, primary_key=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("kind", MadeKind, nullable=False),
    Column("slide", Words, nullable=False),
    Column("path", Words, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("purged_at", Float),
    Column("model", String(32), nullable=False, default="", server_default=""),
    Column("silent", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    Column("series_instance_uid", String(64), nullable=False, default="", server_default=""),
    Column("engine", Words, nullable=False, default="", server_default=""),
    Column("dated_at", Float),
    Column("predecessor", String(64), nullable=False, default="", server_default=""),
    Column("number", Integer),
    Column("replaced", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    Column("withdrawn_at", Float),
    UniqueConstraint("study_instance_uid", "revision", "sop_instance_uid"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("destination", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("status", String(4)),
    Column("error", Words),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float),
    Column("delivered_at", Float),
    Column("proof", String(16), index=True),
    Column("proof_at", Float),
    Column("transaction_uid", String(64)),
    Column("asks", Integer, nullable=False, default=0),
    Column("resends", Integer, nullable=False, default=0),
    Column("ask_at", Float),
)

events = Table(
    "events",
    metadata,
    Column("id", Big, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", String(64), index=True),
    Column("kind", String(64), nullable=False),
    Column("fields", Words, nullable=False),
    sqlite_autoincrement=True,
)
"""Who tells of events counts by their numbers: one that was deleted never gives its number away."""

destinations = Table(
    "destinations",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("checked_at", Float, nullable=False),
    Column("reachable", sa.Boolean, nullable=False),
    Column("accepted", Values, nullable=False),
    Column("reason", Words, nullable=False),
)

switches = Table(
    "switches",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("paused_at", Float, nullable=False),
)
"""A row for each that is paused."""

commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("destination", String(32), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("made_at", Float, nullable=False),
    Column("asked_at", Float),
    Column("closed_at", Float),
)
"""Requests to destinations to commit to results: durable before they are sent."""

commitment_items = Table(
    "commitment_items",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("outcome", String(16)),
)

inquiries = Table(
    "inquiries",
    metadata,
    Column("id", Big, primary_key=True),
    Column("calling_ae", ShortWords(16), nullable=False),
    Column("transaction_uid", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("is_duplicate", sa.Boolean, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("decided_at", Float),
    Column("closed_at", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float),
    Column("ingest", String(64)),
)
"""Requests of senders that we commit to what they sent: durable before they are answered."""

inquiry_items = Table(
    "inquiry_items",
    metadata,
    Column("inquiry", Big, primary_key=True, autoincrement=False),
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), primary_key=True),
    Column("outcome", String(16)),
)

holds = Table(
    "holds",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("reason", Words, nullable=False),
)
"""Studies of which nothing is removed, whatever its age."""

discards = Table(
    "discards",
    metadata,
    Column("path", String(512), primary_key=True),
    Column("at", Float, nullable=False),
    Column("owner", String(64)),
)
"""Files and folders, relative to the data folder of their owner, that nothing refers to."""

patients = Table(
    "patients",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("key_name", String(16), nullable=False),
)
"""Whose a study was whose files were removed: keyed digests of Patient IDs, never the IDs. One
without a digest stands for files that did not say whose they are."""

watched = Table(
    "watched",
    metadata,
    Column("id", Big, primary_key=True),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
)
"""Stretches of time in which somebody looked, now and then, what may be removed."""

boots = Table(
    "boots",
    metadata,
    Column("boot_id", String(64), primary_key=True),
    Column("anchor", Float, nullable=False),
)
"""What 1970 is behind each start of the host, where all processes are on one."""

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("oldest_reader", Integer, nullable=False),
)
"""One row: the schema these tables are, and the oldest one whose versions may still use them."""
