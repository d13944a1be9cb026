"""What an attempt is made with: its models, frozen when it begins, and what each of them took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.of_analyses import GONE, KINDS, last_modes
from dicom_node.ledger.rows import ModelRun, Run


class Analyses:
    """Written by who analyzes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_work(self, run: Run, model: str, seconds: float) -> None:
        """Add what a slide took by a model of this attempt."""
        with self._database.write(study=run.study) as db:
            mine = [*_of(run), analyses.c.model == model]
            more = analyses.c.worked_s + seconds
            db.execute(analyses.update().where(*mine).values(worked_s=more))

    def note_modes(self, modes: Mapping[str, Mapping[str, str]]) -> None:
        """Record which models this node runs and how, where that is not what was recorded last.

        `modes` has the fields of each by its name: `mode`, which is `live` or `silent`, and what
        says which student it is. One that is gone from the configuration is recorded, too.
        """
        node = self._database.owner
        with self._database.write() as db:
            before = last_modes(db, node)
            now = {name: dict(fields) for name, fields in modes.items()}
            now |= {name: {"mode": GONE} for name in before.keys() - now.keys()}
            for name, fields in now.items():
                told = before.get(name, {"mode": GONE})
                if told == fields:
                    continue
                was = {"was": told["mode"]} if told["mode"] not in (GONE, fields["mode"]) else {}
                kind = KINDS[fields["mode"]]
                note(db, self._database.now(), kind, None, node=node, model=name, **was,
                     **{k: v for k, v in fields.items() if k != "mode"})  # fmt: skip


def begin(db: sa.Connection, run: Run, models: Sequence[ModelRun]) -> None:
    """Record what an attempt is begun with, in the transaction that begins it.

    One that is begun again, because nobody has noted that it was begun, is begun with these.
    """
    db.execute(analyses.delete().where(*_of(run)))
    if models:
        db.execute(analyses.insert(), [_row(run, model) for model in models])


def _row(run: Run, model: ModelRun) -> dict[str, object]:
    values = {name: getattr(model, name) for name in ModelRun.__slots__}
    key = {"study_instance_uid": run.study, "revision": run.revision, "attempt": run.attempt}
    return key | values


def _of(run: Run) -> tuple[sa.ColumnElement[bool], ...]:
    a = analyses.c
    return (
        a.study_instance_uid == run.study,
        a.revision == run.revision,
        a.attempt == run.attempt,
    )
