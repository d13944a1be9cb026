"""What `dicom-node check` says of the listener: doors, certificates, who may come in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dicom_node.association import exposure
from dicom_node.association.tls.contexts import (
    TlsUnusable,
    client_context,
    server_context,
    soon_over,
)
from dicom_node.commands.screen.findings import Finding
from dicom_node.config.tls import DestinationTls, NodeTls
from dicom_node.config.whole import Config


def listener(config: Config) -> Iterator[Finding]:
    """Where it listens, what is wrong with its certificates, and what is wide open."""
    yield Finding("listener", True, exposure.listens(config))
    for sentence in exposure.shut_out(config):
        yield Finding("senders", False, sentence)
    for sentence in exposure.wide_open(config):
        yield Finding("listener", True, sentence, warns=True)
    if config.node.tls is not None:
        yield from files("tls", config.node.tls)
    for destination in config.destinations:
        if destination.tls is not None:
            yield from files(destination.name, destination.tls)


def files(what: str, tls: NodeTls | DestinationTls) -> Iterator[Finding]:
    """Whether certificates, keys and lists are of use, and for how long."""
    try:
        server_context(tls) if isinstance(tls, NodeTls) else client_context(tls)
    except TlsUnusable as error:
        yield Finding(what, False, str(error))
        return
    now = datetime.now(UTC)
    soon = list(soon_over(tls, now))
    for end in soon:
        yield Finding(what, end.at > now, end.told(now), warns=end.at > now)
    if tls.certificate is not None and not soon:
        yield Finding(what, True, f"certificate, key and CA of TLS can be used: {tls.certificate}")
