"""The ingest process: network and spool, no model. Imports nothing that a model would need."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

import structlog

from dicom_node.association import exposure
from dicom_node.association.acceptor import Acceptor
from dicom_node.association.admission import AllowedSender
from dicom_node.association.tls.contexts import ServerTls, TlsUnusable, soon_over
from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerDamaged
from dicom_node.ledger.ledger import IngestLedger
from dicom_node.processes.heartbeat import NOBODY, Heart
from dicom_node.processes.signals import reloads
from dicom_node.services import echo
from dicom_node.services.commitment import Commitment
from dicom_node.services.store.handler import StoreHandler
from dicom_node.spool.lost_found import LostFound, LostFoundBusy
from dicom_node.spool.spool import Spool, SpoolUnusable

log = structlog.get_logger()

_LEAVING_S = 15.0
"""Longer than a listener takes to end after its drain time."""
_DESCRIPTORS = 8192
_LOOK_S = 0.5  # between two looks at whether the database is still one
_DAY_S = 86400.0
_TURNS_WITHIN_S = 5.0
"""Longer than the listener takes to turn once: it does every second, and when somebody comes."""


class ListenerFailed(Exception):
    """Nobody is heard any more: the process has to begin anew."""


class Ingest:
    """The listener with its spool and its services: `start`, then `drain`."""

    def __init__(
        self,
        *,
        ae_title: str,
        bind: str,
        port: int | None,
        senders: Sequence[AllowedSender],
        spool: Spool,
        ledger: IngestLedger,
        maximum_associations: int,
        share: int | None = None,
        proxies: Sequence[IPv4Network | IPv6Network] = (),
        tls: ServerTls | None = None,
        tls_port: int = 0,
        reporters: Mapping[str, Collection[str]] | None = None,
        requestors: Collection[str] | None = None,
    ) -> None:
        """`requestors` may ask for storage commitment, None for nobody: then no digests are made
        of what arrives."""
        self.ae_title = ae_title
        self.spool = spool
        self.ledger = ledger
        self._tls = tls
        self._store = StoreHandler(spool, ledger, digests=requestors is not None)
        commitment = Commitment(ledger.commitments, ledger.promises, reporters or {}, requestors)
        self._acceptor = Acceptor(
            ae_title=ae_title,
            bind=bind,
            port=port,
            senders=senders,
            services=(echo.service(), self._store.service, commitment.service),
            maximum_associations=maximum_associations,
            share=share,
            proxies=proxies,
            tls=tls,
            tls_port=tls_port,
        )

    @property
    def port(self) -> int | None:
        """The port without TLS, if there is one: after `start`, also when 0 was asked for."""
        return self._acceptor.port

    @property
    def tls_port(self) -> int | None:
        """The port with TLS, if there is one."""
        return self._acceptor.tls_port

    @property
    def is_listening(self) -> bool:
        """Whether anybody is heard."""
        return self._acceptor.is_listening

    @property
    def is_turning(self) -> bool:
        """Whether its threads get on; a listener that hangs is alive and hears nobody."""
        return self._acceptor.silent_s < _TURNS_WITHIN_S and self._store.is_turning

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

    def reload_tls(self) -> None:
        """Read certificates and lists again; associations that are open go on as they are."""
        if self._tls is None:
            log.info("tls_not_configured")
            return
        try:
            self._tls.reload()
        except TlsUnusable as error:
            log.error("tls_not_reloaded", reason=str(error), in_use="what was read before")
            return
        log.info("tls_reloaded")
        self.warn_of_tls()

    def warn_of_tls(self) -> None:
        """Say which certificates and lists end soon, or have ended."""
        now = datetime.now(UTC)
        for end in soon_over(self._tls.files, now) if self._tls is not None else ():
            tell = log.warning if end.at > now else log.error
            tell("tls_ends_soon" if end.at > now else "tls_ended", reason=end.told(now))

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


def _allow_many_descriptors() -> None:
    """As many as the system lets us have: 1024, what is usual, are fewer than the lobby takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _reporters(config: Config) -> dict[str, list[str]]:
    """Destinations by the AE title that reports for them."""
    found: dict[str, list[str]] = {}
    for destination in config.destinations:
        title = destination.reports_as or destination.ae_title
        found.setdefault(title, []).append(destination.name)
    return found


def _ingest_of(config: Config) -> Ingest:
    ledger = IngestLedger.open(config.ledger_at, owner=config.node.name)
    spool = Spool(
        config.spool_dir, config.node.reserve_mb * 1024 * 1024, writer=config.spool_writer
    )
    tls = config.node.tls
    return Ingest(
        ae_title=config.node.ae_title,
        bind=config.node.bind,
        port=None if tls is not None and tls.required else config.node.port,
        tls=None if tls is None else ServerTls(tls),
        tls_port=0 if tls is None else tls.port,
        senders=config.senders,
        spool=spool,
        ledger=ledger,
        maximum_associations=config.node.maximum_associations,
        share=config.node.associations_per_sender,
        proxies=config.node.proxy_networks,
        reporters=_reporters(config),
        requestors=set(config.requestors) if config.commitment.scp else None,
    )


def _tell_where(config: Config, ingest: Ingest) -> None:
    """Say who can reach the listener, and where."""
    for sentence in (*exposure.shut_out(config), *exposure.wide_open(config)):
        log.warning("listener_exposed", reason=sentence)
    where = {"port": ingest.port, "tls_port": ingest.tls_port}
    log.info("listening", ae_title=config.node.ae_title, bind=config.node.bind, **where)


def run_ingest(config: Config, stop: threading.Event, heart: Heart = NOBODY) -> None:
    """Receive until `stop` is set, then let open associations finish within the drain time.

    SIGHUP makes it read the files of TLS again. Raises TlsUnusable at the start, LedgerDamaged as
    soon as a sender had to be answered so, and ListenerFailed where nobody is heard any more.
    """
    asked = reloads()
    ingest = _ingest_of(config)
    _allow_many_descriptors()
    try:
        # What a supervisor that was killed has left drains first.
        ingest.start(stop=stop, patience_s=config.node.drain_s + _LEAVING_S)
    except SpoolUnusable:
        if stop.is_set():
            return
        raise
    _tell_where(config, ingest)
    warn_at = 0.0
    while ingest.damage is None and ingest.is_listening and not stop.wait(_LOOK_S):
        if ingest.is_turning:  # otherwise the supervisor ends this process and starts another
            heart.beat()
        if asked.is_set():
            asked.clear()
            ingest.reload_tls()
        if time.monotonic() >= warn_at:
            ingest.warn_of_tls()
            warn_at = time.monotonic() + _DAY_S
    log.info("ingest_draining")
    is_deaf = not ingest.is_listening
    ingest.drain(config.node.drain_s)
    if is_deaf:
        raise ListenerFailed("the thread that accepts connections has ended")
    if ingest.damage is not None:
        raise ingest.damage
