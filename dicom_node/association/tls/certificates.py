"""How long certificates and revocation lists are good for, and whose a peer's certificate is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

_BLOCK = re.compile(
    rb"-----BEGIN (?P<kind>X509 CRL|CERTIFICATE)-----(?P<text>[^-]*)-----END (?P=kind)-----"
)
_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


class NotReadable(Exception):
    """Bytes that are no certificate or revocation list in PEM."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What the certificate of a peer says of it; its chain was verified in the handshake."""

    dns: frozenset[str]
    """Names of Subject Alternative Name, in lower case."""
    sha256: str
    """Fingerprint, in lower-case hexadecimal digits."""

    @classmethod
    def of(cls, der: bytes, names: tuple[tuple[str, str], ...]) -> PeerCertificate:
        """The certificate in DER, and its alternative names as Python's `ssl` gives them."""
        dns = frozenset(value.lower() for kind, value in names if kind == "DNS")
        return cls(dns, hashlib.sha256(der).hexdigest())

    def matches(self, pin: str) -> bool:
        """Whether it is the one meant by `dns:NAME` or `sha256:DIGITS`."""
        kind, _, value = pin.partition(":")
        return value == self.sha256 if kind == "sha256" else value in self.dns


def ends_of_certificates(pem: bytes) -> list[datetime]:
    """Not After of every certificate of a file, in its order (RFC 5280 4.1.2.5).

    Raises NotReadable, also where there is none.
    """
    return _ends(pem, b"CERTIFICATE", _not_after)


def ends_of_lists(pem: bytes) -> list[datetime]:
    """Next Update of every revocation list of a file (RFC 5280 5.1.2.5). Raises NotReadable."""
    return _ends(pem, b"X509 CRL", _next_update)


def _ends(pem: bytes, kind: bytes, end_of: Callable[[_Der], datetime]) -> list[datetime]:
    found = []
    for block in _BLOCK.finditer(pem):
        if block["kind"] != kind:
            continue
        try:
            der = base64.b64decode(b"".join(block["text"].split()), validate=True)
            found.append(end_of(_Der(der).inside().inside()))
        except (binascii.Error, IndexError, ValueError) as error:
            raise NotReadable from error
    if not found:
        raise NotReadable
    return found


def _not_after(signed: _Der) -> datetime:
    """Of TBSCertificate: version, serial, signature, issuer, then the two times."""
    tag, _ = signed.next()
    if tag == _VERSION:
        tag, _ = signed.next()
    if tag != _INTEGER:
        raise NotReadable
    signed.next()
    signed.next()
    validity = signed.inside()
    validity.next()
    return _time(*validity.next())


def _next_update(signed: _Der) -> datetime:
    """Of TBSCertList: version, signature, issuer, this update, next update."""
    tag, _ = signed.next()
    if tag == _INTEGER:
        signed.next()
    signed.next()
    signed.next()
    return _time(*signed.next())


def _time(tag: int, content: bytes) -> datetime:
    """UTCTime or GeneralizedTime (RFC 5280 4.1.2.5.1: two digits of a year from 50 on are 19xx)."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise NotReadable
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


@dataclass(slots=True)
class _Der:
    """Elements of DER, one after the other (X.690 8.1)."""

    data: bytes
    at: int = 0

    def next(self) -> tuple[int, bytes]:
        """Tag and content of the next element."""
        tag, length = self.data[self.at], self.data[self.at + 1]
        start = self.at + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(self.data[start : start + size], "big")
            start += size
        self.at = start + length
        if self.at > len(self.data):
            raise NotReadable
        return tag, self.data[start : self.at]

    def inside(self) -> _Der:
        """The elements of the next one, a sequence."""
        tag, content = self.next()
        if tag != _SEQUENCE:
            raise NotReadable
        return _Der(content)
