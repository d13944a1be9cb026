"""How long, how many and how much the lobby lets wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LobbyLimits:
    """How long, how many, how much."""

    patience_s: float = 8.0
    """From the connection to the last byte of the A-ASSOCIATE-RQ."""
    visitors: int = 2000
    per_host: int = 1200
    """Of one address: a load balancer or a whole hospital behind one is one host."""
    held_bytes: int = 16 << 20
    """Of association requests that are not complete, all together."""


LOBBY = LobbyLimits()
