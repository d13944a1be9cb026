"""Ports for servers of tests, which keep them while a server is stopped and started again."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

_FIRST, _EACH, _SHARES = 10_000, 2_000, 11
"""Below 32768, where Linux takes the ports of outgoing connections from: a port of there may be
taken by any of them while its server is down."""


def _mine() -> Iterator[int]:
    """Every port of this test process in turn, each process with a share of its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % _SHARES * _EACH
    start = random.randrange(_EACH)  # another run of tests may be going on beside this one
    while True:
        yield from (first + (start + k) % _EACH for k in range(_EACH))


_ports = _mine()


def free_port() -> int:
    """A TCP port nobody listens on now, and no other test process of this run is given."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")
