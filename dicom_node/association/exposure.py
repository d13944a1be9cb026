"""What a configuration opens to others, for people: where it listens, and what is wide open."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.whole import Config

_EVERYWHERE = ("", "0.0.0.0", "::")


def listens(config: Config) -> str:
    """Where the node listens, and what whoever comes has to show."""
    node = config.node
    doors = []
    if node.tls is None or not node.tls.required:
        doors.append(f"port {node.port} without TLS")
    if node.tls is not None:
        profile = "PS3.15 B.12" if node.tls.profile == "bcp195" else "PS3.15 B.12 and B.13"
        asked = "asks" if node.tls.client_ca is not None else "does not ask"
        doors.append(
            f"port {node.tls.port} with TLS 1.2 and 1.3 ({profile}), {asked} for certificates"
        )
    line = f"{node.ae_title} on {node.bind or 'all addresses'}: {'; '.join(doors)}"
    if node.proxy_networks:
        line += f"; behind proxies in {', '.join(map(str, node.proxy_networks))}"
    return line


def shut_out(config: Config) -> Iterator[str]:
    """Sentences about senders that can never get in."""
    tls = config.node.tls
    asks = tls is not None and tls.client_ca is not None
    for sender in config.senders:
        if sender.certificate and not asks:
            yield (
                f"{sender.ae_title} has to show a certificate, and nobody is asked for one: add "
                "[node.tls] with client_ca"
            )


def wide_open(config: Config) -> Iterator[str]:
    """Sentences about what is more open than a hospital should leave it."""
    node, tls = config.node, config.node.tls
    if node.bind in _EVERYWHERE and not (tls is not None and tls.required):
        yield (
            "it listens on all addresses of this machine, and without TLS: bind it to the address "
            "that senders reach, or set required in [node.tls]"
        )
    if tls is not None and tls.client_ca is None:
        yield (
            "senders show no certificate: TLS hides what they send, and not who they are; set "
            "client_ca in [node.tls]"
        )
    for sender in config.senders:
        if not sender.certificate and any(not n.prefixlen for n in sender.networks):
            yield (
                f"anybody may send who calls himself {sender.ae_title}, from any address: name its "
                "networks or its certificate"
            )
