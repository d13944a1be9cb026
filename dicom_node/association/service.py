"""A DICOM service as a value: what the acceptor plugs in, whatever the service does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dicom_node.sop_classes import SopClass


class Sink(Protocol):
    """Where the dataset of one C-STORE goes while it arrives."""

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append dataset bytes; never raises."""

    def close(self) -> None:
        """Give everything back that was not kept."""


@dataclass(frozen=True, slots=True)
class Service:
    """SOP classes that are accepted, and what is called when something comes in for them."""

    sop_classes: tuple[SopClass, ...]
    handlers: tuple[tuple[Any, Callable[[Any], Any]], ...]
    """Event of the library and its handler."""
    open_sink: Callable[[Any, int, Any], Any] | None = None
    """Where the dataset of a C-STORE request goes while it arrives: association, context, command;
    of one service at most."""

    @property
    def operations(self) -> frozenset[str]:
        """DIMSE operations that are served, such as C_STORE: those with a handler. Without any it
        is C_ECHO, which the library answers by itself."""
        names = (event.name.removeprefix("EVT_") for event, _ in self.handlers)
        return frozenset(names) or frozenset({"C_ECHO"})
