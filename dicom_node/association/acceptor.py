"""The listener: takes associations within its limits and hands what comes in to the services."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AddressInformation

from dicom_node.association import hardened
from dicom_node.association.admission import (
    Admission,
    AllowedSender,
    Caller,
    address_of,
    note_aborted,
    note_accepted,
    note_released,
    unspoken,
)
from dicom_node.association.contexts import accepted_contexts
from dicom_node.association.limits import ACCEPTED, Limits, prepare
from dicom_node.association.lobby.doors import Door, listen
from dicom_node.association.lobby.limits import LOBBY, LobbyLimits
from dicom_node.association.lobby.lobby import Lobby
from dicom_node.association.lobby.repeats import Repeats
from dicom_node.association.lobby.visitor import Entrant
from dicom_node.association.service import Service
from dicom_node.association.tls.contexts import ServerTls
from dicom_node.association.wire import ABORT, Malformed, titles

log = structlog.get_logger()


class Acceptor:
    """Accepts associations of listed senders: `start`, then `drain`."""

    def __init__(
        self,
        *,
        ae_title: str,
        bind: str,
        port: int | None,
        senders: Sequence[AllowedSender],
        services: Sequence[Service],
        maximum_associations: int,
        share: int | None = None,
        proxies: Sequence[IPv4Network | IPv6Network] = (),
        tls: ServerTls | None = None,
        tls_port: int = 0,
        limits: Limits = ACCEPTED,
        lobby_limits: LobbyLimits = LOBBY,
    ) -> None:
        self._ae_title = ae_title
        self._bind = bind
        self._services = tuple(services)
        self._limits = limits
        self._lobby_limits = lobby_limits
        self._proxies = tuple(proxies)
        self._admission = Admission(ae_title, senders, maximum_associations, share)
        self._repeats = Repeats()
        self._associations: dict[Caller, Any] = {}
        self._tls = tls
        self._lobby: Lobby | None = None
        self._server: hardened.ReceivingServer | None = None
        self.port = port
        """The port without TLS, None where there is none: after `start`, also when 0 was asked
        for."""
        self.tls_port = tls_port if tls is not None else None
        """The port with TLS, in the same way."""

    def start(self) -> None:
        """Listen. Raises OSError when the address cannot be bound."""
        hardened.quiet()
        address = AddressInformation.from_tuple((self._bind, 0))
        doors = []
        with contextlib.ExitStack() as undo:
            for port, tls in ((self.port, None), (self.tls_port, self._tls)):
                if port is not None:
                    door = Door(listen(address.address_family, (address.address, port)), tls)
                    undo.callback(door.sock.close)
                    doors.append(door)
            undo.pop_all()
        for door in doors:
            port = int(door.sock.getsockname()[1])
            self.port, self.tls_port = (self.port, port) if door.tls else (port, self.tls_port)
        self._server = self._library_server((address.address, self.port or self.tls_port or 0))
        self._lobby = Lobby(
            doors,
            decide=self._decide,
            admit=self._admit,
            proxies=self._proxies,
            limits=self._lobby_limits,
        )
        self._lobby.start()

    def _library_server(self, address: tuple[str, int]) -> hardened.ReceivingServer:
        entity = ApplicationEntity(self._ae_title)
        prepare(entity, self._limits)
        # Its own limit counts whoever it has a thread for; ours is the admission's.
        entity.maximum_associations = 1 << 16
        server: hardened.ReceivingServer = entity.make_server(
            address,
            contexts=accepted_contexts([c for s in self._services for c in s.sop_classes]),
            evt_handlers=[
                (evt.EVT_ACCEPTED, note_accepted),
                (evt.EVT_RELEASED, note_released),
                (evt.EVT_ABORTED, note_aborted),
                *(handler for service in self._services for handler in service.handlers),
            ],
            server_class=hardened.ReceivingServer,
        )
        (server.open_sink,) = [s.open_sink for s in self._services if s.open_sink is not None]
        server.operations = {c.uid: s.operations for s in self._services for c in s.sop_classes}
        server.ended = self._ended
        return server

    def _decide(self, entrant: Entrant) -> bytes | None:
        """Count the association as open and give None, or the bytes that refuse it."""
        named = titles(entrant.request)
        if named is None:
            return ABORT
        caller = Caller(*named, address_of(entrant.host), entrant.certificate)
        try:
            refusal = unspoken(entrant.request) or self._admission.decide(caller)
        except Malformed:
            return ABORT
        if refusal is None:
            entrant.caller = caller
            return None
        kept_back = self._repeats.due(entrant.host)
        if kept_back is not None:
            log.warning(
                "association_refused",
                calling_ae=caller.calling_ae,
                called_ae=caller.called_ae,
                peer=str(caller.peer),
                reason=refusal.reason,
                **refusal.fields,
                **({"lines_kept_back": kept_back} if kept_back else {}),
            )
        return refusal.rejection.encoded()

    def _admit(self, entrant: Entrant) -> None:
        """Begin the association; its two threads take over the connection."""
        server, caller = self._server, entrant.caller
        assert server is not None
        assert caller is not None
        with contextlib.ExitStack() as undo:
            undo.callback(entrant.sock.close)
            undo.callback(self._admission.ended, caller)
            association = server.prepare(entrant)
            self._associations[caller] = association
            undo.callback(self._associations.pop, caller)
            association.start()
            undo.pop_all()

    def _ended(self, caller: Caller) -> None:
        self._associations.pop(caller, None)
        self._admission.ended(caller)

    @property
    def is_listening(self) -> bool:
        """Whether new associations are taken, or refused: False once the lobby has failed."""
        return self._lobby is not None and self._lobby.is_open

    @property
    def silent_s(self) -> float:
        """For how long nobody has looked after those who want to associate."""
        return 0.0 if self._lobby is None else self._lobby.silent_s

    def drain(self, timeout_s: float) -> int:
        """Refuse new associations, wait for open ones, stop listening; how many were aborted."""
        if self._lobby is None:
            return 0
        callers = self._admission.close(timeout_s)
        left = [a for c in callers if (a := self._associations.get(c)) is not None]
        for association in left:
            association.abort()
        self._lobby.close()
        self._lobby = self._server = None
        for association in left:
            association.join(timeout=5)
        return len(left)
