"""The doors of the lobby: sockets that listen, plain or for TLS."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from dicom_node.association.tls.contexts import ServerTls


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket."""

    sock: socket.socket
    tls: ServerTls | None = None
    """What whoever comes in here has to speak."""


def listen(family: int, address: tuple[str, int]) -> socket.socket:
    """A socket that listens. Raises OSError when the address cannot be bound."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
        undo.pop_all()
    return sock
