"""What becomes of a study: closed, analyzed, tried again, parked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.ledger.analyses import begin
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import instances, revisions
from dicom_node.ledger.events import note
from dicom_node.ledger.rows import ModelRun, Run
from dicom_node.ledger.standing import send_what_is_lost
from dicom_node.ledger.statements import latest, move_in, of_run, open_revision, the
from dicom_node.ledger.states import State


class Studies:
    """Written by the worker, and by people who ask for a retry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self, run: Run, evidence: Evidence, *, as_of: float | None = None) -> bool:
        """Queue a revision with what was counted; False if an instance came between, new or in
        place of a damaged one: `as_of` is when the last had come before the count.

        One that lacks something was waited for long enough.
        """
        values = {
            "state": State.QUEUED,
            "closed_at": self._database.now(),
            "attempt": 1,
            "reason": None,
        }
        kind = "study_incomplete" if evidence.missing else "study_closed"
        return self._settle(run, evidence, values, kind, as_of)

    def park_uncounted(
        self, run: Run, evidence: Evidence, reason: str, *, as_of: float | None = None
    ) -> bool:
        """Park a revision that cannot be counted; False if an instance came between."""
        values = {"state": State.PARKED, "reason": reason, "finished_at": self._database.now()}
        return self._settle(run, evidence, values, "study_parked", as_of)

    def note_missing(
        self, run: Run, evidence: Evidence, reason: str, *, as_of: float | None = None
    ) -> None:
        """Store what a still incomplete revision lacks."""
        with self._database.write(study=run.study) as db:
            db.execute(_receiving(run, as_of).values(evidence=evidence.written(), reason=reason))

    def note_waiting(self, run: Run, reason: str) -> None:
        """Store why a revision that is not counted yet waits."""
        with self._database.write(study=run.study) as db:
            db.execute(_receiving(run).values(reason=reason))

    def _settle(
        self,
        run: Run,
        evidence: Evidence,
        values: dict[str, Any],
        kind: str,
        as_of: float | None,
    ) -> bool:
        """Move a receiving revision on, if its instances are still those that were counted."""
        of_study = instances.c.study_instance_uid == run.study
        with self._database.write(study=run.study) as db:
            present = db.scalar(sa.select(sa.func.count()).select_from(instances).where(of_study))
            if present != evidence.instances:
                return False
            kept = _receiving(run, as_of).values(**values, evidence=evidence.written())
            if not db.execute(kept).rowcount:
                return False
            fields: dict[str, Any] = {"revision": run.revision, "instances": evidence.instances}
            if why := values["reason"] or "; ".join(evidence.missing):
                fields["reason"] = why
            note(db, self._database.now(), kind, run.study, **fields)
            if values["state"] is State.PARKED:
                send_what_is_lost(db, self._database.now(), run.study)
        return True

    def start_analysis(
        self, run: Run, engine: str, bundle_digest: str, models: Sequence[ModelRun] = ()
    ) -> bool:
        """Note that the worker took the study up, and with what; False if it must not."""
        now = self._database.now()
        values = {"engine": engine, "bundle_digest": bundle_digest, "started_at": now}
        with self._database.write(study=run.study) as db:
            moved = move_in(db, self._database, run, State.ANALYZING, **values, reason=None)
            if moved:
                begin(db, run, models)
            return moved

    def note_pause(self, run: Run) -> None:
        """Note that a planned stop interrupts the analysis."""
        with self._database.write(study=run.study) as db:
            at = self._database.now()
            note(db, at, "study_paused", run.study, revision=run.revision)

    def note_interruption(self, run: Run, mark: str = "") -> int:
        """Count that the worker died during the analysis; how often it has so far.

        Nothing is counted for a run that is no longer under analysis, or under another's. `mark`
        names this death.
        """
        with self._database.write(study=run.study) as db:
            mine = _analyzed_by(self._database.owner, run)
            counted = revisions.update().where(*mine).values(crashes=revisions.c.crashes + 1)
            if not db.execute(counted).rowcount:
                return 0
            crashes = int(db.scalar(sa.select(revisions.c.crashes).where(*mine)) or 0)
            fields = {"revision": run.revision, "crashes": crashes, "mark": mark}
            note(db, self._database.now(), "study_interrupted", run.study, **fields)
            return crashes

    def note_progress(self, run: Run, slide: str, done: int, total: int, per_s: float) -> None:
        """Tiles done of the slide under analysis."""
        with self._database.write() as db:
            db.execute(
                of_run(self._database, revisions.update(), run, State.ANALYZING).values(
                    slide=slide, tiles_done=done, tiles_total=total, tiles_per_s=per_s
                )
            )

    def try_later(self, run: Run, reason: str, wait_s: float, *, counts: bool = True) -> bool:
        """Queue a revision again after a failure that may pass; never one that has a successor.

        One that does not count was no fault of the study: the disk was full.
        """
        with self._database.write(study=run.study) as db:
            last = db.execute(latest(run.study)).first()
            later = last is not None and last.revision > run.revision
            moved = db.execute(
                of_run(self._database, revisions.update(), run, State.QUEUED).values(
                    state=State.SUPERSEDED if later else State.QUEUED,
                    executor=None,
                    reason=reason,
                    attempt=revisions.c.attempt + 1,
                    failures=revisions.c.failures + int(counts),
                    not_before=self._database.now() + wait_s,
                )
            )
            fields = {"reason": reason, "wait_s": round(wait_s, 1)}
            if moved.rowcount:
                note(
                    db,
                    self._database.now(),
                    "attempt_failed",
                    run.study,
                    revision=run.revision,
                    **fields,
                )
                if later:
                    send_what_is_lost(db, self._database.now(), run.study)
            return bool(moved.rowcount)

    def park(self, run: Run, reason: str) -> bool:
        """Stop a revision for good, with the reason people will read."""
        with self._database.write(study=run.study) as db:
            at = self._database.now()
            parked = move_in(db, self._database, run, State.PARKED, reason=reason, finished_at=at)
            if parked:
                send_what_is_lost(db, at, run.study)
            return parked

    def cancel(self, study: str) -> None:
        """Park the latest revision of a study, wherever it is under way; what works on it finds
        that out and stops.

        Raises KeyError for an unknown study and ValueError for one that nothing is done for.
        """
        with self._database.write(study=study) as db:
            last = db.execute(latest(study)).first()
            if last is None:
                raise KeyError(study)
            if last.state not in _UNDER_WAY:
                raise ValueError(f"study {study} is {last.state}: nothing is under way")
            now = self._database.now()
            parked = {"state": State.PARKED, "reason": CANCELED, "finished_at": now}
            db.execute(the(study, last.revision).values(**parked, executor=None))
            note(db, now, "study_cancelled", study, revision=last.revision, was=last.state)

    def retry(self, study: str) -> int | None:
        """Run the latest revision of a study once more; its new attempt number, None where it has
        to be counted first.

        A revision that could not be counted goes back to receiving. One that lacked something has
        a successor that is counted anew: its report, if it has one, is to be replaced. Raises
        KeyError for an unknown study, and ValueError while it is still receiving or when its
        files are gone.
        """
        with self._database.write(study=study) as db:
            last = db.execute(latest(study)).first()
            if last is None:
                raise KeyError(study)
            if last.state == State.RECEIVING:
                raise ValueError(f"study {study} is still receiving: {last.reason or 'not closed'}")
            _require_inputs(db, study)
            now, why = self._database.now(), "retry asked for"
            if last.closed_at is None:
                attempt = None
                db.execute(the(study, last.revision).values(**_UNCOUNTED, reason=why))
            elif (last.evidence or {}).get("missing"):
                attempt = None
                number = open_revision(db, study, now, "a retry")
                db.execute(the(study, number).values(resend=True))
            else:
                attempt = int(last.attempt) + 1
                again = {"attempt": attempt, "reason": why}
                db.execute(the(study, last.revision).values(**_ANEW, **again))
            fields = {"attempt": attempt} if attempt else {}
            note(db, now, "retry_asked", study, revision=last.revision, **fields)
            return attempt


