"""What every association has, those we accept and those we ask for: limits, and who we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_node import implementation


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


def prepare(entity: Any, limits: Limits) -> None:
    """Give an application entity of the library its limits, and let it say who we are (PS3.7
    D.3.3.2) and not whose library we use."""
    entity.implementation_class_uid = implementation.CLASS_UID
    entity.implementation_version_name = implementation.VERSION_NAME
    entity.maximum_pdu_size = limits.pdu_bytes
    entity.connection_timeout, entity.acse_timeout = limits.connect_s, limits.acse_s
    entity.dimse_timeout, entity.network_timeout = limits.dimse_s, limits.network_s
