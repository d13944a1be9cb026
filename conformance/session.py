"""Whom a run talks to, and what it was allowed to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from conformance.pacs import ResultsPacs

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for the cases about TLS: a pair is certificate and key."""

    authority: Path
    """Who signed the node's certificate."""
    client: tuple[Path, Path] | None = None
    """What we show, where the node wants it."""
    expired: tuple[Path, Path] | None = None
    revoked: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The node under test, and who we say we are."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    tls: ssl.SSLContext | None = None
    """Set where every case goes over TLS."""


@dataclass(slots=True)
class Session:
    """What a case is given."""

    target: Target
    patience_s: float = 15.0
    """How long an answer, or the end of a connection, is waited for."""
    results: ResultsPacs | None = None
    results_s: float = 300.0
    """How long the results of a study are waited for."""
    quiet_s: float = 40.0
    """Longer than the node waits after the last byte before it closes a study."""
    tls_port: int = 2762
    tls: TlsFiles | None = None
    most_associations: int = 300
    """So many are tried to find the node's limit."""
    large_bytes: int = (4 << 30) + (1 << 20)
    _once: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """A value that several cases share, made by the first that asks; so is its failure."""
        if name not in self._once:
            try:
                self._once[name] = make()
            except Exception as error:
                self._once[name] = error
                raise
        value: T = self._once[name]
        if isinstance(value, Exception):
            raise value
        return value
