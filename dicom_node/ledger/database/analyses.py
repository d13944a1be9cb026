"""The table of what analyzed studies: a row for each attempt and model."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Float, Integer, String, Table

from dicom_node.ledger.database.columns import Words
from dicom_node.ledger.database.tables import metadata

analyses = Table(
    "analyses",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("model", String(32), primary_key=True),
    Column("bundle_digest", String(64), nullable=False),
    Column("engine", Words, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("silent", sa.Boolean, nullable=False),
    Column("worked_s", Float, nullable=False, default=0.0),
)
"""Written when an attempt begins, for all models of the node: what it was begun with is what it is
finished with. `worked_s` is what its slides took by this model."""
