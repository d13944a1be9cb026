"""What the ingest process writes: instances, and transfers while their bytes arrive."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.dialects import insert_once
from dicom_node.ledger.database.tables import discards, instances, transfers
from dicom_node.ledger.errors import Conflict
from dicom_node.ledger.keeping.discards import SPOOL, aside_of
from dicom_node.ledger.rows import ReceivedInstance, StoredInstance
from dicom_node.ledger.statements import latest, open_revision, the
from dicom_node.ledger.states import State


class Arrivals:
    """Written by ingest, and by what puts instances back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, sop_instance_uid: str) -> StoredInstance | None:
        """What is stored under a SOP Instance UID, to compare a second sending with."""
        query = sa.select(
            instances.c.path,
            instances.c.transfer_syntax_uid,
            instances.c.size_bytes,
            instances.c.study_instance_uid,
            instances.c.sha256,
            instances.c.purged_at,
        ).where(instances.c.sop_instance_uid == sop_instance_uid)
        with self._database.read() as db:
            row = db.execute(query).first()
        return None if row is None else StoredInstance(*row)

    def record(self, instance: ReceivedInstance) -> None:
        """Record a new instance and open a revision for it, in one durable transaction.

        Raises Conflict when the SOP Instance UID is known and LedgerBusy when the database cannot
        be written.
        """
        values = {f: getattr(instance, f) for f in instance.__slots__}
        with self._database.write(study=instance.study_instance_uid) as db:
            at = self._database.now()
            revision = _revision_for(db, instance.study_instance_uid, at)
            mine = {"revision": revision, "ingest": self._database.owner}
            if not insert_once(db, instances, **values, **mine, received_at=at):
                raise Conflict(instance.sop_instance_uid)  # which undoes the revision, too

    def bring_back(self, instance: ReceivedInstance) -> bool:
        """Record the file of an instance that was purged and came again; False if it was not.

        The study is not analyzed anew, unless it was waiting for the file.
        """
        here = instances.c.sop_instance_uid == instance.sop_instance_uid
        with self._database.write(study=instance.study_instance_uid) as db:
            at = self._database.now()
            gone = sa.and_(here, instances.c.purged_at.is_not(None))
            values = {"path": instance.path, "purged_at": None, "received_at": at}
            if not db.execute(instances.update().where(gone).values(**values)).rowcount:
                return False
            _count_anew(db, instance.study_instance_uid, at)
        return True

    def restore(self, study: str, replace: Callable[[], None]) -> None:
        """Have a lost or damaged file of a study replaced, and what was counted counted anew.

        One transaction: a file that is whole again is never left without the note.
        """
        with self._database.write(study=study) as db:
            _count_anew(db, study, self._database.now())
            replace()

    def known_paths(self) -> set[str]:
        """Spool paths that have a row, or are to be removed, under the names they have then."""
        prefix = f"{SPOOL}/"
        removed = sa.select(discards.c.path).where(discards.c.path.like(f"{prefix}%"))
        with self._database.read() as db:
            going = {name for path in db.scalars(removed) for name in (path, aside_of(path))}
            going = {name.removeprefix(prefix) for name in going}
            return going | set(db.scalars(sa.select(instances.c.path)))

    def open_transfer(self, *, calling_ae: str, peer: str) -> int:
        """Note that a C-STORE began to arrive; its bytes hold back the studies of that sender."""
        now = self._database.now()
        with self._database.write() as db:
            row = db.execute(
                transfers.insert().values(
                    calling_ae=calling_ae,
                    peer=peer,
                    opened_at=now,
                    last_byte_at=now,
                    ingest=self._database.owner,
                )
            )
            (key,) = row.inserted_primary_key or (0,)
            return int(key)

    def touch_transfer(self, transfer_id: int) -> None:
        """Note that bytes of an open transfer arrived just now."""
        with self._database.write() as db:
            db.execute(
                transfers.update()
                .where(transfers.c.id == transfer_id)
                .values(last_byte_at=self._database.now())
            )

    def close_transfer(self, transfer_id: int) -> None:
        """Forget a transfer that ended, well or badly."""
        with self._database.write() as db:
            db.execute(transfers.delete().where(transfers.c.id == transfer_id))

    def close_all_transfers(self) -> None:
        """Forget what a process of this name that is gone left; called when ingest starts."""
        mine = transfers.c.ingest == self._database.owner
        with self._database.write() as db:
            db.execute(transfers.delete().where(sa.or_(mine, transfers.c.ingest.is_(None))))


def _count_anew(db: sa.Connection, study: str, at: float) -> None:
    """What was counted without a file that is back now is counted again."""
    last = db.execute(latest(study)).first()
    if last is not None and last.state == State.RECEIVING:
        # The time tells a closing that is counting just now that its count is old.
        anew = {"evidence": None, "last_instance_at": at}
        db.execute(the(study, last.revision).values(**anew))
    elif last is not None and (last.evidence or {}).get("missing"):
        open_revision(db, study, at, "a restored instance")


def _revision_for(db: sa.Connection, study: str, at: float) -> int:
    """The revision an arriving instance belongs to; a closed study gets a new one."""
    last = db.execute(latest(study)).first()
    if last is not None and last.state == State.RECEIVING:
        db.execute(the(study, last.revision).values(last_instance_at=at))
        return int(last.revision)
    return open_revision(db, study, at, "a late instance")
