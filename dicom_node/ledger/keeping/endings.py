"""The end of what the ledger knows: rows whose time is over, and what the law has erased."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from dicom_node.ledger.database.analyses import analyses
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.tables import (
    commitment_items,
    commitments,
    deliveries,
    events,
    holds,
    inquiries,
    inquiry_items,
    instances,
    patients,
    results,
    revisions,
    studies,
)
from dicom_node.ledger.events import note
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.discards import RESULTS, discard, unlist_below
from dicom_node.ledger.keeping.facts import facts_of, inputs_of, result_paths_of
from dicom_node.ledger.keeping.inquiries import answer_erased, forget_told
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import AT_REST


class Endings:
    """Written by who purges, and by people who erase.

    What both are given sets the files of a study aside under names that nothing else will ever
    have: the study may come again at once, and gets its old names anew.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget(
        self, study: str, policy: Policy, set_aside: Callable[[], Iterable[str] | None]
    ) -> bool:
        """End the rows of a study, with what is left of its files; False if they may not go.

        `set_aside` gives their paths below the data folder, or None where more is left than may go.
        """
        with self._database.write(study=study) as db:
            facts = facts_of(db, study)
            if facts is None or not rules.rows(facts, policy, self._database.now()).may_go:
                return False
            left = set_aside()
            if left is None:
                return False
            self._delete(db, study, left)
        return True

    def forget_others(self, before: float) -> None:
        """End what the node told of itself and of studies that are no more, and requests for
        commitment, ours and those of senders, that ended before then, or were made before then and
        never ended. What was promised stays promised."""
        known = sa.select(revisions.c.study_instance_uid)
        of_nobody = sa.or_(
            events.c.study_instance_uid.is_(None), events.c.study_instance_uid.not_in(known)
        )
        old = sa.select(commitments.c.transaction_uid).where(
            sa.func.coalesce(commitments.c.closed_at, commitments.c.made_at) < before
        )
        with self._database.write() as db:
            db.execute(events.delete().where(of_nobody, events.c.at < before))
            db.execute(commitment_items.delete().where(commitment_items.c.transaction_uid.in_(old)))
            db.execute(commitments.delete().where(commitments.c.transaction_uid.in_(old)))
            is_over = sa.func.coalesce(inquiries.c.closed_at, inquiries.c.asked_at) < before
            over = sa.select(inquiries.c.id).where(is_over)
            db.execute(inquiry_items.delete().where(inquiry_items.c.inquiry.in_(over)))
            db.execute(inquiries.delete().where(is_over))

    def erase(self, study: str, set_aside: Callable[[], Iterable[str] | None]) -> bool:
        """Give up everything of a study, because the law says so; what stays is that it was done.

        False while it is under way. Raises ValueError for one on hold.
        """
        with self._database.write(study=study) as db:
            on_hold = sa.select(holds).where(holds.c.study_instance_uid == study)
            if db.execute(on_hold).first() is not None:
                raise ValueError(f"study {study} is on hold; release it first")
            states = sa.select(revisions.c.state).where(revisions.c.study_instance_uid == study)
            if any(state not in AT_REST for state in db.scalars(states)):
                return False
            if not self._database.is_shared:
                db.exec_driver_sql("PRAGMA secure_delete=ON")  # zeros in place of what is deleted
            mine = inquiries.c.ingest == self._database.owner
            is_answered = sa.true() if self._database.is_shared else mine
            answer_erased(db, study, self._database.now(), is_answered)
            files = self._delete(db, study, set_aside() or ())
            note(db, self._database.now(), "study_erased", study, files=files)
        return True

    def of_patient(self, digest: str, key_name: str) -> set[str]:
        """Studies whose files were removed, and that a patient is known to have had."""
        query = sa.select(patients.c.study_instance_uid).where(
            patients.c.digest == digest, patients.c.key_name == key_name
        )
        with self._database.read() as db:
            return set(db.scalars(query))

    def of_unknown(self, key_name: str) -> set[str]:
        """Studies whose files were removed, and of which cannot be told whose they were: another
        node or an earlier key noted it, or the files did not say."""
        strange = sa.or_(patients.c.key_name != key_name, patients.c.digest == "")
        query = sa.select(patients.c.study_instance_uid).where(strange)
        with self._database.read() as db:
            return set(db.scalars(query))

    def tidy(self) -> None:
        """Take what was deleted out of the database's files, too, as far as is possible now."""
        if not self._database.is_shared:
            with self._database.read() as db:
                db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def _delete(self, db: sa.Connection, study: str, left: Iterable[str]) -> int:
        """Delete the rows of a study and list what was set aside; how many files it had."""
        files = len(inputs_of(db, study)) + len(result_paths_of(db, study))
        owner = self._database.owner
        numbers = sa.select(revisions.c.revision).where(revisions.c.study_instance_uid == study)
        for number in db.scalars(numbers).all():
            unlist_below(db, owner, f"{RESULTS}/{Run(study, number, 0).folder}")
        discard(db, owner, self._database.now(), sorted(left))
        made = sa.select(results.c.sop_instance_uid).where(results.c.study_instance_uid == study)
        items = commitment_items.c
        asked = db.scalars(sa.select(items.transaction_uid).where(items.sop_instance_uid.in_(made)))
        requests = list(set(asked))
        for table in (deliveries, commitment_items):
            db.execute(table.delete().where(table.c.sop_instance_uid.in_(made)))
        # A study that comes again may be asked for under the same Transaction UID.
        request = commitments.c.transaction_uid
        has_others = request.in_(sa.select(items.transaction_uid))
        db.execute(commitments.delete().where(request.in_(requests), sa.not_(has_others)))
        forget_told(db, study)
        for table in (results, analyses, instances, revisions, holds, patients, events, studies):
            db.execute(table.delete().where(table.c.study_instance_uid == study))
        return files
