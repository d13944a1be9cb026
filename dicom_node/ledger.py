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
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from dicom_node import schema
from dicom_node.records import (
    Conflict,
    Delivery,
    DeliveryState,
    LedgerBusy,
    ReceivedInstance,
    Result,
    Revision,
    State,
)
from dicom_node.schema import (
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
        """The ledger in a SQLite file, created when absent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = schema.connect(path)
        with _busy_is_ours():
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

    def record_instance(self, instance: ReceivedInstance) -> Literal["new", "identical"]:
        """Record a received instance and open a revision for it, in one durable transaction.

        Raises Conflict when the SOP Instance UID is known with other content and LedgerBusy when
        the database cannot be written.
        """
        at = instance.received_at.timestamp()
        with self._write() as db:
            known = db.execute(
                sa.select(instances.c.sha256, instances.c.study_instance_uid).where(
                    instances.c.sop_instance_uid == instance.sop_instance_uid
                )
            ).first()
            if known is not None:
                if known.sha256 != instance.sha256:
                    raise Conflict(instance.sop_instance_uid)
                return "identical"
            revision = self._open_revision(db, instance.study_instance_uid, at)
            values = {f: getattr(instance, f) for f in instance.__slots__ if f != "received_at"}
            db.execute(instances.insert().values(**values, received_at=at, revision=revision))
        return "new"

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
        """Spool paths that have a row; anything else on the spool was never acknowledged."""
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
        counted = evidence["instances"]
        with self._write() as db:
            present = db.scalar(
                sa.select(sa.func.count())
                .select_from(instances)
                .where(instances.c.study_instance_uid == study)
            )
            if present != counted:
                return False
            db.execute(
                _the(study, revision)
                .where(revisions.c.state == State.RECEIVING)
                .values(
                    state=State.QUEUED,
                    closed_at=self._clock(),
                    evidence=evidence,
                    attempt=1,
                    reason=None,
                )
            )
            self._event(db, "study_closed", study, revision=revision, instances=counted)
        return True

    def note_missing(
        self, study: str, revision: int, evidence: dict[str, Any], reason: str
    ) -> None:
        """Store what a still incomplete revision lacks."""
        with self._write() as db:
            db.execute(_the(study, revision).values(evidence=evidence, reason=reason))

    def park(self, study: str, revision: int, reason: str) -> None:
        """Stop a revision for good, with the reason people will read."""
        self._move(study, revision, State.PARKED, reason=reason, finished_at=self._clock())

    def start_analysis(self, study: str, revision: int, engine: str) -> None:
        """Note that the worker took the study up."""
        self._move(
            study, revision, State.ANALYZING, engine=engine, started_at=self._clock(), reason=None
        )

    def note_interruption(self, study: str, revision: int) -> int:
        """Count that the worker died during the analysis; how often it has so far."""
        with self._write() as db:
            db.execute(_the(study, revision).values(crashes=revisions.c.crashes + 1))
            crashes = db.scalar(
                sa.select(revisions.c.crashes).where(
                    revisions.c.study_instance_uid == study, revisions.c.revision == revision
                )
            )
            self._event(db, "study_interrupted", study, revision=revision, crashes=crashes)
            return int(crashes or 0)

    def note_progress(
        self, study: str, revision: int, slide: str, done: int, total: int, per_s: float
    ) -> None:
        """Tiles done of the slide under analysis."""
        with self._write() as db:
            db.execute(
                _the(study, revision).values(
                    slide=slide, tiles_done=done, tiles_total=total, tiles_per_s=per_s
                )
            )

    def start_delivery(
        self, study: str, revision: int, made: Sequence[Result], to: Sequence[str]
    ) -> None:
        """Record the objects made and where they go; repeating it changes nothing."""
        with self._write() as db:
            for result in made:
                key = {"study_instance_uid": study, "revision": revision}
                key["sop_instance_uid"] = result.sop_instance_uid
                _insert_once(
                    db,
                    results,
                    key,
                    sop_class_uid=result.sop_class_uid,
                    kind=result.kind,
                    slide=result.slide,
                    path=result.path,
                    sha256=result.sha256,
                )
                for name in to:
                    _insert_once(
                        db,
                        deliveries,
                        {"sop_instance_uid": result.sop_instance_uid, "destination": name},
                        state=DeliveryState.PENDING,
                    )
            db.execute(
                _the(study, revision).values(state=State.DELIVERING, analyzed_at=self._clock())
            )
            self._event(db, "results_built", study, revision=revision, objects=len(made))

    def try_later(self, study: str, revision: int, reason: str, wait_s: float) -> None:
        """Queue a revision again after a failure that may pass."""
        with self._write() as db:
            db.execute(
                _the(study, revision).values(
                    state=State.QUEUED,
                    reason=reason,
                    attempt=revisions.c.attempt + 1,
                    failures=revisions.c.failures + 1,
                    not_before=self._clock() + wait_s,
                )
            )
            self._event(
                db, "attempt_failed", study, revision=revision, reason=reason, wait_s=wait_s
            )

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
        """Store the outcome of one attempt to send one object."""
        with self._write() as db:
            outcome: dict[str, Any] = {"state": state, "status": status, "error": error}
            if state is DeliveryState.DELIVERED:
                outcome["delivered_at"] = self._clock()
            db.execute(
                deliveries.update()
                .where(deliveries.c.sop_instance_uid == sop_instance_uid)
                .where(deliveries.c.destination == destination)
                .values(
                    **outcome,
                    attempts=deliveries.c.attempts + 1,
                    next_attempt_at=next_attempt_at,
                )
            )

    def refuse_pending(self, study: str, revision: int, destination: str, error: str) -> None:
        """Stop trying a destination for every object of a revision it has not got."""
        made = sa.select(results.c.sop_instance_uid).where(
            results.c.study_instance_uid == study, results.c.revision == revision
        )
        with self._write() as db:
            db.execute(
                deliveries.update()
                .where(
                    deliveries.c.sop_instance_uid.in_(made),
                    deliveries.c.destination == destination,
                    deliveries.c.state == DeliveryState.PENDING,
                )
                .values(state=DeliveryState.REFUSED, error=error)
            )

    def was_delivered(self, sop_instance_uid: str) -> bool:
        """Whether any destination has ever taken this object."""
        query = sa.select(deliveries.c.delivered_at).where(
            deliveries.c.sop_instance_uid == sop_instance_uid,
            deliveries.c.delivered_at.is_not(None),
        )
        with self._read() as db:
            return db.execute(query).first() is not None

    def finish_delivery(self, study: str, revision: int) -> State:
        """Set the revision's state from its deliveries: done, parked on a refusal, or waiting."""
        outcomes = self.deliveries(study, revision)
        refused = [d for d in outcomes if d.state is DeliveryState.REFUSED]
        if any(d.state is DeliveryState.PENDING for d in outcomes):
            return State.DELIVERING
        if refused:
            first = refused[0]
            self.park(study, revision, f"{first.destination} refused a result: {first.error}")
            return State.PARKED
        self._move(study, revision, State.DONE, finished_at=self._clock(), reason=None)
        return State.DONE

    # -- what people ask for --------------------------------------------------------------------

    def retry(self, study: str) -> int:
        """Queue the latest revision of a study once more; its new attempt number.

        Raises KeyError for an unknown study and ValueError while it is still receiving.
        """
        with self._write() as db:
            last = db.execute(_latest(study)).first()
            if last is None:
                raise KeyError(study)
            if last.closed_at is None:
                raise ValueError(
                    f"study {study} is still {last.state}: {last.reason or 'not closed'}"
                )
            db.execute(
                _the(study, last.revision).values(
                    state=State.QUEUED,
                    attempt=last.attempt + 1,
                    failures=0,
                    crashes=0,
                    not_before=0,
                    reason="retry asked for",
                    finished_at=None,
                )
            )
            made = sa.select(results.c.sop_instance_uid).where(
                results.c.study_instance_uid == study, results.c.revision == last.revision
            )
            db.execute(
                deliveries.update()
                .where(deliveries.c.sop_instance_uid.in_(made))
                .values(state=DeliveryState.PENDING, error=None, next_attempt_at=None)
            )
            self._event(db, "retry_asked", study, revision=last.revision, attempt=last.attempt + 1)
            return int(last.attempt) + 1

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

    def last_byte_at(self, study: str) -> float:
        """When the last byte arrived for a study, open transfers of its senders included."""
        of_study = instances.c.study_instance_uid == study
        senders = sa.select(instances.c.calling_ae).where(of_study)
        with self._read() as db:
            stored = db.scalar(sa.select(sa.func.max(instances.c.received_at)).where(of_study))
            arriving = db.scalar(
                sa.select(sa.func.max(transfers.c.last_byte_at)).where(
                    transfers.c.calling_ae.in_(senders)
                )
            )
        return max(stored or 0.0, arriving or 0.0)

    def results(self, study: str, revision: int) -> list[Result]:
        """Objects made for a revision, in the order they are delivered."""
        query = (
            sa.select(results)
            .where(results.c.study_instance_uid == study, results.c.revision == revision)
            .order_by(results.c.id)
        )
        with self._read() as db:
            return [
                Result(r.sop_instance_uid, r.sop_class_uid, r.kind, r.slide, r.path, r.sha256)
                for r in db.execute(query)
            ]

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

    def _move(self, study: str, revision: int, state: State, **values: Any) -> None:
        with self._write() as db:
            db.execute(_the(study, revision).values(state=state, **values))
            fields = {"reason": values["reason"]} if values.get("reason") else {}
            self._event(db, f"study_{state}", study, revision=revision, **fields)

    def _event(self, db: sa.Connection, kind: str, study: str | None, **fields: Any) -> None:
        db.execute(
            events.insert().values(
                at=self._clock(), study_instance_uid=study, kind=kind, fields=json.dumps(fields)
            )
        )

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with _busy_is_ours(), self._engine.begin() as db:
            # The write lock first, so that what the transaction reads is still true when it writes.
            db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with _busy_is_ours(), self._engine.connect() as db:
            yield db


@contextmanager
def _busy_is_ours() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise LedgerBusy(f"the ledger cannot be used now: {error.orig}") from error


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


def _insert_once(db: sa.Connection, table: sa.Table, key: dict[str, Any], **values: Any) -> None:
    """Insert a row unless its key is there already: a step that runs twice must write once."""
    try:
        with db.begin_nested():
            db.execute(table.insert().values(**key, **values))
    except IntegrityError:
        return


def _revision(row: sa.Row[Any]) -> Revision:
    values = {f: getattr(row, f) for f in Revision.__slots__}
    return Revision(**{**values, "state": State(row.state)})
