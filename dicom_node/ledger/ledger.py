"""All SQL of the node: what arrived, what became of it, what was delivered. SQLAlchemy Core.

Writers are the ingest process, the worker process and the command line, on one SQLite file in WAL
mode with full synchronisation: a committed row survives a power cut.
Times are seconds since 1970 (UTC) from the clock the ledger is opened with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from dicom_node.ledger import database
from dicom_node.ledger import tables as schema
from dicom_node.ledger.rows import (
    MAY_FOLLOW,
    Conflict,
    Delivery,
    DeliveryState,
    DueDelivery,
    ReceivedInstance,
    Result,
    Revision,
    Run,
    State,
    StoredInstance,
)
from dicom_node.ledger.tables import (
    deliveries,
    destinations,
    events,
    instances,
    results,
    revisions,
    transfers,
)


class Ledger:
    """The only place that speaks SQL. One object per process; its methods are thread-safe."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """The ledger in a SQLite file, created when absent.

        Raises LedgerDamaged, as every method does, and LedgerBusy.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = schema.connect(path)
        with _busy_is_ours(engine, opening=True):
            schema.metadata.create_all(engine)
        return cls(engine, clock)

    @property
    def engine(self) -> sa.Engine:
        """The database engine, shared with the workflow library."""
        return self._engine

    def now(self) -> float:
        """The ledger's clock, seconds since 1970."""
        return self._clock()

    # -- what the ingest process writes ---------------------------------------------------------

    def find_instance(self, sop_instance_uid: str) -> StoredInstance | None:
        """What is stored under a SOP Instance UID, to compare a second sending with."""
        query = sa.select(
            instances.c.path, instances.c.transfer_syntax_uid, instances.c.size_bytes
        ).where(instances.c.sop_instance_uid == sop_instance_uid)
        with self._read() as db:
            row = db.execute(query).first()
        return None if row is None else StoredInstance(*row)

    def record_instance(self, instance: ReceivedInstance) -> None:
        """Record a new instance and open a revision for it, in one durable transaction.

        Raises Conflict when the SOP Instance UID is known and LedgerBusy when the database cannot
        be written.
        """
        at = instance.received_at.timestamp()
        with self._write() as db:
            known = sa.select(instances.c.path).where(
                instances.c.sop_instance_uid == instance.sop_instance_uid
            )
            if db.execute(known).first() is not None:
                raise Conflict(instance.sop_instance_uid)
            revision = self._open_revision(db, instance.study_instance_uid, at)
            values = {f: getattr(instance, f) for f in instance.__slots__ if f != "received_at"}
            db.execute(instances.insert().values(**values, received_at=at, revision=revision))

    def note_restored(self, study: str) -> None:
        """A lost or damaged file of a study is whole again: what was counted is counted anew."""
        with self._write() as db:
            db.execute(
                revisions.update()
                .where(
                    revisions.c.study_instance_uid == study,
                    revisions.c.state == State.RECEIVING,
                )
                .values(evidence=None)
            )

    def _open_revision(self, db: sa.Connection, study: str, at: float) -> int:
        """The revision an arriving instance belongs to; a closed study gets a new one."""
        last = db.execute(_latest(study)).first()
        if last is not None and last.state == State.RECEIVING:
            db.execute(_the(study, last.revision).values(last_instance_at=at))
            return int(last.revision)
        number = 1 if last is None else last.revision + 1
        if last is not None and last.state in (State.QUEUED, State.PARKED):
            db.execute(
                _the(study, last.revision).values(
                    state=State.SUPERSEDED, reason=f"a late instance opened revision {number}"
                )
            )
        db.execute(
            revisions.insert().values(
                study_instance_uid=study,
                revision=number,
                state=State.RECEIVING,
                opened_at=at,
                last_instance_at=at,
            )
        )
        self._event(db, "revision_opened", study, revision=number)
        return number

    def known_paths(self) -> set[str]:
        """Spool paths that have a row."""
        with self._read() as db:
            return set(db.scalars(sa.select(instances.c.path)))

    def open_transfer(self, *, calling_ae: str, peer: str) -> int:
        """Note that a C-STORE began to arrive; its bytes hold back the studies of that sender."""
        now = self._clock()
        with self._write() as db:
            row = db.execute(
                transfers.insert().values(
                    calling_ae=calling_ae, peer=peer, opened_at=now, last_byte_at=now
                )
            )
            return int(row.lastrowid)

    def touch_transfer(self, transfer_id: int) -> None:
        """Note that bytes of an open transfer arrived just now."""
        with self._write() as db:
            db.execute(
                transfers.update()
                .where(transfers.c.id == transfer_id)
                .values(last_byte_at=self._clock())
            )

    def close_transfer(self, transfer_id: int) -> None:
        """Forget a transfer that ended, well or badly."""
        with self._write() as db:
            db.execute(transfers.delete().where(transfers.c.id == transfer_id))

    def close_all_transfers(self) -> None:
        """Forget transfers of a process that is gone; called when ingest starts."""
        with self._write() as db:
            db.execute(transfers.delete())

    # -- what the worker process writes ---------------------------------------------------------

    def close_revision(self, study: str, revision: int, evidence: dict[str, Any]) -> bool:
        """Queue a complete revision with what was counted; False if an instance came between."""
        values = {"state": State.QUEUED, "closed_at": self._clock(), "attempt": 1, "reason": None}
        return self._settle(study, revision, evidence, values, "study_closed")

    def park_incomplete(
        self, study: str, revision: int, evidence: dict[str, Any], reason: str
    ) -> bool:
        """Park a revision that will not become complete; False if an instance came between."""
        values = {"state": State.PARKED, "reason": reason, "finished_at": self._clock()}
        return self._settle(study, revision, evidence, values, "study_parked")

    def note_missing(
        self, study: str, revision: int, evidence: dict[str, Any], reason: str
    ) -> None:
        """Store what a still incomplete revision lacks."""
        with self._write() as db:
            db.execute(_the(study, revision).values(evidence=evidence, reason=reason))

    def note_waiting(self, study: str, revision: int, reason: str) -> None:
        """Store why a revision that is not counted yet waits."""
        with self._write() as db:
            db.execute(_the(study, revision).values(reason=reason))

    def _settle(
        self, study: str, revision: int, evidence: dict[str, Any], values: dict[str, Any], kind: str
    ) -> bool:
        """Move a receiving revision on, if its instances are still those that were counted."""
        counted = evidence["instances"]
        of_study = instances.c.study_instance_uid == study
        with self._write() as db:
            present = db.scalar(sa.select(sa.func.count()).select_from(instances).where(of_study))
            receiving = revisions.c.state == State.RECEIVING
            if present != counted:
                return False
            moved = db.execute(
                _the(study, revision).where(receiving).values(**values, evidence=evidence)
            )
            if not moved.rowcount:
                return False
            reason = {"reason": values["reason"]} if values["reason"] else {}
            self._event(db, kind, study, revision=revision, instances=counted, **reason)
        return True

    def is_current(self, run: Run, state: State) -> bool:
        """Whether this attempt still is the one to act, in this state."""
        found = self.revision(run.study, run.revision)
        return found is not None and found.attempt == run.attempt and found.state is state

    def start_analysis(self, run: Run, engine: str, bundle_digest: str) -> bool:
        """Note that the worker took the study up, and with what; False if it must not."""
        now = self._clock()
        values = {"engine": engine, "bundle_digest": bundle_digest, "started_at": now}
        return self._move(run, State.ANALYZING, **values, reason=None)

    def note_interruption(self, run: Run, by: int = 1) -> int:
        """Count that the worker died during the analysis; how often it has so far.

        A planned stop counts -1, because the next start will find the analysis interrupted.
        """
        with self._write() as db:
            row = _the(run.study, run.revision)
            db.execute(row.values(crashes=revisions.c.crashes + by))
            crashes = db.scalar(
                sa.select(revisions.c.crashes).where(
                    revisions.c.study_instance_uid == run.study,
                    revisions.c.revision == run.revision,
                )
            )
            kind = "study_interrupted" if by > 0 else "study_paused"
            self._event(db, kind, run.study, revision=run.revision, crashes=crashes)
            return int(crashes or 0)

    def note_progress(self, run: Run, slide: str, done: int, total: int, per_s: float) -> None:
        """Tiles done of the slide under analysis."""
        with self._write() as db:
            db.execute(
                _the(run.study, run.revision).values(
                    slide=slide, tiles_done=done, tiles_total=total, tiles_per_s=per_s
                )
            )

    def start_delivery(self, run: Run, made: Sequence[Result], to: Sequence[str]) -> bool:
        """Record the objects made and where they go; repeating it changes nothing.

        What a destination refused before is tried again; what it has is sent again only after a
        retry that somebody asked for.
        """
        with self._write() as db:
            current = db.execute(_where(sa.select(revisions), run, State.DELIVERING)).first()
            if current is None:
                return False
            again = {DeliveryState.REFUSED} | (
                {DeliveryState.DELIVERED} if current.resend else set()
            )
            for result in made:
                _record_result(db, run, result)
                for name in to:
                    _queue_delivery(db, result.sop_instance_uid, name, again)
            db.execute(
                _the(run.study, run.revision).values(
                    state=State.DELIVERING, analyzed_at=self._clock(), resend=False
                )
            )
            self._event(db, "results_built", run.study, revision=run.revision, objects=len(made))
        return True

    def try_later(self, run: Run, reason: str, wait_s: float, *, counts: bool = True) -> bool:
        """Queue a revision again after a failure that may pass; never one that has a successor.

        One that does not count was no fault of the study: the disk was full.
        """
        with self._write() as db:
            latest = db.execute(_latest(run.study)).first()
            later = latest is not None and latest.revision > run.revision
            moved = db.execute(
                _where(revisions.update(), run, State.QUEUED).values(
                    state=State.SUPERSEDED if later else State.QUEUED,
                    reason=reason,
                    attempt=revisions.c.attempt + 1,
                    failures=revisions.c.failures + int(counts),
                    not_before=self._clock() + wait_s,
                )
            )
            fields = {"reason": reason, "wait_s": round(wait_s, 1)}
            if moved.rowcount:
                self._event(db, "attempt_failed", run.study, revision=run.revision, **fields)
            return bool(moved.rowcount)

    def park(self, run: Run, reason: str) -> bool:
        """Stop a revision for good, with the reason people will read."""
        return self._move(run, State.PARKED, reason=reason, finished_at=self._clock())

    def record_delivery(
        self,
        sop_instance_uid: str,
        destination: str,
        state: DeliveryState,
        *,
        status: str | None,
        error: str | None,
        next_attempt_at: float | None = None,
    ) -> None:
        """Store the outcome of one attempt to send one object that was pending."""
        with self._write() as db:
            outcome: dict[str, Any] = {"state": state, "status": status, "error": error}
            if state is DeliveryState.DELIVERED:
                outcome["delivered_at"] = self._clock()
            db.execute(
                _pending(destination)
                .where(deliveries.c.sop_instance_uid == sop_instance_uid)
                .values(
                    **outcome,
                    attempts=deliveries.c.attempts + 1,
                    next_attempt_at=next_attempt_at,
                )
            )

    def refuse_pending(self, run: Run, destination: str, error: str) -> None:
        """Stop trying a destination for every object of a revision it has not got."""
        made = sa.select(results.c.sop_instance_uid).where(
            results.c.study_instance_uid == run.study, results.c.revision == run.revision
        )
        with self._write() as db:
            db.execute(
                _pending(destination)
                .where(deliveries.c.sop_instance_uid.in_(made))
                .values(state=DeliveryState.REFUSED, error=error)
            )

    def finish_delivery(self, run: Run) -> State | None:
        """Done, or parked on a refusal, once nothing is pending; None when nothing moved."""
        outcomes = self.deliveries(run.study, run.revision)
        if any(d.state is DeliveryState.PENDING for d in outcomes):
            return None
        refused = [d for d in outcomes if d.state is DeliveryState.REFUSED]
        if refused:
            reason = f"{refused[0].destination} refused a result: {refused[0].error}"
            return State.PARKED if self.park(run, reason) else None
        moved = self._move(run, State.DONE, finished_at=self._clock(), reason=None)
        return State.DONE if moved else None

    # -- what people ask for --------------------------------------------------------------------

    def retry(self, study: str) -> int | None:
        """Run the latest revision of a study once more; its new attempt number, None where it has
        to be counted first.

        A revision that was parked as incomplete goes back to receiving and is counted again.
        Raises KeyError for an unknown study and ValueError while it is still receiving.
        """
        with self._write() as db:
            last = db.execute(_latest(study)).first()
            if last is None:
                raise KeyError(study)
            if last.state == State.RECEIVING:
                raise ValueError(f"study {study} is still receiving: {last.reason or 'not closed'}")
            attempt = int(last.attempt) + 1
            values: dict[str, Any] = {"reason": "retry asked for", "finished_at": None}
            is_counted = last.closed_at is not None
            if is_counted:
                values |= {"state": State.QUEUED, "attempt": attempt, "resend": True}
                values |= {"failures": 0, "crashes": 0, "not_before": 0.0}
            else:
                values |= {"state": State.RECEIVING, "evidence": None}
            db.execute(_the(study, last.revision).values(**values))
            fields = {"attempt": attempt} if is_counted else {}
            self._event(db, "retry_asked", study, revision=last.revision, **fields)
            return attempt if is_counted else None

    def record_event(
        self, kind: str, *, study_instance_uid: str | None = None, **fields: Any
    ) -> None:
        """Append one line to the story of a study, or of the node."""
        with self._write() as db:
            self._event(db, kind, study_instance_uid, **fields)

    def note_destination(
        self, name: str, reachable: bool, accepted: dict[str, list[str]], reason: str
    ) -> None:
        """Store what a destination was last seen to accept."""
        with self._write() as db:
            db.execute(destinations.delete().where(destinations.c.name == name))
            db.execute(
                destinations.insert().values(
                    name=name,
                    checked_at=self._clock(),
                    reachable=reachable,
                    accepted=accepted,
                    reason=reason,
                )
            )

    # -- reading --------------------------------------------------------------------------------

    def revision(self, study: str, revision: int | None = None) -> Revision | None:
        """One revision of a study, the latest by default."""
        query = _latest(study)
        if revision is not None:
            query = query.where(revisions.c.revision == revision)
        with self._read() as db:
            row = db.execute(query).first()
        return None if row is None else _revision(row)

    def in_state(self, state: State) -> list[Revision]:
        """Revisions in a state, oldest first."""
        query = (
            sa.select(revisions).where(revisions.c.state == state).order_by(revisions.c.opened_at)
        )
        with self._read() as db:
            return [_revision(row) for row in db.execute(query)]

    def all_revisions(self) -> list[Revision]:
        """Every revision, oldest first."""
        with self._read() as db:
            return [
                _revision(r)
                for r in db.execute(sa.select(revisions).order_by(revisions.c.opened_at))
            ]

    def instances(self, study: str, revision: int) -> list[dict[str, Any]]:
        """Rows of the instances up to a revision, in a fixed order."""
        query = (
            sa.select(instances)
            .where(instances.c.study_instance_uid == study, instances.c.revision <= revision)
            .order_by(instances.c.series_instance_uid, instances.c.sop_instance_uid)
        )
        with self._read() as db:
            return [dict(row._mapping) for row in db.execute(query)]

    def last_byte_at(self, study: str) -> tuple[float, float]:
        """When the last instance of a study was stored, and the last byte of its senders came."""
        of_study = instances.c.study_instance_uid == study
        senders = sa.select(instances.c.calling_ae).where(of_study)
        with self._read() as db:
            stored = db.scalar(sa.select(sa.func.max(instances.c.received_at)).where(of_study))
            arriving = db.scalar(
                sa.select(sa.func.max(transfers.c.last_byte_at)).where(
                    transfers.c.calling_ae.in_(senders)
                )
            )
        return stored or 0.0, arriving or 0.0

    def results(self, study: str, revision: int) -> list[Result]:
        """Objects made for a revision, in the order they are delivered."""
        query = (
            sa.select(results)
            .where(results.c.study_instance_uid == study, results.c.revision == revision)
            .order_by(results.c.id)
        )
        with self._read() as db:
            return [_result(row) for row in db.execute(query)]

    def kept_result(self, sop_instance_uid: str, run: Run) -> Result | None:
        """The object of this UID that must not be written again.

        That is one which a destination has had, or which another revision of the study made: an
        unchanged slide keeps its UIDs, and what is sent under a UID never changes.
        """
        query = (
            sa.select(results)
            .where(results.c.sop_instance_uid == sop_instance_uid)
            .order_by(results.c.revision)
        )
        with self._read() as db:
            rows = list(db.execute(query))
        others = [r for r in rows if r.revision != run.revision]
        if rows and (others or self.was_delivered(sop_instance_uid)):
            return _result(rows[0])
        return None

    def was_delivered(self, sop_instance_uid: str) -> bool:
        """Whether any destination has ever taken this object."""
        query = sa.select(deliveries.c.delivered_at).where(
            deliveries.c.sop_instance_uid == sop_instance_uid,
            deliveries.c.delivered_at.is_not(None),
        )
        with self._read() as db:
            return db.execute(query).first() is not None

    def deliveries(self, study: str, revision: int) -> list[Delivery]:
        """Where each object of a revision stands with each destination."""
        query = (
            sa.select(deliveries)
            .join(results, results.c.sop_instance_uid == deliveries.c.sop_instance_uid)
            .where(results.c.study_instance_uid == study, results.c.revision == revision)
            .order_by(deliveries.c.destination, results.c.id)
        )
        with self._read() as db:
            return [
                Delivery(
                    r.sop_instance_uid,
                    r.destination,
                    DeliveryState(r.state),
                    r.status,
                    r.error,
                    r.attempts,
                    r.next_attempt_at,
                    r.delivered_at,
                )
                for r in db.execute(query)
            ]

    def due_deliveries(self, destination: str) -> list[DueDelivery]:
        """What a destination should be sent now: oldest study first, its objects in order."""
        due = sa.or_(
            deliveries.c.next_attempt_at.is_(None), deliveries.c.next_attempt_at <= self._clock()
        )
        query = (
            sa.select(
                revisions.c.study_instance_uid,
                revisions.c.revision,
                revisions.c.attempt,
                results.c.sop_instance_uid,
                results.c.path,
                results.c.sha256,
                deliveries.c.attempts,
                revisions.c.analyzed_at,
            )
            .join(
                results,
                sa.and_(
                    results.c.study_instance_uid == revisions.c.study_instance_uid,
                    results.c.revision == revisions.c.revision,
                ),
            )
            .join(deliveries, deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
            .where(
                revisions.c.state == State.DELIVERING,
                deliveries.c.destination == destination,
                deliveries.c.state == DeliveryState.PENDING,
                due,
            )
            .order_by(revisions.c.analyzed_at, results.c.id)
        )
        with self._read() as db:
            return [DueDelivery(Run(*row[:3]), *row[3:]) for row in db.execute(query)]

    def events(self, study: str | None = None) -> list[dict[str, Any]]:
        """The story of a study, or of the node, oldest first."""
        query = sa.select(events).order_by(events.c.id)
        if study is not None:
            query = query.where(events.c.study_instance_uid == study)
        with self._read() as db:
            return [dict(row._mapping) for row in db.execute(query)]

    def destinations(self) -> dict[str, dict[str, Any]]:
        """What each destination was last seen to accept, by name."""
        with self._read() as db:
            return {row.name: dict(row._mapping) for row in db.execute(sa.select(destinations))}

    # -- inside ---------------------------------------------------------------------------------

    def _move(self, run: Run, state: State, **values: Any) -> bool:
        """Move a revision, if this attempt is the current one and the move is allowed."""
        with self._write() as db:
            moved = db.execute(_where(revisions.update(), run, state).values(state=state, **values))
            if moved.rowcount:
                fields = {"reason": values["reason"]} if values.get("reason") else {}
                self._event(db, f"study_{state}", run.study, revision=run.revision, **fields)
            return bool(moved.rowcount)

    def _event(self, db: sa.Connection, kind: str, study: str | None, **fields: Any) -> None:
        db.execute(
            events.insert().values(
                at=self._clock(), study_instance_uid=study, kind=kind, fields=json.dumps(fields)
            )
        )

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with _busy_is_ours(self._engine), self._engine.begin() as db:
            # The write lock first, so that what the transaction reads is still true when it writes.
            db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with _busy_is_ours(self._engine), self._engine.connect() as db:
            yield db


@contextmanager
def _busy_is_ours(engine: sa.Engine, *, opening: bool = False) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        path = Path(str(engine.url.database))
        raise database.failure(path, error.orig, opening=opening) from error


def _the(study: str, revision: int) -> sa.Update:
    return revisions.update().where(
        revisions.c.study_instance_uid == study, revisions.c.revision == revision
    )


def _latest(study: str) -> sa.Select[Any]:
    return (
        sa.select(revisions)
        .where(revisions.c.study_instance_uid == study)
        .order_by(revisions.c.revision.desc())
        .limit(1)
    )


def _where(statement: Any, run: Run, into: State) -> Any:
    """Only the revision of this run, in its current attempt, and in a state that may be left."""
    return statement.where(
        revisions.c.study_instance_uid == run.study,
        revisions.c.revision == run.revision,
        revisions.c.attempt == run.attempt,
        revisions.c.state.in_(MAY_FOLLOW[into]),
    )


def _pending(destination: str) -> sa.Update:
    return deliveries.update().where(
        deliveries.c.destination == destination, deliveries.c.state == DeliveryState.PENDING
    )


def _record_result(db: sa.Connection, run: Run, result: Result) -> None:
    key = {
        "study_instance_uid": run.study,
        "revision": run.revision,
        "sop_instance_uid": result.sop_instance_uid,
    }
    values = {f: getattr(result, f) for f in result.__slots__ if f != "sop_instance_uid"}
    if not _insert_once(db, results, key, **values):
        same = [results.c[name] == value for name, value in key.items()]
        db.execute(results.update().where(*same).values(**values))


def _queue_delivery(
    db: sa.Connection, sop_instance_uid: str, destination: str, again: set[DeliveryState]
) -> None:
    key = {"sop_instance_uid": sop_instance_uid, "destination": destination}
    if not _insert_once(db, deliveries, key, state=DeliveryState.PENDING):
        same = [deliveries.c[name] == value for name, value in key.items()]
        db.execute(
            deliveries.update()
            .where(*same, deliveries.c.state.in_(again))
            .values(state=DeliveryState.PENDING, error=None, next_attempt_at=None)
        )


def _insert_once(db: sa.Connection, table: sa.Table, key: dict[str, Any], **values: Any) -> bool:
    """Insert a row unless its key is there already: a step that runs twice must write once."""
    try:
        with db.begin_nested():
            db.execute(table.insert().values(**key, **values))
    except IntegrityError:
        return False
    return True


def _result(row: sa.Row[Any]) -> Result:
    return Result(**{f: getattr(row, f) for f in Result.__slots__})


def _revision(row: sa.Row[Any]) -> Revision:
    values = {f: getattr(row, f) for f in Revision.__slots__}
    return Revision(**{**values, "state": State(row.state)})
