"""What is removed, written before it is: rows that say so, and paths that are to be unlinked.

A path is listed in the transaction that says that nothing refers to it, and unlinked after; so
whatever ends the process, no row names a file that is gone without saying so, and none is left
that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import (
    commitment_items,
    commitments,
    deliveries,
    discards,
    events,
    holds,
    inquiries,
    inquiry_items,
    instances,
    results,
    revisions,
    studies,
)
from dicom_node.ledger.events import note
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.facts import KeptInput, facts_of, inputs_of, result_paths_of
from dicom_node.ledger.keeping.rules import Policy, StudyFacts
from dicom_node.ledger.states import CommitmentState, State

_AT_REST = (State.DONE, State.PARKED, State.SUPERSEDED)


class Retention:
    """Written by who purges, and by people who hold, release and erase."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at_rest(self, finished_before: float) -> list[str]:
        """Studies that no revision of is under way, the longest finished first."""
        r = revisions.c
        query = (
            sa.select(r.study_instance_uid)
            .group_by(r.study_instance_uid)
            .having(
                sa.func.sum(sa.case((r.state.in_(_AT_REST), 0), else_=1)) == 0,
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
        spool: str,
        *,
        pressed: bool,
    ) -> bool:
        """Give up received files, with the digest that stands for each; False if they may not go.

        `spool` is the folder of the spool, relative to the data folder.
        """
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
                insert_once(db, discards, path=f"{spool}/{one.path}", at=now)
            size = sum(one.size_bytes for one in going)
            fields = {"files": len(going), "bytes": size, "why": verdict.why}
            note(db, now, "inputs_purged", study, **fields, disk_full=pressed)
        return True

    def purge_results(self, study: str, policy: Policy, *, pressed: bool) -> bool:
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
            for path in paths:
                insert_once(db, discards, path=path, at=now)
            note(db, now, "results_purged", study, files=len(paths), why=verdict.why)
        return True

    def forget(self, study: str, policy: Policy, left: Iterable[str]) -> bool:
        """End the rows of a study, with what is left of its files; False if they may not go."""
        with self._database.write(study=study) as db:
            now, facts = self._database.now(), facts_of(db, study)
            if facts is None or not rules.rows(facts, policy, now).may_go:
                return False
            self._delete(db, study, left)
            db.execute(events.delete().where(events.c.study_instance_uid == study))
        return True

    def forget_events(self, before: float) -> None:
        """End what the node told of itself, and requests that are over."""
        over = (CommitmentState.REPORTED, CommitmentState.CLOSED)
        old = sa.select(commitments.c.transaction_uid).where(
            commitments.c.state.in_(over), commitments.c.closed_at < before
        )
        with self._database.write() as db:
            db.execute(
                events.delete().where(events.c.study_instance_uid.is_(None), events.c.at < before)
            )
            db.execute(commitment_items.delete().where(commitment_items.c.transaction_uid.in_(old)))
            db.execute(commitments.delete().where(commitments.c.transaction_uid.in_(old)))
            told = sa.select(inquiries.c.id).where(inquiries.c.closed_at < before)
            db.execute(inquiry_items.delete().where(inquiry_items.c.inquiry.in_(told)))
            db.execute(inquiries.delete().where(inquiries.c.closed_at < before))

    def erase(self, study: str, left: Iterable[str]) -> bool:
        """Give up everything of a study, because the law says so; what stays is that it was done.

        False while it is under way. Raises ValueError for one on hold.
        """
        with self._database.write(study=study) as db:
            facts = facts_of(db, study)
            if facts is not None and facts.is_on_hold:
                raise ValueError(f"study {study} is on hold; release it first")
            if facts is not None and any(state not in _AT_REST for state in facts.states):
                return False
            files = self._delete(db, study, left)
            db.execute(events.delete().where(events.c.study_instance_uid == study))
            note(db, self._database.now(), "study_erased", study, files=files)
        return True

    def _delete(self, db: sa.Connection, study: str, left: Iterable[str]) -> int:
        """Delete the rows of a study and list its files; how many files."""
        now = self._database.now()
        paths = {*left, *result_paths_of(db, study)}
        for path in sorted(paths):
            insert_once(db, discards, path=path, at=now)
        made = sa.select(results.c.sop_instance_uid).where(results.c.study_instance_uid == study)
        for table in (deliveries, commitment_items):
            db.execute(table.delete().where(table.c.sop_instance_uid.in_(made)))
        came = sa.select(instances.c.sop_instance_uid).where(
            instances.c.study_instance_uid == study
        )
        told = sa.select(inquiries.c.id).where(inquiries.c.closed_at.is_not(None))
        db.execute(
            inquiry_items.delete().where(
                inquiry_items.c.sop_instance_uid.in_(came), inquiry_items.c.inquiry.in_(told)
            )
        )
        for table in (results, instances, revisions, holds, studies):
            db.execute(table.delete().where(table.c.study_instance_uid == study))
        return len(paths)

    def hold(self, study: str, reason: str) -> None:
        """Keep everything of a study until it is released. Raises KeyError for an unknown one."""
        with self._database.write(study=study) as db:
            self._require(db, study)
            now = self._database.now()
            if insert_once(db, holds, study_instance_uid=study, at=now, reason=reason):
                note(db, now, "study_held", study, reason=reason)

    def release(self, study: str) -> bool:
        """End a hold; False if there was none. Raises KeyError for an unknown study."""
        with self._database.write(study=study) as db:
            self._require(db, study)
            gone = db.execute(holds.delete().where(holds.c.study_instance_uid == study))
            if gone.rowcount:
                note(db, self._database.now(), "hold_released", study)
            return bool(gone.rowcount)

    def _require(self, db: sa.Connection, study: str) -> None:
        known = sa.select(revisions.c.revision).where(revisions.c.study_instance_uid == study)
        if db.execute(known).first() is None:
            raise KeyError(study)

    def while_at_rest(self, study: str, policy: Policy, act: Callable[[], object]) -> bool:
        """Do something to kept tiles, if they may go, while nobody can begin to use them."""
        with self._database.write(study=study) as db:
            facts = facts_of(db, study)
            if facts is None or not rules.tiles(facts, policy, self._database.now()).may_go:
                return False
            act()
        return True

    def discards(self) -> list[str]:
        """Paths to be unlinked, relative to the data folder."""
        with self._database.read() as db:
            return list(db.scalars(sa.select(discards.c.path).order_by(discards.c.at)))

    def unlink(self, path: str, spool: str, remove: Callable[[str], object]) -> None:
        """Remove a listed path, unless it is in use again; while a study is under way, not now."""
        own = path.removeprefix(f"{spool}/")
        of_results = sa.select(results.c.study_instance_uid).where(results.c.path == path)
        with self._database.read() as db:
            study = db.scalar(of_results)
        with self._database.write(study=study) as db:
            in_use = [
                sa.select(sa.literal(1)).where(table.c.path == name, table.c.purged_at.is_(None))
                for table, name in ((results, path), (instances, own))
            ]
            if not any(db.execute(query).first() for query in in_use):
                under_way = sa.select(revisions.c.state).where(
                    revisions.c.study_instance_uid == study, revisions.c.state.not_in(_AT_REST)
                )
                if study is not None and db.execute(under_way).first():
                    return
                remove(path)
            db.execute(discards.delete().where(discards.c.path == path))
