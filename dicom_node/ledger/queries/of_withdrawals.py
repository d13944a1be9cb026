"""What was answered, with which bundle, and who has it: what can be withdrawn."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import events, results, revisions
from dicom_node.ledger.queries.of_results import deliveries_of
from dicom_node.ledger.rows import Delivery, Result
from dicom_node.ledger.states import DeliveryState

_DIGEST = 64
WITHDRAWN_EVENT = "result_withdrawn"


@dataclass(frozen=True, slots=True)
class Answer:
    """One object that was made of a study, and where it is."""

    revision: int
    """The last of its study that has it."""
    result: Result
    deliveries: tuple[Delivery, ...]
    digests: frozenset[str]
    """Bundles that its model ran with in the revisions that have it: one of them made it. Empty
    where an earlier version did not note that."""

    @property
    def had_by(self) -> list[str]:
        """Destinations that have taken it."""
        return [d.destination for d in self.deliveries if d.delivered_at is not None]

    @property
    def is_out(self) -> bool:
        """Whether a destination has it, or is sent it, maybe at this moment."""
        waits = any(d.state is DeliveryState.PENDING for d in self.deliveries)
        return bool(self.had_by) or waits


def told_of_recalled(digest: str, recalled: Mapping[str, float]) -> str:
    """What to do where a bundle is configured that was recalled; empty if it was not."""
    at = recalled.get(digest.removeprefix("sha256:"))
    if at is None:
        return ""
    day = datetime.fromtimestamp(at, UTC).date().isoformat()
    return (
        f"the bundle with digest {digest.removeprefix('sha256:')[:12]} was recalled on {day} and "
        "is still configured: its new reports would have to be withdrawn as well; name another "
        "bundle in the configuration and start the node again"
    )


class WithdrawalQueries:
    """Questions of what was answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def digests(self, beginning: str) -> list[str]:
        """Digests of bundles that studies were analyzed with, and that begin so."""
        found: set[str] = set()
        with self._database.read() as db:
            for column in (analyses.c.bundle_digest, revisions.c.bundle_digest):
                like = column.startswith(beginning, autoescape=True)
                found |= set(db.scalars(sa.select(column).where(like).distinct()))
        return sorted(digest for digest in found if len(digest) <= _DIGEST)

    def recalled(self) -> dict[str, float]:
        """Digests of the bundles that `recall --bundle` took back answers of, and when last."""
        query = sa.select(events).where(events.c.kind == WITHDRAWN_EVENT).order_by(events.c.id)
        found: dict[str, float] = {}
        with self._database.read() as db:
            for row in db.execute(query):
                if digest := json.loads(row.fields).get("bundle_digest"):
                    found[digest] = row.at
        return found

    def studies_of(self, digest: str) -> list[str]:
        """Studies that were analyzed with a bundle, in the order in which they came."""
        begun = sa.select(analyses.c.study_instance_uid).where(analyses.c.bundle_digest == digest)
        is_its = sa.or_(
            revisions.c.bundle_digest == digest, revisions.c.study_instance_uid.in_(begun)
        )
        query = (
            sa.select(revisions.c.study_instance_uid)
            .where(is_its)
            .group_by(revisions.c.study_instance_uid)
            .order_by(sa.func.min(revisions.c.opened_at), revisions.c.study_instance_uid)
        )
        with self._database.read() as db:
            return list(db.scalars(query))

    def answers(self, study: str) -> list[Answer]:
        """Every object that was made of a study, the oldest first."""
        with self._database.read() as db:
            return answers_of(db, study)


def answers_of(db: sa.Connection, study: str) -> list[Answer]:
    """The same, within a transaction."""
    ran = _ran(db, study)
    query = sa.select(results).where(results.c.study_instance_uid == study).order_by(results.c.id)
    rows: dict[str, list[sa.Row[tuple[object, ...]]]] = defaultdict(list)
    for row in db.execute(query):
        rows[row.sop_instance_uid].append(row)
    sent: dict[str, list[Delivery]] = defaultdict(list)
    for number in {row.revision for same in rows.values() for row in same}:
        for delivery in deliveries_of(db, study, number):
            if delivery not in sent[delivery.sop_instance_uid]:
                sent[delivery.sop_instance_uid].append(delivery)
    found = []
    for uid, same in rows.items():
        last = max(same, key=lambda row: row.revision)
        result = Result(**{name: getattr(last, name) for name in Result.__slots__})
        digests = {d for row in same for d in ran[row.revision, row.model]}
        found.append(Answer(last.revision, result, tuple(sent[uid]), frozenset(digests)))
    return found


def _ran(db: sa.Connection, study: str) -> dict[tuple[int, str], set[str]]:
    """Digests of the bundles of each model by revision; versions before schema 6 kept the last."""
    ran: dict[tuple[int, str], set[str]] = defaultdict(set)
    a, r = analyses.c, revisions.c
    begun = sa.select(a.revision, a.model, a.bundle_digest).where(a.study_instance_uid == study)
    for revision, model, digest in db.execute(begun):
        ran[revision, model].add(digest)
    last = sa.select(r.revision, r.bundle_digest).where(
        r.study_instance_uid == study, r.bundle_digest.is_not(None)
    )
    known = {revision for revision, _ in ran}
    for revision, digest in db.execute(last):
        if revision not in known:
            ran[revision, ""].add(digest)
    return ran