CANCELED = "cancelled by operator; `dicom-node retry` brings it back"
_UNDER_WAY = (State.RECEIVING, State.QUEUED, State.ANALYZING, State.DELIVERING)
_FREE = {"executor": None, "finished_at": None}
"""Also where the one that had it is gone, or renamed."""
_UNCOUNTED = {**_FREE, "state": State.RECEIVING, "evidence": None}
_ANEW: dict[str, Any] = {**_FREE, "state": State.QUEUED, "resend": True}
_ANEW |= {"failures": 0, "crashes": 0, "not_before": 0.0}


def _require_inputs(db: sa.Connection, study: str) -> None:
    gone = sa.and_(instances.c.study_instance_uid == study, instances.c.purged_at.is_not(None))
    if number := db.scalar(sa.select(sa.func.count()).select_from(instances).where(gone)):
        raise ValueError(
            f"{number} files of study {study} were removed when their time was over: send it once "
            "more, then retry"
        )


def _receiving(run: Run, as_of: float | None = None) -> sa.Update:
    """An update of the revision of this run, as long as instances may be added to it, and none
    was since `as_of`."""
    still = [revisions.c.state == State.RECEIVING, revisions.c.attempt == run.attempt]
    if as_of is not None:
        still.append(revisions.c.last_instance_at == as_of)
    return the(run.study, run.revision).where(*still)


def _analyzed_by(owner: str, run: Run) -> tuple[sa.ColumnElement[bool], ...]:
    """The attempt of this run, under analysis by this owner, or by one without a name (0.1)."""
    return (
        revisions.c.study_instance_uid == run.study,
        revisions.c.revision == run.revision,
        revisions.c.attempt == run.attempt,
        revisions.c.state == State.ANALYZING,
        sa.or_(revisions.c.executor.is_(None), revisions.c.executor == owner),
    )
