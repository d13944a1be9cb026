"""C-STORE requests while their bytes arrive, and what the ledger knows about them."""

from __future__ import annotations

import hashlib
import threading
import time

import structlog

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.ledger.switches import INTAKE
from dicom_node.observe.log import place_of, trace_of
from dicom_node.observe.rounds import Rounds
from dicom_node.spool.incoming import Incoming, SpoolFailed, SpoolFull
from dicom_node.spool.refusals import Refused, Why
from dicom_node.spool.spool import Spool, SpoolUnusable

log = structlog.get_logger()

TOUCH_INTERVAL_S = 1.0
LEAST_BYTES_PER_S = 4096
"""What comes more slowly keeps no study open: one association that trickles for ever would hold all
studies of its sender."""
_ROUND_WITHIN_S = 180.0
"""Longer than one transfer takes to be told of: half a minute for a connection and as long for a
lock, and as much again to close those that ended."""


class Transfer:
    """One C-STORE while it arrives: the file its dataset goes to, and who sends it.

    Stands in for pynetdicom's temporary file. Whatever is wrong is kept in `failure` for the
    handler to answer: the bytes have to be drained first.
    """

    def __init__(self, registry: Transfers, calling_ae: str, peer: str, digests: bool) -> None:
        self.calling_ae = calling_ae
        self.peer = peer
        self.failure: Refused | SpoolFull | SpoolFailed | SpoolUnusable | LedgerFailed | None = None
        self.incoming: Incoming | None = None
        self.transfer_id: int | None = None
        self.size_bytes = 0
        self._registry = registry
        self._sha256 = hashlib.sha256() if digests else None

    @property
    def file(self) -> Transfer:
        """pynetdicom flushes `file.file` after each fragment that it writes itself."""
        return self

    @property
    def name(self) -> str:
        """pynetdicom removes the file of this name after the handler; there is none."""
        return ""

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append dataset bytes; never raises."""
        self.size_bytes += sum(map(len, pieces))
        if self.incoming is not None:
            self.incoming.write(*pieces)
        if self._sha256 is not None and self.failure is None:
            for piece in pieces:
                self._sha256.update(piece)

    def digest(self) -> str | None:
        """SHA-256 of what was written, if one is made."""
        return None if self._sha256 is None else self._sha256.hexdigest()

    def flush(self) -> None:
        """Nothing to do: writes are not buffered."""

    def close(self) -> None:
        """Give the file and the open transfer back."""
        if self.incoming is not None:
            self.incoming.close()
        self._registry.end(self)


class Transfers:
    """The transfers in progress. The ledger is told when each starts, moves and ends."""

    def __init__(self, spool: Spool, ledger: IngestLedger, *, digests: bool = False) -> None:
        self._spool = spool
        self._ledger = ledger
        self._digests = digests
        self._lock = threading.Lock()  # guards the two collections below
        self._seen_bytes: dict[Transfer, int] = {}
        self._ended_ids: set[int] = set()
        self._stopped = Rounds()

    @property
    def is_turning(self) -> bool:
        """Whether the ledger is still told of what arrives; without it studies close too soon."""
        return not self._stopped.silent(lambda _name: _ROUND_WITHIN_S)

    def start(self) -> None:
        """Forget what a crashed process left open, and begin to report progress."""
        self._ledger.arrivals.close_all_transfers()
        threading.Thread(target=self._report, name="transfers", daemon=True).start()

    def stop(self) -> None:
        """Stop reporting; the last ended transfers are closed in the ledger."""
        self._stopped.set()
        self._close_ended()

    def open(self, calling_ae: str, peer: str, header: bytes | Refused) -> Transfer:
        """A transfer that takes the bytes of a C-STORE, or that drops them and says why."""
        transfer = Transfer(self, calling_ae, peer, self._digests)
        with self._lock:
            self._seen_bytes[transfer] = 0
        try:
            if isinstance(header, Refused):
                raise header
            if self._ledger.switches.is_paused(INTAKE):
                raise Refused(Why.PAUSED, "intake is paused: send again later")
            transfer.transfer_id = self._ledger.arrivals.open_transfer(
                calling_ae=calling_ae, peer=peer
            )
            transfer.incoming = self._spool.receive(header)
        except (Refused, SpoolFull, SpoolFailed, SpoolUnusable, LedgerFailed) as error:
            transfer.failure = error
        return transfer

    def end(self, transfer: Transfer) -> None:
        """Close a transfer in the ledger: now, or as soon as that can be written."""
        with self._lock:
            self._seen_bytes.pop(transfer, None)
            if transfer.transfer_id is not None:
                self._ended_ids.add(transfer.transfer_id)
                transfer.transfer_id = None
        self._close_ended()

    def _report(self) -> None:
        """Once a second, touch the transfers that got bytes: their studies are not quiet."""
        looked_at = time.monotonic()
        while not self._stopped.wait(TOUCH_INTERVAL_S):
            now = time.monotonic()
            moved, looked_at = self._moved(now - looked_at), now
            try:
                for transfer_id in moved:
                    if self._stopped.is_set():
                        break
                    self._ledger.arrivals.touch_transfer(transfer_id)
                self._close_ended()
            except LedgerFailed as error:
                log.warning("ledger_failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - a thread that ends would tell nothing more
                log.error("transfers_failed", error=place_of(error), trace=trace_of(error))

    def _moved(self, within_s: float) -> list[int]:
        """Ids of the transfers that got more bytes since the last look than what trickles."""
        least = LEAST_BYTES_PER_S * within_s
        with self._lock:
            moved = [t for t, seen in self._seen_bytes.items() if t.size_bytes - seen >= least]
            self._seen_bytes = {t: t.size_bytes for t in self._seen_bytes}
            return [t.transfer_id for t in moved if t.transfer_id is not None]

    def _close_ended(self) -> None:
        with self._lock:
            waiting = list(self._ended_ids)
        for transfer_id in waiting:
            try:
                self._ledger.arrivals.close_transfer(transfer_id)
            except LedgerFailed as error:
                log.warning("ledger_failed", error=str(error))
                return  # the reporting thread tries again
            with self._lock:
                self._ended_ids.discard(transfer_id)
