"""Keys of those who send, and of those who get the results."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dicom_node.config.fields import AETitle, CertificatePin, Port, Section
from dicom_node.config.tls import DestinationTls

ObjectName = Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,31}$")]
"""A kind of result objects; which there are is known where they are made."""


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
    commitment: Literal["auto", "required", "never"] = "auto"
    """Proof that it keeps what it took. `auto`: storage commitment where it offers that, else a
    query; `required`: nothing but storage commitment counts; `never`: its answer to C-STORE is
    believed."""
    commitment_wait_s: Annotated[float, Field(gt=0)] = 3600
    """Seconds that a report of storage commitment is waited for; then a query decides."""
    objects: Annotated[tuple[ObjectName, ...], Field(min_length=1)] | None = None
    """Kinds of objects that it should get, a report among them; what is made unasked by default.
    Where it does not take one, what stands for that one is sent."""
    seg_syntax: Literal["jpeg-ls", "explicit"] = "jpeg-ls"
    """`explicit`: segmentations are sent uncompressed, also where it would take JPEG-LS: importers
    built on DCMTK refuse that."""
    heatmap_grid: Literal["tile", "level"] = "tile"
    """`level`: segmentations have the grid of a level of the slide, for viewers that lay them over
    a level of the same spacing only (Slim before 0.42); where no level fits, that of the tiles."""
    reports_as: AETitle | None = None
    """AE title that its reports come from, 1 to 16 characters; `ae_title` by default. It has to be
    among [[senders]] to report on an association of its own."""
    tls: DestinationTls | None = None
    """`[destinations.tls]` below the destination; without it nothing is encrypted."""


class Requestor(Section):
    """A sender that asks for storage commitment, and where it takes the report."""

    ae_title: AETitle
    """The calling AE title of its requests; 1 to 16 characters."""
    host: str
    """Host name or IP address."""
    port: Port
    """TCP port, 1 to 65535."""
    called_ae_title: AETitle | None = None
    """AE title that reports are sent to, 1 to 16 characters; `ae_title` by default."""
    tls: DestinationTls | None = None
    """`[commitment.requestors.tls]` below it; without it nothing is encrypted."""
