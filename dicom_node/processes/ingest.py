"""The ingest process: network and spool, no model. Imports nothing that a model would need."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from dicom_node.association.acceptor import Acceptor
from dicom_node.association.admission import AllowedSender
from dicom_node.config import Config
from dicom_node.ledger.errors import LedgerDamaged
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.processes.heartbeat import NOBODY, Heart
from dicom_node.services import echo
from dicom_node.services.store.handler import StoreHandler
from dicom_node.spool.lost_found import LostFound, LostFoundBusy
from dicom_node.spool.spool import Spool, SpoolUnusable

log = structlog.get_logger()

_LEAVING_S = 15.0
"""Longer than a listener takes to end after its drain time."""
_LOOK_S = 0.5  # between two looks at whether the database is still one


class Ingest:
    """The listener with its spool and its services: `start`, then `drain`."""

    def __init__(
        self,
        *,
        ae_title: str,
        bind: str,
        port: int,
        senders: Sequence[AllowedSender],
        spool: Spool,
        ledger: IngestLedger,
        maximum_associations: int,
    ) -> None:
        self.ae_title = ae_title
        self.spool = spool
        self.ledger = ledger
        self._store = StoreHandler(spool, ledger)
        self._acceptor = Acceptor(
            ae_title=ae_title,
            bind=bind,
            port=port,
            senders=senders,
            services=(echo.service(), self._store.service),
            maximum_associations=maximum_associations,
        )

    @property
    def port(self) -> int:
        """The port listened on: after `start`, also when 0 was asked for."""
        return self._acceptor.port

    @property
    def damage(self) -> LedgerDamaged | None:
        """Why no instance can be kept any more."""
        return self._store.damage

    def start(self, *, stop: threading.Event | None = None, patience_s: float = 0.0) -> None:
        """Claim the spool, put aside what the ledger does not know, and listen.

        Another receiver is waited for, at most `patience_s` and until `stop` is set. Raises
        SpoolUnusable, LedgerBusy, LedgerDamaged, or OSError when the address cannot be bound.
        """
        self.spool.claim(stop=stop, patience_s=patience_s)
        moved = self._sweep()
        self._store.start()
        self._acceptor.start()
        log.info("ingest_started", ae_title=self.ae_title, port=self.port, unknown_files=moved)

    def _sweep(self) -> int:
        """Move files without a ledger row to lost+found; how many, now."""
        lost_found = LostFound(self.spool)
        moved = 0
        try:
            moved = lost_found.sweep(self.ledger.arrivals.known_paths)
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

    def drain(self, timeout_s: float) -> bool:
        """Refuse new associations, wait for open ones, stop. False if some had to be aborted."""
        aborted = self._acceptor.drain(timeout_s)
        self._store.stop()
        self.spool.release()
        log.info("ingest_stopped", aborted_associations=aborted)
        return not aborted


def run_ingest(config: Config, stop: threading.Event, heart: Heart = NOBODY) -> None:
    """Receive until `stop` is set, then let open associations finish within the drain time.

    Raises LedgerDamaged as soon as a sender had to be answered so.
    """
    ledger = IngestLedger.open(config.ledger_at, owner=config.node.name)
    spool = Spool(
        config.spool_dir, config.node.reserve_mb * 1024 * 1024, writer=config.spool_writer
    )
    ingest = Ingest(
        ae_title=config.node.ae_title,
        bind=config.node.bind,
        port=config.node.port,
        senders=config.senders,
        spool=spool,
        ledger=ledger,
        maximum_associations=config.node.maximum_associations,
    )
    try:
        # What a supervisor that was killed has left drains first.
        ingest.start(stop=stop, patience_s=config.node.drain_s + _LEAVING_S)
    except SpoolUnusable:
        if stop.is_set():
            return
        raise
    log.info("listening", ae_title=config.node.ae_title, bind=config.node.bind, port=ingest.port)
    while ingest.damage is None and not stop.wait(_LOOK_S):
        heart.beat()
    log.info("ingest_draining")
    ingest.drain(config.node.drain_s)
    if ingest.damage is not None:
        raise ingest.damage
