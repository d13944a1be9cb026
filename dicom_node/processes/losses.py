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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import structlog

from dicom_node.exit_status import DEVICE_LOST
from engines.errors import DeviceLost, EngineMissing, TooLittleMemory
from engines.names import CHOSEN, ENGINES, Engine, EngineName, Opened

log = structlog.get_logger()

_WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What an earlier process of this node lost."""

    opened: Opened
    reason: str
    model: str
    """Its name in the configuration; `model` where it is the one for all slides."""
    bundle: str
    """Digest."""
    during: str = ""
    """Which attempt was analyzed, as its workflow is named; empty where none was, and as soon as
    the next worker has counted that death."""
    at: float = 0.0
    """Unix time."""

    @property
    def engine(self) -> Engine:
        """What computed."""
        return self.opened.engine

    def tells(self, attempt: str) -> str:
        """What it adds to the reason of the attempt that it ended; nothing of another."""
        return (
            f", last because {self.engine} was lost: {self.reason}"
            if attempt == self.during
            else ""
        )


class Losses:
    """The last loss of every model, in a file of the data folder: it has to outlive the process
    only."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "device-lost"
        self.during: Callable[[], str] = str
        """Tells the attempt that is analyzed now."""

    def last(self) -> Loss | None:
        """The loss since the node was started, None where there was none."""
        return next(reversed(self._all()), None)

    def of(self, model: str, bundle: str) -> Loss | None:
        """The last one of a model with a bundle's digest: another one's says nothing of it."""
        return next((x for x in self._all() if (x.model, x.bundle) == (model, bundle)), None)

    def forget(self) -> None:
        """Somebody has started the node anew, and may have mended what was wrong."""
        self._path.unlink(missing_ok=True)

    def end(self, model: str, bundle: str, opened: Opened, error: DeviceLost) -> NoReturn:
        """Say what was lost, and end this process at once, whatever its threads are at."""
        log.error("device_lost", engine=opened.engine, reason=str(error))
        self.keep(Loss(opened, str(error), model, bundle, self.during(), time.time()))
        os._exit(DEVICE_LOST)

    def keep(self, loss: Loss) -> None:
        """Write it in the place of an earlier one of the same model."""
        others = [x for x in self._all() if (x.model, x.bundle) != (loss.model, loss.bundle)]
        self._write([*others, loss])

    def settle(self) -> Loss | None:
        """The last one, with the attempt that it ended; from now on it is no attempt's, so that no
        later death is laid to it."""
        losses = self._all()
        if any(loss.during for loss in losses):
            self._write([replace(loss, during="") for loss in losses])
        return next(reversed(losses), None)

    def _all(self) -> list[Loss]:
        """The last one last. None of an earlier version: it does not say whose it was."""
        try:
            return [_read(one) for one in json.loads(self._path.read_bytes())["losses"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write(self, losses: list[Loss]) -> None:
        partial = self._path.with_suffix(".partial")
        with suppress(OSError):  # a full disk: the next process does not know, and says so itself
            partial.write_text(json.dumps({"losses": [asdict(loss) for loss in losses]}))
            partial.replace(self._path)


def _read(content: dict[str, Any]) -> Loss:
    opened = Opened(**content["opened"])
    if opened.engine not in ENGINES or opened.precision not in CHOSEN:
        raise ValueError(f"found {opened}, expected an engine and a precision of this version")
    return Loss(**{**content, "opened": opened})


def opened_after(asked: EngineName, loss: Loss | None) -> Opened | None:
    """What to open after the model's loss: `auto` is the very engine and precision that were lost,
    and no other. None where that is to be chosen."""
    return loss.opened if loss is not None and asked == "auto" else None


def missing_after(error: EngineMissing, asked: EngineName, loss: Loss | None) -> EngineMissing:
    """What to say where the engine that the model lost cannot be had any more.

    The error itself where that is not why: a want of memory asks for another model to be closed.
    """
    if loss is None or asked not in ("auto", loss.engine) or isinstance(error, TooLittleMemory):
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
