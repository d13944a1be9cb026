"""The listener: takes whole-slide instances by C-STORE and answers only what is true.

0000 is sent after the file, its folder entry and its ledger row are durable, never before. Nothing
is decoded here beyond the attributes that identify an instance.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from dicom_node.association import contexts
from dicom_node.association import hardened as seams
from dicom_node.association.admission import (
    Admission,
    AllowedSender,
    note_aborted,
    note_accepted,
    note_released,
    peer_of,
)
from dicom_node.header import Identity, Refused, StoreStatus, command_uid, read_identity
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Conflict, LedgerDamaged, LedgerFailed, ReceivedInstance
from dicom_node.spool.filing import Filing, Outcome
from dicom_node.spool.incoming import SpoolFailed, SpoolFull, file_header
from dicom_node.spool.lost_found import LostFound, LostFoundBusy
from dicom_node.spool.spool import Spool, SpoolUnusable
from dicom_node.transfers import Transfer, Transfers

log = structlog.get_logger()

MAXIMUM_PDU_BYTES = 128 << 10  # some senders mishandle more, or 0 for unlimited
ACSE_TIMEOUT_S = 10.0
DIMSE_TIMEOUT_S = 60.0
NETWORK_TIMEOUT_S = 300.0  # a PACS may pause for minutes between two slides


class Ingest:
    """The listener of the node: `start`, then `drain`."""

    def __init__(
        self,
        *,
        ae_title: str,
        bind: str,
        port: int,
        senders: Sequence[AllowedSender],
        spool: Spool,
        ledger: Ledger,
        maximum_associations: int,
    ) -> None:
        self.ae_title = ae_title
        self.spool = spool
        self.ledger = ledger
        self._address = (bind, port)
        self._maximum_associations = maximum_associations
        self._admission = Admission(ae_title, senders, maximum_associations)
        self._transfers = Transfers(spool, ledger)
        self._filing = Filing(spool, ledger)
        self._server: seams.ReceivingServer | None = None
        self._port = port
        self.damage: LedgerDamaged | None = None
        """Why no instance can be kept any more: whoever runs the listener should end it."""

    @property
    def port(self) -> int:
        """The port listened on: after `start`, also when 0 was asked for."""
        return self._port

    def start(self, *, stop: threading.Event | None = None, patience_s: float = 0.0) -> None:
        """Claim the spool, put aside what the ledger does not know, and listen.

        Another receiver is waited for, at most `patience_s` and until `stop` is set. Raises
        SpoolUnusable, LedgerBusy, LedgerDamaged, or OSError when the address cannot be bound.
        """
        self.spool.claim(stop=stop, patience_s=patience_s)
        moved = self._sweep()
        self._transfers.start()
        seams.quiet()
        self._server = self._listen()
        self._port = int(self._server.server_address[1])
        # It looks ten times a second whether it has been told to stop.
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True
        ).start()
        log.info("ingest_started", ae_title=self.ae_title, port=self.port, unknown_files=moved)

    def _sweep(self) -> int:
        """Move files without a ledger row to lost+found; how many, now."""
        lost_found = LostFound(self.spool)
        moved = 0
        try:
            moved = lost_found.sweep(self.ledger.known_paths)
        except LostFoundBusy as error:
            log.warning("spool_not_swept", reason=str(error))
        if waiting := len(lost_found.names()):
            log.error(
                "spool_files_unknown",
                moved_now=moved,
                waiting=waiting,
                folder=str(lost_found.folder),
                what_to_do="the database has no row for these received files; `dicom-node recover` "
                "records them again and names those that it cannot",
            )
        return moved

    def _listen(self) -> seams.ReceivingServer:
        entity = ApplicationEntity(self.ae_title)
        entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
        entity.acse_timeout = ACSE_TIMEOUT_S
        entity.dimse_timeout = DIMSE_TIMEOUT_S
        entity.network_timeout = NETWORK_TIMEOUT_S
        # Its own limit counts connections that never asked for an association: ours does not.
        entity.maximum_associations = 1 << 16
        server: seams.ReceivingServer = entity.make_server(
            self._address,
            contexts=contexts.accepted_contexts(),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._admission.on_requested),
                (evt.EVT_ACCEPTED, note_accepted),
                (evt.EVT_RELEASED, note_released),
                (evt.EVT_ABORTED, note_aborted),
                (evt.EVT_C_STORE, self._on_store),
            ],
            server_class=seams.ReceivingServer,
            request_handler=seams.ReceivingHandler,
        )
        server.open_sink = self._open_transfer
        server.ended = self._admission.ended
        server.maximum_connections = 4 * self._maximum_associations + 64
        server.maximum_silent = self._maximum_associations + 16
        entity._servers.append(server)  # as start_server does; shutdown() removes it
        return server

    def drain(self, timeout_s: float) -> bool:
        """Refuse new associations, wait for open ones, stop. False if some had to be aborted."""
        if self._server is None:
            return True
        left = self._admission.close(timeout_s)
        for association in left:
            association.abort()
        self._server.shutdown()
        self._server = None
        for association in left:
            association.join(timeout=5)
        self._transfers.stop()
        self.spool.release()
        log.info("ingest_stopped", aborted_associations=len(left))
        return not left

    def _open_transfer(self, association: Any, context_id: int, command: Any) -> Transfer:
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

    def _on_store(self, event: Any) -> Dataset:
        """Answer a C-STORE request whose dataset has arrived: exceptions end here as statuses."""
        transfer: Transfer | None = None
        fields: dict[str, Any] = {}
        try:
            transfer = self._arrived(event)
            fields = {"calling_ae": transfer.calling_ae, "peer": transfer.peer}
            self._keep(event, transfer, fields)
            status, comment = StoreStatus.SUCCESS, ""
        except Refused as refusal:
            status, comment = refusal.status, refusal.comment
        except (SpoolFull, SpoolFailed, SpoolUnusable) as error:
            status, comment = StoreStatus.OUT_OF_RESOURCES, "no room or no working storage: later"
            fields["error"] = str(error)
        except LedgerFailed as error:
            status, comment = StoreStatus.OUT_OF_RESOURCES, "ledger not writable: send again later"
            fields["error"] = str(error)
            if isinstance(error, LedgerDamaged):
                self.damage = error
        except Conflict:
            status, comment = StoreStatus.DUPLICATE, "this SOP Instance UID has other content here"
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
        transfer = self._open_transfer(event.assoc, request._context_id, request)
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
            path=self.spool.new_path(),
            calling_ae=transfer.calling_ae,
            peer=transfer.peer,
            received_at=datetime.now(UTC),
        )
        outcome = self._filing.keep(incoming, instance)
        if outcome is Outcome.RESTORED:
            log.warning("instance_restored", size_bytes=incoming.size_bytes, **fields)
            self._note("instance_restored", fields)
        else:
            log.info("instance_stored", outcome=outcome, size_bytes=incoming.size_bytes, **fields)

    def _note(self, kind: str, fields: dict[str, Any]) -> None:
        """Add to the story people read; without it the answer to the peer is as true."""
        try:
            self.ledger.record_event(kind, **fields)
        except LedgerFailed as error:
            log.warning("ledger_failed", error=str(error))


def _require_match(event: Any, identity: Identity) -> None:
    """Refuse a command that speaks of another instance, or class, than dataset or context."""
    command_class = command_uid(event.request, "AffectedSOPClassUID")
    if command_class != str(event.context.abstract_syntax):
        raise Refused(StoreStatus.CLASS_NOT_SUPPORTED, "SOP class is not that of the context")
    if command_class != identity.sop_class_uid:
        raise Refused(StoreStatus.MISMATCH, "SOP Class UID differs: command and dataset")
    if command_uid(event.request, "AffectedSOPInstanceUID") != identity.sop_instance_uid:
        raise Refused(StoreStatus.MISMATCH, "SOP Instance UID differs: command and dataset")


def _answer(status: StoreStatus, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = int(status)
    if comment:
        answer.ErrorComment = comment[:64]  # (0000,0902), LO: PS3.7 Annex C
    return answer
