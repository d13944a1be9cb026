"""What attempts were made with, and which models a node was last said to run."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import events
from dicom_node.ledger.rows import ModelRun, Run

GONE = "gone"
KINDS = {"live": "model_live", "silent": "model_silent", GONE: "model_removed"}
"""Kind of the event that tells of a model, by its mode."""


class AnalysisQueries:
    """Questions of models."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def models(self, run: Run) -> list[ModelRun]:
        """What an attempt was begun with, by name; nothing of one that an earlier version began."""
        a = analyses.c
        query = (
            sa.select(*(a[name] for name in ModelRun.__slots__))
            .where(
                a.study_instance_uid == run.study,
                a.revision == run.revision,
                a.attempt == run.attempt,
            )
            .order_by(a.model)
        )
        with self._database.read() as db:
            return [ModelRun(*row) for row in db.execute(query)]

    def work_of_models(self) -> dict[str, float]:
        """Seconds that slides took, by model, of all attempts that are kept."""
        a = analyses.c
        query = sa.select(a.model, sa.func.sum(a.worked_s)).group_by(a.model).order_by(a.model)
        with self._database.read() as db:
            return {model: float(seconds) for model, seconds in db.execute(query)}


def last_modes(db: sa.Connection, node: str) -> dict[str, dict[str, Any]]:
    """How each model of a node was last recorded; none that is gone."""
    query = (
        sa.select(events.c.kind, events.c.fields)
        .where(events.c.kind.in_(list(KINDS.values())), events.c.study_instance_uid.is_(None))
        .order_by(events.c.id)
    )
    modes = {kind: mode for mode, kind in KINDS.items()}
    found: dict[str, dict[str, Any]] = {}
    for kind, text in db.execute(query):
        fields = json.loads(text)
        if fields.pop("node") == node:
            fields.pop("was", None)
            name = fields.pop("model")
            found[name] = {"mode": modes[kind], **fields}
    return {name: told for name, told in found.items() if told["mode"] != GONE}
