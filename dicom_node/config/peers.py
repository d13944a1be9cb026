"""Keys of those who send, and of those who get the results."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import Field, field_validator

from dicom_node.config.fields import AETitle, CertificatePin, Port, Section
from dicom_node.config.tls import DestinationTls


class Sender(Section):
    """A peer that may send to the node: calling AE title and the networks it may come from."""

    ae_title: AETitle
    """The calling AE title; 1 to 16 characters."""
    networks: Annotated[tuple[IPv4Network | IPv6Network, ...], Field(min_length=1)]
    """In CIDR form, such as `10.0.0.0/8`; the peer's address must lie in one of them."""
    certificate: tuple[CertificatePin, ...] = ()
    """`dns:NAME` or `sha256:FINGERPRINT`, one or a list: the certificate that it has to show. An AE
    title is no proof of who speaks; with this the sender is taken over TLS only."""

    @field_validator("certificate", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Destination(Section):
    """A PACS that gets the results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    """What log and commands call it; 1 to 32 characters."""
    ae_title: AETitle
    """The called AE title; 1 to 16 characters."""
    host: str
    """Host name or IP address."""
    port: Port
    """TCP port, 1 to 65535."""
    calling_ae_title: AETitle | None = None
    """AE title we call from, 1 to 16 characters; the node's own by default."""
    tls: DestinationTls | None = None
    """`[destinations.tls]` below the destination; without it nothing is encrypted."""
