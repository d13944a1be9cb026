"""A device that is lost: the process ends, its successor takes the same engine, and too often is
too often.

A lost CUDA context gives no right answer again in its process, and no `except` brings it back. What
was computed is on the disk, so the study goes on in a new process.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, get_args

import structlog

from dicom_node.exit_status import DEVICE_LOST
from engines.errors import DeviceLost, EngineMissing
from engines.names import Engine, EngineName

log = structlog.get_logger()

_WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What an earlier process of this node lost."""

    engine: Engine
    reason: str


class Losses:
    """The last loss, in a file of the data folder: it has to outlive the process only."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "device-lost"

    def last(self) -> Loss | None:
        """The loss since the node was started, None where there was none."""
        try:
            content = json.loads(self._path.read_bytes())
            engine, reason = content["engine"], str(content["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Loss(engine, reason) if engine in get_args(Engine) else None

    def forget(self) -> None:
        """Somebody has started the node anew, and may have mended what was wrong."""
        self._path.unlink(missing_ok=True)

    def end(self, engine: Engine, error: DeviceLost) -> NoReturn:
        """Say what was lost, and end this process at once, whatever its threads are at."""
        log.error("device_lost", engine=engine, reason=str(error))
        partial = self._path.with_suffix(".partial")
        with suppress(OSError):  # a full disk: the next process does not know, and says so itself
            partial.write_text(json.dumps({"engine": engine, "reason": str(error)}))
            partial.replace(self._path)
        os._exit(DEVICE_LOST)


def engine_after(asked: EngineName, loss: Loss | None) -> EngineName:
    """The engine to open: after a loss `auto` is the one that was lost, and no other."""
    return loss.engine if loss is not None and asked == "auto" else asked


def missing_after(error: EngineMissing, loss: Loss | None) -> EngineMissing:
    """What to say where the engine that was lost cannot be had any more."""
    if loss is None:
        return error
    return EngineMissing(
        f"{error}; engine {loss.engine} was lost ({loss.reason}), and no other is taken in its "
        "place: look at the driver's log, then start the node anew, or name another engine in "
        "[model]"
    )


class Tally:
    """How many losses a node bears within an hour.

    One study that takes the device down is parked after `most_crashes` of them. When a second one
    is about to follow, it is the device.
    """

    def __init__(self, most_crashes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = 2 * (most_crashes + 1)
        self._clock = clock
        self._at: deque[float] = deque()

    def is_over(self) -> bool:
        """Counts one more loss; whether that was the last one."""
        now = self._clock()
        self._at.append(now)
        while now - self._at[0] > _WITHIN_S:
            self._at.popleft()
        return len(self._at) >= self._most

    @property
    def losses(self) -> int:
        """Within the last hour."""
        return len(self._at)
