"""Every tile that may teach, with all that is known of it, in one file that a training reads.

Never among them: patient B, the 32 colon tiles, and the test groups of LC25000.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE_PX = 224
SOURCES = ("lung", "spots", "drawn", "slides", "pictures")


@dataclass(frozen=True)
class Tiles:
    """N tiles as JPEG files, and what is known of each; NaN or -1: unknown."""

    jpeg: NDArray[np.object_]
    """[N] bytes of JPEG files of 224 x 224 pixels."""
    source: NDArray[np.int64]
    """[N] index into SOURCES."""
    mpp: NDArray[np.float32]
    held: NDArray[np.bool_]
    """[N] kept to see how well the student agrees with its teachers; they train nothing."""
    tumor: NDArray[np.float32]
    """[N] weak label 0..1."""
    tissue: NDArray[np.int64]
    """[N] class of the lung tiles."""
    cells: NDArray[np.float32]
    """[N, 8] cell types of the spot, by its own counts."""
    classes: NDArray[np.float32]
    """[N, 9] shares of CLASSES: what was drawn; of spots by the teacher of counts."""
    taught: NDArray[np.float32]
    """[N] tumor 0..1 of spots by the teacher of counts."""

    def __len__(self) -> int:
        return len(self.jpeg)

    def some(self, rows: NDArray[np.int64]) -> Tiles:
        """The tiles of these rows."""
        return Tiles(**{field.name: getattr(self, field.name)[rows] for field in fields(Tiles)})

    def images(self) -> NDArray[np.uint8]:
        """[N, 224, 224, 3] RGB."""
        found = np.empty((len(self), TILE_PX, TILE_PX, 3), np.uint8)

        def fill(at: int) -> None:
            with Image.open(io.BytesIO(self.jpeg[at])) as image:
                found[at] = np.asarray(image.convert("RGB"))

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, range(len(self))))
        return found


def write(tiles: Tiles, path: Path) -> None:
    """One file: the JPEG files one after the other, and the arrays."""
    arrays = {f.name: getattr(tiles, f.name) for f in fields(Tiles) if f.name != "jpeg"}
    joined = np.frombuffer(b"".join(tiles.jpeg), np.uint8)
    ends = np.cumsum([len(content) for content in tiles.jpeg])
    np.savez_compressed(path, allow_pickle=False, joined=joined, ends=ends, **arrays)


def read(path: Path) -> Tiles:
    """What `write` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        joined, ends = stored["joined"].tobytes(), [0, *stored["ends"].tolist()]
        arrays = {f.name: stored[f.name] for f in fields(Tiles) if f.name != "jpeg"}
    jpeg = np.empty(len(ends) - 1, object)
    for at, (start, end) in enumerate(pairwise(ends)):
        jpeg[at] = joined[start:end]
    return Tiles(jpeg=jpeg, **arrays)
