"""Limits of every association, those we accept and those we ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, and how long."""

    pdu_bytes: int = 128 << 10
    """Some peers mishandle more, or 0 for unlimited."""
    connect_s: float = 10.0
    acse_s: float = 10.0
    dimse_s: float = 60.0
    network_s: float = 60.0


ACCEPTED = Limits(network_s=300.0)
"""A PACS may pause for minutes between two slides."""
REQUESTED = Limits()
