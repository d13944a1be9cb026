"""A DICOM service as a value: what the acceptor plugs in, whatever the service does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicom_node.sop_classes import SopClass


@dataclass(frozen=True, slots=True)
class Service:
    """SOP classes that are accepted, and what is called when something comes in for them."""

    sop_classes: tuple[SopClass, ...]
    handlers: tuple[tuple[Any, Callable[[Any], Any]], ...]
    """Event of the library and its handler."""
    open_sink: Callable[[Any, int, Any], Any] | None = None
    """Where the dataset of a C-STORE request goes while it arrives: association, context, command;
    of one service at most."""
