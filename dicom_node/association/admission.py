"""Who may open an association: listed calling AE titles from listed networks, nobody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol

import structlog

from dicom_node.association.tls.certificates import PeerCertificate
from dicom_node.association.wire import (
    APPLICATION_CONTEXT,
    APPLICATION_CONTEXT_UNKNOWN,
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTION,
    LIMIT_EXCEEDED,
    VERSION_UNKNOWN,
    Rejection,
    application_context,
    speaks_our_version,
)

log = structlog.get_logger()


class AllowedSender(Protocol):
    """A peer that may send: its calling AE title and the networks it may come from."""

    @property
    def ae_title(self) -> str:
        """Calling AE title."""

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks it may connect from."""

    @property
    def certificate(self) -> tuple[str, ...]:
        """Certificates of which it has to show one, `dns:NAME` or `sha256:DIGITS`; () for any."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ, and the log fields that tell an administrator what to do about it."""

    rejection: Rejection
    reason: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Caller:
    """Who asks for an association."""

    calling_ae: str
    called_ae: str
    peer: IPv4Address | IPv6Address
    certificate: PeerCertificate | None = None
    """What it has shown, where its connection is TLS and it was asked."""


def unspoken(request: bytes) -> Refusal | None:
    """Why an A-ASSOCIATE-RQ is refused whoever sends it: it speaks another protocol.

    Raises Malformed.
    """
    if not speaks_our_version(request):
        return Refusal(VERSION_UNKNOWN, "another version of the protocol")
    name = application_context(request)
    if name != APPLICATION_CONTEXT:
        return Refusal(
            APPLICATION_CONTEXT_UNKNOWN,
            "another application context",
            {"application_context": name},
        )
    return None


class Admission:
    """Decides on association requests and counts the associations that are open."""

    def __init__(
        self,
        ae_title: str,
        senders: Sequence[AllowedSender],
        maximum: int,
        share: int | None = None,
    ) -> None:
        """`maximum` associations are open at a time, `share` of one calling AE title at most: by
        default three quarters of them where several may call, so that none shuts out the rest."""
        self._ae_title = ae_title
        self._senders = tuple(senders)
        self._maximum = maximum
        several = len({s.ae_title for s in senders}) > 1
        self._share = share or (max(1, maximum * 3 // 4) if several else maximum)
        self._closed = False
        self._open: set[Caller] = set()
        self._changed = threading.Condition()

    def decide(self, caller: Caller) -> Refusal | None:
        """Count the caller's association as open and return None, or say why it is refused."""
        refusal = self._of_sender(caller)
        if refusal is None and caller.called_ae != self._ae_title:
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
            own = sum(other.calling_ae == caller.calling_ae for other in self._open)
            if own >= self._share:
                return Refusal(
                    LIMIT_EXCEEDED,
                    f"{own} associations of this AE title are already open, its share of "
                    f"{self._maximum}",
                )
            self._open.add(caller)
        return None

    def _of_sender(self, caller: Caller) -> Refusal | None:
        known = [s for s in self._senders if s.ae_title == caller.calling_ae]
        host = _quoted(f"{caller.peer}/{caller.peer.max_prefixlen}")
        if not known:
            return Refusal(
                CALLING_AE_UNKNOWN,
                "unknown calling AE title",
                {
                    "to_allow_it_add": f"[[senders]]\nae_title = {_quoted(caller.calling_ae)}\n"
                    f"networks = [{host}]"
                },
            )
        near = [s for s in known if any(caller.peer in network for network in s.networks)]
        if not near:
            return Refusal(
                CALLING_AE_UNKNOWN,
                "known calling AE title from an address outside its networks",
                {"to_allow_it_add": f"{host} to the networks of that sender"},
            )
        shown = caller.certificate
        pins = [pin for sender in near for pin in sender.certificate]
        if not all(sender.certificate for sender in near):
            return None
        if shown is not None and any(map(shown.matches, pins)):
            return None
        if shown is None:
            return Refusal(
                CALLING_AE_UNKNOWN,
                "known calling AE title without the certificate of that sender",
                {"expected": "a connection to the TLS port"},
            )
        return Refusal(
            CALLING_AE_UNKNOWN,
            "known calling AE title with a certificate that is not that sender's",
            {"to_allow_it_add": f'"sha256:{shown.sha256}" to the certificate of that sender'},
        )

    def ended(self, caller: Caller) -> None:
        """Forget an association that is over."""
        with self._changed:
            self._open.discard(caller)
            self._changed.notify_all()

    def close(self, timeout_s: float) -> list[Caller]:
        """Refuse everybody from now on; whose associations are open after at most `timeout_s`."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._open, timeout_s)
            return list(self._open)


def _quoted(text: str) -> str:
    """A string of TOML, whatever the peer calls itself: one of JSON is, but for DEL."""
    return json.dumps(text).replace("\x7f", "\\u007f")


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
    return address_of(association.requestor.address_info.address)


def address_of(host: str) -> IPv4Address | IPv6Address:
    """An address as the system writes it; an IPv4 address also where it is mapped into IPv6."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _who(association: Any) -> dict[str, str]:
    primitive = association.requestor.primitive
    calling = primitive.calling_ae_title.strip() if primitive is not None else ""
    return {"calling_ae": calling, "peer": str(peer_of(association))}
