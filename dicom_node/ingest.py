"""The ingest process: network and spool, no model. Imports nothing that a model would need."""

from __future__ import annotations

import threading

import structlog

from dicom_node.config import Config
from dicom_node.ledger.ledger import Ledger
from dicom_node.receive import Ingest
from dicom_node.spool.spool import Spool, SpoolUnusable

log = structlog.get_logger()

_LEAVING_S = 15.0
"""Longer than a listener takes to end after its drain time."""
_LOOK_S = 0.5  # between two looks at whether the database is still one


def run_ingest(config: Config, stop: threading.Event) -> None:
    """Receive until `stop` is set, then let open associations finish within the drain time.

    Raises LedgerDamaged as soon as a sender had to be answered so.
    """
    ledger = Ledger.open(config.database_path)
    spool = Spool(config.spool_dir, config.node.reserve_mb * 1024 * 1024)
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
        pass
    log.info("ingest_draining")
    ingest.drain(config.node.drain_s)
    if ingest.damage is not None:
        raise ingest.damage
