"""The directory of one fold and seed: a CSV, a TensorBoard log and the checkpoint of a phase."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from inference.durable import sweep, whole


class Journal:
    """Where a fit writes while it runs, and what it finds there when it is started again.

    It is alone in its directory. `log.csv` holds one line per phase, epoch and quantity. A
    checkpoint is replaced in one move, so a kill leaves the one of the epoch before.
    """

    def __init__(self, directory: Path, *, checkpoint_every_s: float = 20.0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory)
        self.directory = directory
        self.is_resumed = any(directory.glob("*.ckpt"))
        """Whether part of the work was done before: what it took is not known."""
        self._every_s = checkpoint_every_s
        self._saved_at = time.monotonic()
        self._board = SummaryWriter(str(directory / "tensorboard"))
        self._csv = (directory / "log.csv").open("a", newline="", encoding="utf-8")
        self._lines = csv.writer(self._csv)
        if self._csv.tell() == 0:
            self._lines.writerow(("phase", "epoch", "name", "value"))

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()
        self._csv.close()

    def row(self, phase: str, epoch: int, values: dict[str, float]) -> None:
        """Logs the quantities of one epoch."""
        for name, value in values.items():
            self._lines.writerow((phase, epoch, name, f"{value:.6g}"))
            self._board.add_scalar(f"{phase}/{name}", value, epoch)
        self._csv.flush()

    def rewind(self, phase: str, epoch: int) -> None:
        """Drops the lines of `phase` after `epoch`: they are computed and written again."""
        self._csv.close()
        path = self.directory / "log.csv"
        with path.open(newline="", encoding="utf-8") as stored:
            lines = list(csv.reader(stored))
        header, *rows = lines or [["phase", "epoch", "name", "value"]]
        written = [at for at in rows if len(at) == len(header) and at[1].isdigit()]  # torn: a kill
        kept = [header, *(at for at in written if at[0] != phase or int(at[1]) <= epoch)]
        text = io.StringIO()
        csv.writer(text).writerows(kept)
        with whole(path) as file:  # as the checkpoints: a kill here loses no line
            file.write(text.getvalue().encode())
        self._csv = path.open("a", newline="", encoding="utf-8")
        self._lines = csv.writer(self._csv)

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another; large ones cost a second."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, phase: str, state: dict[str, object]) -> None:
        """Replaces the checkpoint of `phase`. Raises OSError, of a full disk too."""
        packed = io.BytesIO()  # torch makes a RuntimeError without a reason of a disk's error
        torch.save(state, packed)
        with whole(self._path(phase)) as file:
            file.write(packed.getbuffer())
        self._saved_at = time.monotonic()

    def saved(self, phase: str) -> dict[str, object] | None:
        """The checkpoint of `phase`, or None before the first."""
        path = self._path(phase)
        if not path.exists():
            return None
        found: dict[str, object] = torch.load(path, weights_only=True)
        return found

    def tensors(self, phase: str) -> dict[str, Tensor] | None:
        """A checkpoint that holds only tensors, such as cross-fitted targets."""
        found = self.saved(phase)
        if found is None:
            return None
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def clear_checkpoints(self) -> None:
        """Removes the checkpoints of a finished fit; its results no longer need them."""
        for path in self.directory.glob("*.ckpt"):
            path.unlink(missing_ok=True)  # two runs may end the same unit

    def _path(self, phase: str) -> Path:
        return self.directory / f"{phase.replace('/', '.')}.ckpt"
