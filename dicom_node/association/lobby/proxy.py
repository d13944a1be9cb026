"""The PROXY protocol, version 2: whose connection a load balancer passes on."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEADER_BYTES = 16
"""Signature, version and command, family and transport, length of what follows."""
LONGEST_BYTES = 4096
"""Of addresses and extensions; a header is some 50 bytes, with certificates of clients more."""

_LOCAL, _PROXIED = 0x20, 0x21  # version 2 in the upper four bits
_ADDRESS_BYTES = {0x1: 4, 0x2: 16}  # IPv4, IPv6; what a Unix socket gives is no address


class NotProxied(Exception):
    """What arrived is no header of the PROXY protocol, version 2."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from."""

    address: IPv4Address | IPv6Address
    port: int


def length_of_rest(header: bytes) -> int:
    """How many bytes follow the first sixteen. Raises NotProxied."""
    if len(header) != HEADER_BYTES or not header.startswith(SIGNATURE):
        raise NotProxied
    length = int.from_bytes(header[14:16], "big")
    if header[12] not in (_LOCAL, _PROXIED) or length > LONGEST_BYTES:
        raise NotProxied
    return length


def origin(header: bytes, rest: bytes) -> Origin | None:
    """Whose connection it is; None where the proxy speaks for itself (its health check) or does
    not say. Raises NotProxied."""
    if header[12] == _LOCAL:
        return None
    size = _ADDRESS_BYTES.get(header[13] >> 4)
    if size is None:
        return None
    if len(rest) < 2 * size + 4:
        raise NotProxied
    return Origin(ip_address(rest[:size]), int.from_bytes(rest[2 * size : 2 * size + 2], "big"))
