"""What is removed when its time is over: written before it is, with what stands for each file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import (
    discards,
    instances,
    patients,
    results,
    revisions,
    watched,
)
from dicom_node.ledger.events import note
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.discards import SPOOL, discard
from dicom_node.ledger.keeping.facts import KeptInput, facts_of, inputs_of, result_paths_of
from dicom_node.ledger.keeping.rules import Policy, StudyFacts
from dicom_node.ledger.states import AT_REST

_LOOK_S = 600.0
"""Looks are written no more often than that."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose files are about to go: keyed digests of Patient IDs, and the name of the key."""

    key_name: str
    digests: frozenset[str]
    """Empty text for a file that does not say."""


class Retention:
    """Written by who purges."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self) -> float:
        """Note that somebody looks what may go; the time now.

        Time in which nobody did makes things older by a day at most: it may be a clock that was
        set, or one that a host started with. Where the clock went back, what was seen later than
        now is not believed any more.
        """
        now = self._database.now()
        last = sa.select(watched).order_by(watched.c.id.desc()).limit(1)
        with self._database.read() as db:
            seen = db.execute(last).first()
        if seen is not None and 0.0 <= now - seen.until < _LOOK_S:
            return now
        with self._database.write() as db:
            seen = db.execute(last).first()
            if seen is not None and 0.0 <= now - seen.until <= rules.UNSEEN_S:
                db.execute(watched.update().where(watched.c.id == seen.id).values(until=now))
                return now
            db.execute(watched.insert().values(since=now, until=now))
            db.execute(instances.update().where(instances.c.held_at > now).values(held_at=None))
            if seen is not None:
                note(db, now, "time_not_counted", None, days=round((now - seen.until) / 86400, 2))
        return now

    def at_rest(self, finished_before: float) -> list[str]:
        """Studies that no revision of is under way, the longest finished first."""
        r = revisions.c
        query = (
            sa.select(r.study_instance_uid)
            .group_by(r.study_instance_uid)
            .having(
                sa.func.sum(sa.case((r.state.in_(AT_REST), 0), else_=1)) == 0,
                sa.func.max(r.finished_at) <= finished_before,
            )
            .order_by(sa.func.max(r.finished_at))
        )
        with self._database.read() as db:
            return list(db.scalars(query))

    def facts(self, study: str) -> StudyFacts | None:
        """What the rules are asked with."""
        with self._database.read() as db:
            return facts_of(db, study)

    def inputs(self, study: str) -> list[KeptInput]:
        """Received files of a study that are still there."""
        with self._database.read() as db:
            return inputs_of(db, study)

    def result_paths(self, study: str) -> list[str]:
        """Files of objects that are still there, relative to the data folder."""
        with self._database.read() as db:
            return result_paths_of(db, study)

    def take_back(self, is_there: Callable[[str], bool]) -> int:
        """Count files as there that an earlier version, which knows of no removal, took again when
        they were sent once more: `is_there` tells for a path below the data folder. How many.

        What was given up, is there and is not listed can be nothing else.
        """
        query = sa.select(
            instances.c.study_instance_uid, instances.c.sop_instance_uid, instances.c.path
        ).where(instances.c.purged_at.is_not(None))
        with self._database.read() as db:
            listed = set(db.scalars(sa.select(discards.c.path)))
            rows = [r for r in db.execute(query) if f"{SPOOL}/{r.path}" not in listed]
        number = 0
        for row in rows:
            path = f"{SPOOL}/{row.path}"
            if is_there(path):
                still = sa.and_(
                    instances.c.sop_instance_uid == row.sop_instance_uid,
                    instances.c.path == row.path,
                    sa.literal(path).not_in(sa.select(discards.c.path)),
                )
                with self._database.write(study=row.study_instance_uid) as db:
                    kept = db.execute(instances.update().where(still).values(purged_at=None))
                number += kept.rowcount
        return number

    def note_held(self, instance_uids: Collection[str]) -> None:
        """Note that the source was seen to hold these inputs just now."""
        with self._database.write() as db:
            db.execute(
                instances.update()
                .where(instances.c.sop_instance_uid.in_(list(instance_uids)))
                .values(held_at=self._database.now())
            )

    def purge_inputs(
        self,
        study: str,
        policy: Policy,
        digests: Mapping[str, str],
        owners: Owners,
        *,
        pressed: bool,
    ) -> bool:
        """Give up received files, with a digest that stands for each; False if they may not go."""
        with self._database.write(study=study) as db:
            now, facts = self._database.now(), facts_of(db, study)
            if facts is None:
                return False
            verdict = rules.inputs(facts, policy, now, pressed=pressed)
            if not verdict.may_go:
                return False
            going = [i for i in inputs_of(db, study) if i.sop_instance_uid in digests]
            for one in going:
                db.execute(
                    instances.update()
                    .where(instances.c.sop_instance_uid == one.sop_instance_uid)
                    .values(purged_at=now, sha256=digests[one.sop_instance_uid])
                )
            discard(db, self._database.owner, now, [f"{SPOOL}/{one.path}" for one in going])
            _note_owners(db, study, owners)
            size = sum(one.size_bytes for one in going)
            fields = {"files": len(going), "bytes": size, "why": verdict.why}
            note(db, now, "inputs_purged", study, **fields, disk_full=pressed)
        return True

    def purge_results(self, study: str, policy: Policy, owners: Owners, *, pressed: bool) -> bool:
        """Give up the files of objects; False if they may not go."""
        with self._database.write(study=study) as db:
            now, facts = self._database.now(), facts_of(db, study)
            if facts is None:
                return False
            verdict = rules.results(facts, policy, now, pressed=pressed)
            paths = result_paths_of(db, study)
            if not verdict.may_go or not paths:
                return False
            db.execute(
                results.update()
                .where(results.c.study_instance_uid == study, results.c.purged_at.is_(None))
                .values(purged_at=now)
            )
            discard(db, self._database.owner, now, paths)
            _note_owners(db, study, owners)
            note(db, now, "results_purged", study, files=len(paths), why=verdict.why)
        return True

    def while_at_rest(
        self, study: str, policy: Policy, set_aside: Callable[[], Iterable[str]]
    ) -> bool:
        """Give up kept tiles, if they may go, while nobody can begin to use them.

        `set_aside` gives the new paths of what it renames.
        """
        with self._database.write(study=study) as db:
            facts = facts_of(db, study)
            now = self._database.now()
            if facts is None or not rules.tiles(facts, policy, now).may_go:
                return False
            discard(db, self._database.owner, now, set_aside())
        return True


def _note_owners(db: sa.Connection, study: str, owners: Owners) -> None:
    key = {"study_instance_uid": study, "key_name": owners.key_name}
    for digest in sorted(owners.digests):
        insert_once(db, patients, **key, digest=digest)
