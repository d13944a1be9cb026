"""What the encoder said of each tile: in memory, or in files from which a killed run goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from inference.tiles.order import Batch

Array = NDArray[Any]
_KEY_FILE = "key.json"


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a run keeps what it has done. Values are taken up only under an equal key."""

    folder: Path
    key: Mapping[str, str]
    """What the values are a function of: slide, bundle, engine, grid."""


class TileValues:
    """Values [N, ...] of every encoder tensor that is wanted, for the tiles of one source."""

    def __init__(
        self,
        tiles: int,
        layout: Mapping[str, tuple[DTypeLike, tuple[int, ...]]],
        resume: Resume | None = None,
    ) -> None:
        """`layout`: dtype and shape of one tile's values by tensor name."""
        shapes = {name: (np.dtype(dtype), (tiles, *row)) for name, (dtype, row) in layout.items()}
        self._resume = resume
        self._lock = Lock()
        self._stored: Array | None = None
        if resume is None:
            self.arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in shapes.items()}
            self._done = np.zeros(tiles, np.uint8)
            return
        opened = _reopen(resume, shapes, tiles) or _create(resume, shapes, tiles)
        self._stored = opened.pop("done")
        self.arrays = opened
        self._done = np.array(self._stored)

    def has(self, batch: Batch) -> bool:
        """Whether all tiles of a batch are done."""
        return bool(self._done[batch.tiles].all())

    def put(self, batch: Batch, outputs: Mapping[str, Array], failed: list[int]) -> None:
        """Keep a batch's outputs, but for its tiles at the places `failed`."""
        for name, values in self.arrays.items():
            values[batch.tiles] = outputs[name]
        self._done[np.delete(batch.tiles, failed)] = 1

    def save(self) -> None:
        """Values on disk first, then the word that they are there: a power cut loses a band, not
        the truth."""
        if self._stored is None:
            return
        with self._lock:
            done = self._done.copy()
            for values in self.arrays.values():
                _flush(values)
            self._stored[:] = done
            _flush(self._stored)


def discard(folder: Path) -> None:
    """Remove what a run kept, once its result is safe."""
    shutil.rmtree(folder, ignore_errors=True)


def _reopen(
    resume: Resume, shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], tiles: int
) -> dict[str, Array] | None:
    """The arrays of an earlier run with the same key, or None."""
    try:
        if json.loads((resume.folder / _KEY_FILE).read_text()) != dict(resume.key):
            return None
        opened = {name: open_memmap(resume.folder / f"{name}.npy", "r+") for name in shapes}
        opened["done"] = open_memmap(resume.folder / "done.npy", "r+")
    except (OSError, ValueError):  # none, or cut off: nothing is taken from it
        return None
    wanted = {**shapes, "done": (np.dtype(np.uint8), (tiles,))}
    fits = all((opened[n].dtype, opened[n].shape) == what for n, what in wanted.items())
    return dict(opened) if fits else None


def _create(
    resume: Resume, shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], tiles: int
) -> dict[str, Array]:
    """Empty arrays; the key is written last, so that half-made ones are never taken up."""
    discard(resume.folder)
    resume.folder.mkdir(parents=True)
    created: dict[str, Array] = {}
    for name, (dtype, shape) in {**shapes, "done": (np.dtype(np.uint8), (tiles,))}.items():
        path = resume.folder / f"{name}.npy"
        created[name] = open_memmap(path, "w+", dtype=dtype, shape=shape)
        _reserve(path)
    _flush(created["done"])
    (resume.folder / _KEY_FILE).write_text(json.dumps(dict(resume.key), sort_keys=True))
    return created


def _reserve(path: Path) -> None:
    """Take the file's space now: a full disk is an error here and a killed process later."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _flush(values: Array) -> None:
    if isinstance(values, np.memmap):
        values.flush()
