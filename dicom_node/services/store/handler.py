"""C-STORE: takes instances as they come and answers only what is true.

0000 is sent after the file, its folder entry and its ledger row are durable, never before. Nothing
is decoded here beyond the attributes that identify an instance.
"""

from __future__ import annotations

import traceback
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.association.admission import peer_of
from dicom_node.association.service import Service
from dicom_node.ledger.errors import LedgerDamaged, LedgerFailed
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.ledger.rows import ReceivedInstance
from dicom_node.services.store.status import NOT_STORED, StoreStatus, answer_to
from dicom_node.services.store.transfers import Transfer, Transfers
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.spool.filing import Filing, Outcome
from dicom_node.spool.identity import Identity, command_uid, read_identity
from dicom_node.spool.incoming import file_header
from dicom_node.spool.refusals import Refused, Why
from dicom_node.spool.spool import Spool

log = structlog.get_logger()

SOP_CLASSES = (VL_WHOLE_SLIDE_MICROSCOPY,)
"""What is stored."""


class StoreHandler:
    """Receives into a spool and a ledger; `start` before the first association, `stop` after the
    last."""

    def __init__(self, spool: Spool, ledger: IngestLedger, *, digests: bool = False) -> None:
        """With `digests` one is made of each dataset while it arrives, so that it is known later
        whether a file still is what was sent."""
        self._spool = spool
        self._ledger = ledger
        self._transfers = Transfers(spool, ledger, digests=digests)
        self._filing = Filing(spool, ledger)
        self.damage: LedgerDamaged | None = None
        """Why no instance can be kept any more: whoever runs the listener should end it."""

    @property
    def service(self) -> Service:
        """What the acceptor is given."""
        return Service(
            sop_classes=SOP_CLASSES,
            handlers=((evt.EVT_C_STORE, self.on_store),),
            open_sink=self.open_transfer,
        )

    @property
    def is_turning(self) -> bool:
        """Whether the ledger is still told of what arrives."""
        return self._transfers.is_turning

    def start(self) -> None:
        """Forget what a crashed process left open, and begin to report progress."""
        self._transfers.start()

    def stop(self) -> None:
        """Close the last transfers in the ledger."""
        self._transfers.stop()

    def open_transfer(self, association: Any, context_id: int, command: Any) -> Transfer:
        """A sink for the C-STORE request that begins. Runs in the thread that reads the socket."""
        calling_ae = association.requestor.primitive.calling_ae_title.strip()
        syntax = association._accepted_cx[context_id].transfer_syntax[0]
        header: bytes | Refused
        try:
            header = file_header(
                command_uid(command, "AffectedSOPClassUID"),
                command_uid(command, "AffectedSOPInstanceUID"),
                str(syntax),
            )
        except Refused as refusal:
            header = refusal
        return self._transfers.open(calling_ae, str(peer_of(association)), header)

    def on_store(self, event: Any) -> Dataset:
        """Answer a C-STORE request whose dataset has arrived: exceptions end here as statuses."""
        transfer: Transfer | None = None
        fields: dict[str, Any] = {}
        try:
            transfer = self._arrived(event)
            fields = {"calling_ae": transfer.calling_ae, "peer": transfer.peer}
            self._keep(event, transfer, fields)
            status, comment = StoreStatus.SUCCESS, ""
        except NOT_STORED as error:
            status, comment = answer_to(error)
            if status is StoreStatus.OUT_OF_RESOURCES:
                fields["error"] = str(error)
            if isinstance(error, LedgerDamaged):
                self.damage = error
        except Exception as error:  # noqa: BLE001 - the peer gets an answer whatever went wrong
            status, comment = StoreStatus.PROCESSING_FAILURE, "internal error of the receiving node"
            # Not its message and not its variables: they could quote the dataset.
            where = traceback.format_tb(error.__traceback__)
            log.error("store_failed", error=type(error).__name__, where=where)
        finally:
            if transfer is not None:
                transfer.close()
        if status is not StoreStatus.SUCCESS:
            fields = {"status": f"{status:04X}", "comment": comment, **fields}
            log.warning("instance_refused", **fields)
            self._note("instance_refused", fields)
        return _answer(status, comment)

    def _arrived(self, event: Any) -> Transfer:
        """The transfer of a request, now owned by the handler."""
        request = event.request
        transfer: Transfer | None = request._dataset_file
        if transfer is not None:
            event.assoc.take(transfer)
            return transfer
        # So small that command and dataset came in one PDU: it is in memory.
        transfer = self.open_transfer(event.assoc, request._context_id, request)
        transfer.write(request.DataSet.getbuffer())
        return transfer

    def _keep(self, event: Any, transfer: Transfer, fields: dict[str, Any]) -> None:
        """Check, make durable and record one instance; returning means 0000."""
        if transfer.failure is not None:
            raise transfer.failure
        incoming = transfer.incoming
        if incoming is None:
            raise RuntimeError("a transfer without a failure has a file")
        incoming.require_whole()
        syntax = str(event.context.transfer_syntax)
        identity = read_identity(incoming, syntax)
        fields.update(
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=identity.study_instance_uid,
        )
        _require_match(event, identity)
        instance = ReceivedInstance(
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=syntax,
            size_bytes=incoming.size_bytes,
            path=self._spool.new_path(),
            calling_ae=transfer.calling_ae,
            peer=transfer.peer,
            sha256=transfer.digest(),
        )
        outcome = self._filing.keep(incoming, instance)
        if outcome is not Outcome.NEW and instance.sha256 is not None:
            # It came before digests were made, perhaps.
            self._ledger.promises.note_digest(instance.sop_instance_uid, instance.sha256)
        if outcome is Outcome.RESTORED:
            log.warning("instance_restored", size_bytes=incoming.size_bytes, **fields)
            self._note("instance_restored", fields)
        else:
            log.info("instance_stored", outcome=outcome, size_bytes=incoming.size_bytes, **fields)

    def _note(self, kind: str, fields: dict[str, Any]) -> None:
        """Add to the story people read; without it the answer to the peer is as true."""
        try:
            self._ledger.events.record(kind, **fields)
        except LedgerFailed as error:
            log.warning("ledger_failed", error=str(error))


def _require_match(event: Any, identity: Identity) -> None:
    """Refuse a command that speaks of another instance, or class, than dataset or context."""
    command_class = command_uid(event.request, "AffectedSOPClassUID")
    if command_class != str(event.context.abstract_syntax):
        raise Refused(Why.OTHER_CLASS, "SOP class is not that of the context")
    if command_class != identity.sop_class_uid:
        raise Refused(Why.OTHER_INSTANCE, "SOP Class UID differs: command and dataset")
    if command_uid(event.request, "AffectedSOPInstanceUID") != identity.sop_instance_uid:
        raise Refused(Why.OTHER_INSTANCE, "SOP Instance UID differs: command and dataset")


def _answer(status: StoreStatus, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = int(status)
    if comment:
        answer.ErrorComment = comment[:64]  # (0000,0902), LO: PS3.7 Annex C
    return answer
