"""Where an instance that arrived is kept: as new, as one that is known, or in place of a lost one.

No digest is made while receiving (it would halve the rate). Whether a second sending is the same
instance is asked only when its SOP Instance UID is known, and answered by comparing the bytes.
"""

from __future__ import annotations

import hashlib
import threading
from enum import StrEnum

from dicom_node.ledger.errors import Conflict, LedgerBusy
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.ledger.rows import ReceivedInstance, StoredInstance
from dicom_node.spool.identity import ReadableDataset
from dicom_node.spool.incoming import WholeInstance
from dicom_node.spool.spool import Spool

_DIGEST_BYTES = 1 << 20


class Outcome(StrEnum):
    """What became of an instance that is answered 0000."""

    NEW = "new"
    IDENTICAL = "identical"
    """The same bytes in the same transfer syntax are here already."""
    RESTORED = "restored"
    """It took the place of a file that was lost, cut short, or removed after its time."""


class Filing:
    """Spool and ledger together; thread-safe. When a call returns, its outcome is durable."""

    def __init__(self, spool: Spool, ledger: IngestLedger) -> None:
        self._spool = spool
        self._ledger = ledger
        self._lock = threading.Lock()  # a UID is looked up and recorded by one thread at a time

    def keep(self, incoming: WholeInstance, instance: ReceivedInstance) -> Outcome:
        """Keep one whole instance under its path, if it is new.

        Raises Conflict when its SOP Instance UID is known with other content, SpoolFull,
        SpoolFailed or LedgerBusy. Whichever is raised, the ledger has no new row.
        """
        stored = self._ledger.arrivals.find(instance.sop_instance_uid)
        if stored is None:
            incoming.sync()
            with self._lock:
                # Again: another association may have sent the same UID at the same time.
                stored = self._ledger.arrivals.find(instance.sop_instance_uid)
                if stored is None:
                    stored = self._record(incoming, instance)
                if stored is None:
                    return Outcome.NEW
        return self._compare(incoming, instance, stored)

    def _record(self, incoming: WholeInstance, instance: ReceivedInstance) -> StoredInstance | None:
        """Publish and record; what another process recorded under the UID a moment before."""
        self._spool.publish(incoming, instance.path)
        try:
            self._ledger.arrivals.record(instance)
        except Conflict:
            self._spool.withdraw(instance.path)
            return self._ledger.arrivals.find(instance.sop_instance_uid)
        except LedgerBusy:
            # After any other error it might be recorded: then the file stays, and the next start
            # moves it to lost+found if there is no row.
            if self._is_unrecorded(instance):
                self._spool.withdraw(instance.path)
            raise
        return None

    def _is_unrecorded(self, instance: ReceivedInstance) -> bool:
        """Whether a row that could not be written is certainly absent.

        A server may have written it and gone away before it could say so.
        """
        try:
            return self._ledger.arrivals.find(instance.sop_instance_uid) is None
        except LedgerBusy:
            return not self._ledger.database.is_shared

    def _compare(
        self, incoming: WholeInstance, instance: ReceivedInstance, stored: StoredInstance
    ) -> Outcome:
        """What a second sending is. Without the lock: what is recorded does not change."""
        sent = (instance.transfer_syntax_uid, instance.size_bytes)
        if sent != (stored.transfer_syntax_uid, stored.size_bytes):
            raise Conflict(instance.sop_instance_uid)
        if stored.purged_at is not None:
            return self._bring_back(incoming, instance, stored)
        if self._spool.is_damaged(stored.path, stored.size_bytes):
            incoming.sync()
            with self._lock:
                # Again: another association may have restored it meanwhile.
                if self._spool.is_damaged(stored.path, stored.size_bytes):
                    if instance.study_instance_uid != stored.study_instance_uid:
                        raise Conflict(instance.sop_instance_uid)
                    if stored.sha256 not in (None, dataset_digest(incoming)):
                        raise Conflict(instance.sop_instance_uid)
                    self._ledger.arrivals.restore(
                        stored.study_instance_uid,
                        lambda: self._spool.replace(stored.path, incoming),
                    )
                    return Outcome.RESTORED
        if not self._spool.holds(stored.path, incoming):
            raise Conflict(instance.sop_instance_uid)
        return Outcome.IDENTICAL

    def _bring_back(
        self, incoming: WholeInstance, instance: ReceivedInstance, stored: StoredInstance
    ) -> Outcome:
        """Keep an instance again whose file was removed: its digest tells whether it is the same.

        Under a new name, because the old one may still have to be unlinked.
        """
        of_study = instance.study_instance_uid == stored.study_instance_uid
        if not of_study or dataset_digest(incoming) != stored.sha256:
            raise Conflict(instance.sop_instance_uid)
        incoming.sync()
        with self._lock:
            self._spool.publish(incoming, instance.path)
            is_recorded = False
            try:
                is_recorded = self._ledger.arrivals.bring_back(instance)
            except LedgerBusy:
                # One that a server may have recorded stays; the next start finds out.
                if not self._ledger.database.is_shared:
                    self._spool.withdraw(instance.path)
                raise
            if not is_recorded:  # another association was first
                self._spool.withdraw(instance.path)
                return Outcome.IDENTICAL
        return Outcome.RESTORED


def dataset_digest(dataset: ReadableDataset) -> str:
    """SHA-256 of the dataset bytes, read in pieces."""
    digest, offset = hashlib.sha256(), 0
    while piece := dataset.read_at(offset, _DIGEST_BYTES):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
