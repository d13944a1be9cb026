"""The listener: takes associations within its limits and hands what comes in to the services."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from dicom_node.association import hardened
from dicom_node.association.admission import (
    Admission,
    AllowedSender,
    note_aborted,
    note_accepted,
    note_released,
)
from dicom_node.association.contexts import accepted_contexts
from dicom_node.association.limits import ACCEPTED, Limits, prepare
from dicom_node.association.service import Service

log = structlog.get_logger()


class Acceptor:
    """Accepts associations of listed senders: `start`, then `drain`."""

    def __init__(
        self,
        *,
        ae_title: str,
        bind: str,
        port: int,
        senders: Sequence[AllowedSender],
        services: Sequence[Service],
        maximum_associations: int,
        limits: Limits = ACCEPTED,
    ) -> None:
        self._ae_title = ae_title
        self._address = (bind, port)
        self._services = tuple(services)
        self._limits = limits
        self._maximum = maximum_associations
        self._admission = Admission(ae_title, senders, maximum_associations)
        self._server: hardened.ReceivingServer | None = None
        self.port = port
        """The port listened on: after `start`, also when 0 was asked for."""

    def start(self) -> None:
        """Listen. Raises OSError when the address cannot be bound."""
        hardened.quiet()
        self._server = self._listen()
        self.port = int(self._server.server_address[1])
        # It looks ten times a second whether it has been told to stop.
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True
        ).start()

    def _listen(self) -> hardened.ReceivingServer:
        entity = ApplicationEntity(self._ae_title)
        prepare(entity, self._limits)
        # Its own limit counts connections that never asked for an association: ours does not.
        entity.maximum_associations = 1 << 16
        server: hardened.ReceivingServer = entity.make_server(
            self._address,
            contexts=accepted_contexts([c for s in self._services for c in s.sop_classes]),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._admission.on_requested),
                (evt.EVT_ACCEPTED, note_accepted),
                (evt.EVT_RELEASED, note_released),
                (evt.EVT_ABORTED, note_aborted),
                *(handler for service in self._services for handler in service.handlers),
            ],
            server_class=hardened.ReceivingServer,
            request_handler=hardened.ReceivingHandler,
        )
        (server.open_sink,) = [s.open_sink for s in self._services if s.open_sink is not None]
        server.ended = self._admission.ended
        server.maximum_connections = 4 * self._maximum + 64
        server.maximum_silent = self._maximum + 16
        entity._servers.append(server)  # as start_server does; shutdown() removes it
        return server

    def drain(self, timeout_s: float) -> int:
        """Refuse new associations, wait for open ones, stop listening; how many were aborted."""
        if self._server is None:
            return 0
        left = self._admission.close(timeout_s)
        for association in left:
            association.abort()
        self._server.shutdown()
        self._server = None
        for association in left:
            association.join(timeout=5)
        return len(left)
