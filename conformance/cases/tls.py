"""TLS by BCP 195 (PS3.15 B.12): versions, cipher suites, and certificates of whoever asks."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from conformance.case import Case, Need
from conformance.peers import certificates
from conformance.session import Session, TlsFiles
from conformance.verdicts import Failed, Skipped, expect, expect_equal
from conformance.wire import commands
from conformance.wire.connection import Ended, Silence, associated, connect

_NEEDS = frozenset({Need.TLS})
_SECTION = "PS3.15 B.12"
_OLD = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1}
_NEW = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
Make = Callable[[TlsFiles], ssl.SSLContext]


def _files(session: Session) -> TlsFiles:
    if session.tls is None:
        raise Skipped("asked for by --tls")
    return session.tls


def _echoes(session: Session, make: Make) -> str:
    """Echo over TLS with a context; empty when it is answered, otherwise what happened."""
    target = replace(session.target, port=session.tls_port, tls=make(_files(session)))
    try:
        with associated(replace(session, target=target)) as (wire, _):
            status = commands.number(wire.echo(), commands.STATUS)
            wire.release()
    except ssl.SSLError as error:
        return f"TLS: {error.reason or error}"
    except (OSError, Ended, Silence) as error:
        return str(error) or "the connection closed"
    except Failed as failure:
        return failure.found
    return "" if status == 0 else f"C-ECHO answered {status}"


def _taken(session: Session, make: Make) -> None:
    found = _echoes(session, make)
    expect(not found, found=found, expected="an answer to C-ECHO")


def _refused(session: Session, make: Make) -> None:
    """Refused by TLS or by closing: an association must not stand. Ours must, as a comparison."""
    _taken(session, certificates.client_context)
    found = _echoes(session, make)
    expect(found, found="an answer to C-ECHO", expected="no association")


def _version(session: Session, version: str, *, is_taken: bool) -> None:
    made = partial(certificates.client_context, version={**_OLD, **_NEW}[version])
    if is_taken:
        _taken(session, made)
    else:
        _refused(session, made)


def _newest(session: Session) -> None:
    target = replace(session.target, port=session.tls_port)
    target = replace(target, tls=certificates.client_context(_files(session)))
    with connect(replace(session, target=target)) as wire:
        found = wire.socket.version() if isinstance(wire.socket, ssl.SSLSocket) else None
    expect_equal(found, "TLSv1.3", "version")


def _one_strong(session: Session) -> None:
    """Which suites there are depends on the key of the node's certificate: one is enough."""
    taken = [
        suite
        for suite in certificates.STRONG
        if not _echoes(session, partial(certificates.client_context, version=_NEW["1.2"],
                                        ciphers=suite))
    ]  # fmt: skip
    expect(taken, found="none of the suites of RFC 9325 4.2", expected="at least one")


def _weak(session: Session, ciphers: str) -> None:
    _refused(
        session,
        partial(certificates.client_context, version=_NEW["1.2"], ciphers=ciphers),
    )


def _none(session: Session) -> None:
    if _files(session).client is None:
        raise Skipped("needs --tls-client: without it nothing tells that one is asked for")
    _refused(session, partial(certificates.client_context, shows_certificate=False))


def _foreign(session: Session) -> None:
    if _files(session).client is None:
        raise Skipped("needs --tls-client: without it nothing tells that one is asked for")
    with tempfile.TemporaryDirectory() as folder:
        pair = certificates.foreign(Path(folder))
        _refused(session, partial(certificates.client_context, pair=pair))


def _given(session: Session, which: str) -> None:
    pair = getattr(_files(session), which)
    if pair is None:
        raise Skipped(f"needs --tls-{which}: a certificate that only the site can make")
    _refused(session, partial(certificates.client_context, pair=pair))


def _plain(session: Session) -> None:
    """A request without TLS on the port for TLS."""
    target = replace(session.target, port=session.tls_port, tls=None)
    try:
        with associated(replace(session, target=target)):
            pass
    except (Failed, OSError):
        return
    raise Failed("an association without TLS", "none on the port for TLS")


def _beside_a_silent_one(session: Session) -> None:
    """A peer that connects and says nothing must not keep the next one from its handshake."""
    address = (session.target.host, session.tls_port)
    with socket.create_connection(address, timeout=session.patience_s):
        _taken(session, certificates.client_context)


CASES = (
    *(
        Case(f"tls.takes-{version}", _SECTION, f"TLS {version} is spoken",
             partial(_version, version=version, is_taken=True), _NEEDS)
        for version in _NEW
    ),
    *(
        Case(f"tls.refuses-{version}", _SECTION, f"TLS {version} is refused",
             partial(_version, version=version, is_taken=False), _NEEDS)
        for version in _OLD
    ),
    Case("tls.newest", _SECTION, "TLS 1.3 is preferred", _newest, _NEEDS),
    Case("tls.strong", _SECTION, "A recommended cipher suite of TLS 1.2 is taken", _one_strong,
         _NEEDS),
    *(
        Case(f"tls.refuses-{name}", _SECTION, f"Cipher suites are refused: {name}",
             partial(_weak, ciphers=ciphers), _NEEDS)
        for name, ciphers in certificates.WEAK.items()
    ),
    Case("tls.no-certificate", _SECTION, "Who shows no certificate is refused", _none, _NEEDS),
    Case("tls.foreign", _SECTION, "A certificate of another authority is refused", _foreign,
         _NEEDS),
    *(
        Case(f"tls.{which}", _SECTION, f"A certificate that is {which} is refused",
             partial(_given, which=which), _NEEDS)
        for which in ("expired", "revoked")
    ),
    Case("tls.plain", _SECTION, "A request without TLS is refused on the port for TLS", _plain,
         _NEEDS),
    Case("tls.silent", _SECTION, "One silent connection keeps nobody from a handshake",
         _beside_a_silent_one, _NEEDS),
)  # fmt: skip
