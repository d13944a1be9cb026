"""TLS contexts of a client, and certificates that no node should trust, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from conformance.peers.dcmtk import program
from conformance.session import TlsFiles

STRONG = (
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
)
"""Cipher suites of BCP 195 (RFC 9325 4.2) for TLS 1.2, by the names of OpenSSL."""
WEAK = {
    "no-forward-secrecy": "AES128-GCM-SHA256",
    "cbc": "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA",
    "null": "NULL-SHA256:eNULL",
    "anonymous": "aNULL",
}


def client_context(
    files: TlsFiles,
    pair: tuple[Path, Path] | None = None,
    *,
    version: ssl.TLSVersion | None = None,
    ciphers: str | None = None,
    shows_certificate: bool = True,
) -> ssl.SSLContext:
    """A context that trusts the node's authority and shows `pair`, or our own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.authority)
    shown = pair or files.client
    if shows_certificate and shown is not None:
        context.load_cert_chain(*shown)
    if version is not None:
        # At their lowest security level, else old versions and weak suites are not even offered.
        context.set_ciphers(f"{ciphers or 'ALL:COMPLEMENTOFALL'}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    elif ciphers is not None:
        context.set_ciphers(ciphers)
    return context


def foreign(folder: Path) -> tuple[Path, Path]:
    """A certificate that signed itself, and its key. Raises Skipped without openssl."""
    certificate, key = folder / "foreign.pem", folder / "foreign.key"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=conformance test, trusted by nobody"]
    out = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(
        [program("openssl"), *request, *subject, *out], capture_output=True, timeout=60, check=True
    )
    return certificate, key
