"""What the rules are asked with, read from the rows of one study."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.tables import (
    deliveries,
    holds,
    instances,
    results,
    revisions,
    watched,
)
from dicom_node.ledger.keeping.rules import Sent, StudyFacts
from dicom_node.ledger.states import DeliveryState, Proof, State


@dataclass(frozen=True, slots=True)
class KeptInput:
    """One received file that is still there."""

    sop_instance_uid: str
    series_instance_uid: str
    path: str
    """Relative to the spool."""
    size_bytes: int
    calling_ae: str


def facts_of(db: sa.Connection, study: str) -> StudyFacts | None:
    """Facts of a study; None where it is unknown, or a revision is missing."""
    stages = db.execute(
        sa.select(revisions.c.revision, revisions.c.state, revisions.c.finished_at)
        .where(revisions.c.study_instance_uid == study)
        .order_by(revisions.c.revision)
    ).all()
    if not stages or [s.revision for s in stages] != list(range(1, len(stages) + 1)):
        return None
    received = instances.c
    still = db.execute(
        sa.select(
            sa.func.min(received.held_at),
            sa.func.count(),
            sa.func.count(received.held_at),
            sa.func.count(received.promised_at),
        ).where(received.study_instance_uid == study, received.purged_at.is_(None))
    ).one()
    held_at, number, number_held, number_promised = still
    of_study = received.study_instance_uid == study
    last_at = db.scalar(sa.select(sa.func.max(received.received_at)).where(of_study))
    made = db.execute(
        sa.select(results.c.revision, results.c.silent)
        .where(results.c.study_instance_uid == study)
        .distinct()
    ).all()
    on_hold = db.execute(sa.select(holds).where(holds.c.study_instance_uid == study)).first()
    gone = sa.and_(of_study, received.purged_at.is_not(None))
    return StudyFacts(
        study,
        tuple(State(s.state) for s in stages),
        stages[-1].finished_at or float("inf"),
        last_at or 0.0,
        frozenset(r.revision for r in made if not r.silent),
        _sent(db, study),
        held_at if number == number_held else None,
        on_hold is not None,
        db.execute(sa.select(received.path).where(gone).limit(1)).first() is not None,
        _unseen(db),
        number_promised > 0,
        frozenset(r.revision for r in made if r.silent),
        _hushed(db, study),
    )


def _hushed(db: sa.Connection, study: str) -> frozenset[int]:
    """Revisions whose last attempt was begun with silent models alone."""
    a = analyses.c
    runs = db.execute(
        sa.select(a.revision, a.attempt, a.silent).where(a.study_instance_uid == study)
    ).all()
    last = {
        run.revision: max(r.attempt for r in runs if r.revision == run.revision) for run in runs
    }
    heard = {r.revision for r in runs if r.attempt == last[r.revision] and not r.silent}
    return frozenset(last.keys() - heard)


def _unseen(db: sa.Connection) -> tuple[tuple[float, float], ...]:
    """Between two stretches in which somebody looked, and since the last."""
    seen = db.execute(sa.select(watched.c.since, watched.c.until).order_by(watched.c.id)).all()
    starts = [s.since for s in seen[1:]] + [float("inf")]
    return tuple(zip((s.until for s in seen), starts, strict=False))


def _sent(db: sa.Connection, study: str) -> tuple[Sent, ...]:
    d = deliveries.c
    query = (
        sa.select(results.c.revision, d.destination, d.state, d.proof, d.proof_at, d.delivered_at)
        .join(results, results.c.sop_instance_uid == d.sop_instance_uid)
        .where(results.c.study_instance_uid == study)
    )
    return tuple(
        Sent(
            row.revision,
            row.destination,
            DeliveryState(row.state),
            None if row.proof is None else Proof(row.proof),
            max(row.proof_at or 0.0, row.delivered_at or 0.0),
        )
        for row in db.execute(query)
    )


def inputs_of(db: sa.Connection, study: str) -> list[KeptInput]:
    """Received files of a study that are still there."""
    query = (
        sa.select(
            instances.c.sop_instance_uid,
            instances.c.series_instance_uid,
            instances.c.path,
            instances.c.size_bytes,
            instances.c.calling_ae,
        )
        .where(instances.c.study_instance_uid == study, instances.c.purged_at.is_(None))
        .order_by(instances.c.sop_instance_uid)
    )
    return [KeptInput(*row) for row in db.execute(query)]


def result_paths_of(db: sa.Connection, study: str) -> list[str]:
    """Files of objects that are still there, relative to the data folder."""
    query = (
        sa.select(results.c.path)
        .where(results.c.study_instance_uid == study, results.c.purged_at.is_(None))
        .distinct()
    )
    return sorted(db.scalars(query))
