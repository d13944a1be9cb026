"""A study is built once more in another form, since a destination refused the one it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.queries.of_events import REFUSED_BY_STATUS, refused_in
from dicom_node.ledger.rows import Run
from dicom_node.ledger.statements import latest, the
from dicom_node.ledger.states import State


@dataclass(frozen=True, slots=True)
class RefusedForm:
    """A kind of object that a destination takes by its class and refuses by its answer."""

    destination: str
    form: str
    """Name of a kind, not of one object."""
    status: str
    """Four hexadecimal digits."""
    reason: str
    """For people."""


class Fallbacks:
    """Written by who sends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, run: Run, refused: Sequence[RefusedForm]) -> bool:
        """Have the objects of a revision built once more, without these; False where that was done
        for all of them before, or where the revision is not delivering or has a successor.

        What is delivered stays so; the rest is sent when it is built.
        """
        with self._database.write(study=run.study) as db:
            last = db.execute(latest(run.study)).first()
            if last is None or last.revision != run.revision or last.attempt != run.attempt:
                return False
            known = refused_in(db, run.study, run.revision)
            new = [r for r in refused if r.form not in known.get(r.destination, {})]
            if not new or last.state != State.DELIVERING:
                return False
            for one in new:
                note(db, self._database.now(), REFUSED_BY_STATUS, run.study,
                     revision=run.revision, **asdict(one))  # fmt: skip
            values = {"state": State.QUEUED, "executor": None, "attempt": run.attempt + 1}
            reason = "; ".join(one.reason for one in new)
            db.execute(
                the(run.study, run.revision)
                .where(revisions.c.attempt == run.attempt)
                .values(**values, reason=reason, not_before=0.0)
            )
            return True
