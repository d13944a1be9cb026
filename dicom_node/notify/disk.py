"""How much room is left where the node keeps its data: told early, and again when it is gone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_MB = 1024 * 1024
_LEAST_MB = 4
"""Without a reserve: what a study needs to begin."""
_HYSTERESIS = 1.1
"""A level is left when a tenth more is free than where it began: no word for every file."""


class Room(StrEnum):
    """How a disk stands."""

    ENOUGH = "enough"
    LOW = "disk_low"
    """Nothing is refused yet."""
    NONE = "disk_full"
    """The reserve is reached: C-STORE is answered A700."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes free below which a disk is low, and below which it is full."""

    low: int
    full: int

    @classmethod
    def of(cls, total_bytes: int, reserve_mb: int, warn_free_percent: float) -> Limits:
        """Low is a share of the disk, and never less than half above the reserve."""
        full = max(reserve_mb, _LEAST_MB) * _MB
        return cls(max(int(total_bytes * warn_free_percent / 100), full * 3 // 2), full)


def room_of(free_bytes: int, limits: Limits, before: Room = Room.ENOUGH) -> Room:
    """How a disk stands that stood so `before`."""
    full = limits.full * (_HYSTERESIS if before is Room.NONE else 1)
    low = limits.low * (_HYSTERESIS if before is not Room.ENOUGH else 1)
    if free_bytes < full:
        return Room.NONE
    return Room.LOW if free_bytes < low else Room.ENOUGH


def look(folder: Path, reserve_mb: int, warn_free_percent: float, before: Room) -> tuple[Room, int]:
    """How the disk of a folder stands, and its free mebibytes. Raises OSError."""
    usage = shutil.disk_usage(folder)
    limits = Limits.of(usage.total, reserve_mb, warn_free_percent)
    return room_of(usage.free, limits, before), usage.free // _MB
