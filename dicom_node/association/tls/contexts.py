"""TLS by the profiles of PS3.15 B.12 and B.13: contexts from files, and what is wrong with them."""

from __future__ import annotations

import contextlib
import operator
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicom_node.association.tls.certificates import (
    NotReadable,
    PeerCertificate,
    ends_of_certificates,
    ends_of_lists,
)
from dicom_node.config.fields import TlsProfile
from dicom_node.config.tls import DestinationTls, NodeTls
from dicom_node.observe.log import os_reason

WARNED_BEFORE = timedelta(days=30)

_BCP_195 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)
_CIPHERS: dict[TlsProfile, str] = {
    "bcp195": _BCP_195,
    "bcp195-modified": f"{_BCP_195}:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES256-CCM8:ECDHE-ECDSA-AES128-CCM8",
}
"""Of TLS 1.2 (RFC 9325 4.2; PS3.15 B.13). Those of TLS 1.3 are OpenSSL's: Python sets none."""


class TlsUnusable(Exception):
    """Files that no TLS can be made of; the message says which, and why."""


class TlsFailed(ConnectionError):
    """A peer and we did not agree on TLS; the message says why, in OpenSSL's fixed words."""


class ServerTls:
    """The context for connections that come in: new ones get the newest that could be made."""

    def __init__(self, files: NodeTls) -> None:
        """Raises TlsUnusable."""
        self.files = files
        self.context = server_context(files)

    def reload(self) -> None:
        """Read the files again. Raises TlsUnusable, and then keeps what is in use."""
        self.context = server_context(self.files)


def server_context(files: NodeTls) -> ssl.SSLContext:
    """For associations that come in. Raises TlsUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, files.profile)
    context.num_tickets = 0  # a ticket that the peer does not read turns its close into a reset
    _load_own(context, files.certificate, files.key, files.password_file)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_trust(context, files.client_ca, files.crl)
    return context


def client_context(files: DestinationTls) -> ssl.SSLContext:
    """For an association that we ask for; the peer's name is checked. Raises TlsUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
    _harden(context, files.profile)
    if files.certificate is not None and files.key is not None:
        _load_own(context, files.certificate, files.key, files.password_file)
    _load_trust(context, files.ca, files.crl)
    return context


def _harden(context: ssl.SSLContext, profile: TlsProfile) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS[profile])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_own(
    context: ssl.SSLContext, certificate: Path, key: Path, password_file: Path | None
) -> None:
    for file in (certificate, key):
        _read(file)
    password = _read(password_file).partition(b"\n")[0].rstrip(b"\r") if password_file else b""
    try:
        # A password that is a function is never asked for on a terminal.
        context.load_cert_chain(certificate, key, password=lambda: password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            why = f"{key} is not the key of {certificate}"
        elif getattr(error, "reason", "") in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            why = f"{certificate} has too short a key or too weak a signature"
        else:
            why = (
                f"expected a certificate in PEM in {certificate} and its key in PEM in {key}, "
                "without a password or with that of password_file"
            )
        raise TlsUnusable(why) from error


def _load_trust(context: ssl.SSLContext, ca: Path, crl: Path | None) -> None:
    _load(context, ca, "CA certificates")
    if not context.cert_store_stats()["x509"]:
        raise TlsUnusable(f"expected CA certificates in PEM in {ca}")
    if crl is not None:
        _load(context, crl, "a revocation list")
        if not context.cert_store_stats()["crl"]:
            raise TlsUnusable(f"expected a revocation list in PEM in {crl}")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _load(context: ssl.SSLContext, file: Path, what: str) -> None:
    _read(file)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise TlsUnusable(f"expected {what} in PEM in {file}") from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{file}: cannot be read: {error.strerror}") from error


def peer_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """What the peer has shown in the handshake; None where none was asked for."""
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    told: Any = tls.getpeercert() or {}
    return PeerCertificate.of(der, told.get("subjectAltName", ()))


def reason_of(error: OSError) -> str:
    """Why a handshake failed, in the fixed words of OpenSSL or of the operating system."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, TimeoutError):
        return "no answer in the handshake"
    if not isinstance(error, ssl.SSLError):
        return os_reason(error)
    return (error.reason or type(error).__name__).replace("_", " ").lower()


@dataclass(frozen=True, slots=True)
class End:
    """When a certificate or a revocation list is over."""

    what: str
    file: Path
    at: datetime

    def told(self, now: datetime) -> str:
        """The sentence for people."""
        days = (self.at - now).days
        when = f"ends on {self.at:%Y-%m-%d}, in {days} days"
        if self.at <= now:
            when = f"ended on {self.at:%Y-%m-%d}"
        what = f"the {self.what} in {self.file} {when}"
        return f"{what}: renew it; SIGHUP makes a running node read it"


def ends(files: NodeTls | DestinationTls) -> Iterator[End]:
    """When each of the files is over.

    Of CA certificates the last to end counts: the others are being replaced by it. Files that
    cannot be read are passed over: making a context says what is wrong with them.
    """
    ca = files.client_ca if isinstance(files, NodeTls) else files.ca
    # A file holds the own certificate first, then those that it was issued by.
    readers = (
        (files.certificate, ends_of_certificates, "certificate", operator.itemgetter(0)),
        (ca, ends_of_certificates, "CA certificate", max),
        (files.crl, ends_of_lists, "revocation list", min),
    )
    for file, read, what, which in readers:
        if file is None:
            continue
        with contextlib.suppress(OSError, NotReadable):
            yield End(what, file, which(read(file.read_bytes())))


def soon_over(files: NodeTls | DestinationTls, now: datetime | None = None) -> Iterator[End]:
    """What is over in 30 days, or is over."""
    moment = now or datetime.now(UTC)
    return (end for end in ends(files) if end.at - moment < WARNED_BEFORE)
