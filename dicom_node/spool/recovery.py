"""Files of lost+found recorded again, as if their senders had sent them once more.

A file gets its new name in the spool, then its row, and only then loses its name in lost+found:
whatever ends the process, the file is in one of the two places, and running it again goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from dicom_node.ledger.errors import Conflict
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.ledger.rows import ReceivedInstance
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.spool.filing import Filing, Outcome
from dicom_node.spool.identity import Identity, read_file_meta, read_identity
from dicom_node.spool.incoming import SpoolFailed, SpoolFull, storage_failure
from dicom_node.spool.lost_found import LostFile, LostFound
from dicom_node.spool.refusals import Refused, Why
from dicom_node.spool.spool import Spool

_SENDER = "recovered"
"""In place of the AE title, which the file does not hold. Bytes that arrive from an AE title hold
back the studies of that title, so it must not be one that sends."""
_PEER = "lost+found"
_SYNTAXES = {syntax.uid for syntax in VL_WHOLE_SLIDE_MICROSCOPY.transfer_syntaxes}


@dataclass(frozen=True, slots=True)
class Recovered:
    """One file that the ledger knows, and that is no longer in lost+found."""

    name: str
    study_instance_uid: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Left:
    """One file that stays in lost+found, and why; nothing of what it says."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Readable:
    """One file that says what it is."""

    name: str
    identity: Identity
    transfer_syntax_uid: str


class Recovery:
    """Takes every file of lost+found back that can be; safe beside a running node."""

    def __init__(self, spool: Spool, ledger: IngestLedger) -> None:
        self._spool = spool
        self._ledger = ledger
        self._filing = Filing(spool, ledger)
        self._lost_found = LostFound(spool)

    def run(self) -> Iterator[Recovered | Left]:
        """What became of each file, as it is done.

        Raises LostFoundBusy or SpoolUnusable before anything is done, LedgerBusy or LedgerDamaged
        in between.
        """
        with self._lost_found.held():
            readable: list[_Readable] = []
            for name in self._lost_found.names():
                found = self._read(name)
                if isinstance(found, Left):
                    yield found
                else:
                    readable.append(found)
            # A study at a time: it must not have been quiet for long before its last file comes.
            for study, members in groupby(sorted(readable, key=_order), key=_study):
                answers = [self._take(file) for file in members]
                self._note(study, answers)
                yield from answers

    def _read(self, name: str) -> _Readable | Left:
        try:
            with self._lost_found.open(name) as file:
                return _identify(name, file)
        except Refused as refusal:
            return Left(name, refusal.comment)
        except SpoolFailed as error:
            return Left(name, str(error))
        except OSError as error:
            return Left(name, f"cannot be read: {storage_failure(error)}")

    def _take(self, found: _Readable) -> Recovered | Left:
        """Keep one file under a new path, and take its name away from lost+found."""
        try:
            with self._lost_found.open(found.name) as file:
                outcome = self._filing.keep(file, self._instance(found, file))
            self._lost_found.discard(found.name)
        except Conflict:
            return Left(found.name, "its SOP Instance UID is stored with other content")
        except (SpoolFull, SpoolFailed) as error:
            return Left(found.name, str(error))
        except OSError as error:
            return Left(found.name, f"cannot be moved: {storage_failure(error)}")
        return Recovered(found.name, found.identity.study_instance_uid, outcome)

    def _instance(self, found: _Readable, file: LostFile) -> ReceivedInstance:
        identity = found.identity
        return ReceivedInstance(
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            size_bytes=file.size_bytes,
            path=self._spool.new_path(),
            calling_ae=_SENDER,
            peer=_PEER,
        )

    def _note(self, study: str, answers: list[Recovered | Left]) -> None:
        """Add to the story of the study."""
        counts = Counter(a.outcome for a in answers if isinstance(a, Recovered))
        new, restored = counts[Outcome.NEW], counts[Outcome.RESTORED]
        if new or restored:
            self._ledger.events.record(
                "files_recovered", study_instance_uid=study, recorded=new, restored=restored
            )


def _identify(name: str, file: LostFile) -> _Readable:
    """What a file says it is. Raises Refused when the node would not have accepted it."""
    meta = read_file_meta(file.file_meta())
    if meta.transfer_syntax_uid not in _SYNTAXES:
        raise Refused(Why.UNPARSABLE, "in a transfer syntax that the node does not accept")
    identity = read_identity(file, meta.transfer_syntax_uid)
    if (meta.sop_class_uid, meta.sop_instance_uid) != (
        identity.sop_class_uid,
        identity.sop_instance_uid,
    ):
        raise Refused(Why.OTHER_INSTANCE, "SOP class or instance differs: header and dataset")
    if identity.sop_class_uid != VL_WHOLE_SLIDE_MICROSCOPY.uid:
        raise Refused(Why.OTHER_CLASS, "no whole-slide image")
    return _Readable(name, identity, meta.transfer_syntax_uid)


def _study(file: _Readable) -> str:
    return file.identity.study_instance_uid


def _order(file: _Readable) -> tuple[str, ...]:
    identity = file.identity
    return (
        identity.study_instance_uid,
        identity.series_instance_uid,
        identity.sop_instance_uid,
        file.name,
    )
