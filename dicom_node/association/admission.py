"""Who may open an association: listed calling AE titles from listed networks, nobody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol

import structlog

log = structlog.get_logger()


class AllowedSender(Protocol):
    """A peer that may send: its calling AE title and the networks it may come from."""

    @property
    def ae_title(self) -> str:
        """Calling AE title."""

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks it may connect from."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ, and the log fields that tell an administrator what to do about it."""

    code: tuple[int, int, int]
    """Result, source and reason of PS3.8 Table 9-21."""
    reason: str
    fields: dict[str, str] = field(default_factory=dict)


CALLING_AE_UNKNOWN = (1, 1, 3)
CALLED_AE_UNKNOWN = (1, 1, 7)
CONGESTION = (2, 3, 1)
LIMIT_EXCEEDED = (2, 3, 2)


class Admission:
    """Decides on association requests and counts the associations that are open."""

    def __init__(self, ae_title: str, senders: Sequence[AllowedSender], maximum: int) -> None:
        self._ae_title = ae_title
        self._senders = tuple(senders)
        self._maximum = maximum
        self._closed = False
        self._open: set[Any] = set()
        self._changed = threading.Condition()

    def on_requested(self, event: Any) -> None:
        """Handler of EVT_REQUESTED: reject the association, with a reason in the log, or let be."""
        association = event.assoc
        request = association.requestor.primitive
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        peer = peer_of(association)
        refusal = self.decide(association, calling_ae=calling, called_ae=called, peer=peer)
        if refusal is None:
            return
        log.warning(
            "association_refused",
            calling_ae=calling,
            called_ae=called,
            peer=str(peer),
            reason=refusal.reason,
            **refusal.fields,
        )
        association.acse.send_reject(*refusal.code)
        association.kill()  # returns when the answer is out; without it the socket is closed first

    def decide(
        self, association: Any, *, calling_ae: str, called_ae: str, peer: IPv4Address | IPv6Address
    ) -> Refusal | None:
        """Count the association as open and return None, or say why it is refused."""
        refusal = self._of_sender(calling_ae, peer)
        if refusal is None and called_ae != self._ae_title:
            refusal = Refusal(
                CALLED_AE_UNKNOWN, "wrong called AE title", {"expected_called_ae": self._ae_title}
            )
        if refusal is not None:
            return refusal
        with self._changed:
            if self._closed:
                return Refusal(CONGESTION, "the node is stopping")
            if len(self._open) >= self._maximum:
                return Refusal(LIMIT_EXCEEDED, f"{self._maximum} associations are already open")
            self._open.add(association)
        return None

    def _of_sender(self, calling_ae: str, peer: IPv4Address | IPv6Address) -> Refusal | None:
        networks = [n for s in self._senders if s.ae_title == calling_ae for n in s.networks]
        # A JSON string is a TOML basic string too: what the peer calls itself is quoted safely.
        host = json.dumps(f"{peer}/{peer.max_prefixlen}")
        if not networks:
            return Refusal(
                CALLING_AE_UNKNOWN,
                "unknown calling AE title",
                {
                    "to_allow_it_add": f"[[senders]]\nae_title = {json.dumps(calling_ae)}\n"
                    f"networks = [{host}]"
                },
            )
        if not any(peer in network for network in networks):
            return Refusal(
                CALLING_AE_UNKNOWN,
                "known calling AE title from an address outside its networks",
                {"to_allow_it_add": f"{host} to the networks of that sender"},
            )
        return None

    def ended(self, association: Any) -> None:
        """Forget an association that is over."""
        with self._changed:
            self._open.discard(association)
            self._changed.notify_all()

    def close(self, timeout_s: float) -> list[Any]:
        """Refuse everybody from now on; the associations still open after at most `timeout_s`."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._open, timeout_s)
            return list(self._open)


def note_accepted(event: Any) -> None:
    """Handler of EVT_ACCEPTED."""
    refused = sorted({str(c.abstract_syntax) for c in event.assoc.rejected_contexts})
    log.info(
        "association_accepted",
        **_who(event.assoc),
        accepted_contexts=len(event.assoc.accepted_contexts),
        refused_classes=refused,
    )


def note_released(event: Any) -> None:
    """Handler of EVT_RELEASED."""
    log.info("association_released", **_who(event.assoc))


def note_aborted(event: Any) -> None:
    """Handler of EVT_ABORTED."""
    log.warning("association_aborted", **_who(event.assoc))


def peer_of(association: Any) -> IPv4Address | IPv6Address:
    """The address of the peer; an IPv4 address also where the listener is bound to IPv6."""
    address = ip_address(association.requestor.address_info.address.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _who(association: Any) -> dict[str, str]:
    primitive = association.requestor.primitive
    calling = primitive.calling_ae_title.strip() if primitive is not None else ""
    return {"calling_ae": calling, "peer": str(peer_of(association))}
