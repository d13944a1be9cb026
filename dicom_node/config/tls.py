"""Keys of TLS: what the node shows, and what it asks of others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from dicom_node.config.fields import Port, Section, TlsProfile


class NodeTls(Section):
    """TLS for senders: a port of its own beside the plain one, or in its place."""

    certificate: Path
    """File in PEM: the node's certificate, then those it was issued by, if any."""
    key: Path
    """File in PEM: the key of the certificate."""
    password_file: Path | None = None
    """File whose first line is the password of the key."""
    port: Port = 2762
    """TCP port that speaks TLS, 1 to 65535."""
    required: bool = False
    """Whether the port without TLS stays closed."""
    client_certificates: Literal["required", "none"] = "required"
    """Whether senders have to show a certificate that `client_ca` or what it issued has signed."""
    client_ca: Path | None = None
    """File in PEM: CA certificates that those of senders are verified by."""
    crl: Path | None = None
    """File in PEM: revocation lists of the CA certificates; whoever is on one is refused."""
    profile: TlsProfile = "bcp195"
    """`bcp195` is PS3.15 B.12; `bcp195-modified` adds the further ciphers of B.13."""

    @model_validator(mode="after")
    def _has_a_ca_where_it_needs_one(self) -> Self:
        if (self.client_certificates == "required") != (self.client_ca is not None):
            raise ValueError('expected client_ca, or client_certificates = "none"')
        if self.crl is not None and self.client_ca is None:
            raise ValueError("found crl without client_ca")
        return self


class DestinationTls(Section):
    """TLS to a destination: its certificate and name are verified."""

    ca: Path
    """File in PEM: CA certificates that the destination's certificate is verified by."""
    peer_name: str | None = None
    """Name or address that its certificate has to hold; `host` by default."""
    certificate: Path | None = None
    """File in PEM: the certificate that the node shows, then those it was issued by, if any."""
    key: Path | None = None
    """File in PEM: the key of the certificate."""
    password_file: Path | None = None
    """File whose first line is the password of the key."""
    crl: Path | None = None
    """File in PEM: revocation lists of the CA certificates."""
    profile: TlsProfile = "bcp195"
    """`bcp195` is PS3.15 B.12; `bcp195-modified` adds the further ciphers of B.13."""

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("expected both certificate and key, or none of them")
        return self
