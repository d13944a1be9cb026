"""Bar C3: tiles from frames, beside wsidicom and OpenSlide, on the same file; pixels compared.

    python tests/bench/readers.py [--rounds 7]

One thread. Every reader fills the same batches of 64 tiles, as an encoder wants them. OpenSlide is
taken where it is installed (openslide-python, openslide-bin).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from wsidicom import WsiDicom

sys.path[:0] = [str(Path(__file__).parent)]

from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table

from engines.manifest.tensors import TileInput
from inference.slide.slide import open_slide
from inference.tiles.cutter import TileCutter
from inference.tiles.grid import TileGrid
from inference.tiles.order import Source, in_order
from inference.tiles.shared_frames import SharedFrames

BATCH = 64
Read = Callable[[int, int, NDArray[np.uint8]], None]
"""Fills [side, side, 3] with the tile at row and column of pixels."""


def measure(paths: tuple[Path, ...], rounds: int) -> dict[str, list[float]]:
    """Microseconds a tile of each reader and kind of tile, by round."""
    found: dict[str, list[float]] = {}
    with open_slide(paths) as slide, WsiDicom.open(paths[0].parent) as peer:
        readers = {"wsidicom": _wsidicom(peer), **_openslide(paths[0])}
        for name, side in (("frames of 256", 256), ("unaligned 224", 224)):
            source = _middle(slide, side)
            ours = _ours(source)
            for _ in range(rounds):
                found.setdefault(f"{name}, ours", []).append(_timed(ours, source))
                for reader, read in readers.items():
                    took = _timed(_filled(read, source), source)
                    found.setdefault(f"{name}, {reader}", []).append(took)
            for reader, read in readers.items():
                _compare(reader, read, source)
    return found


def _middle(slide: object, side: int) -> Source:
    """A square of tissue of 32 x 32 tiles."""
    wanted = TileInput(tile_px=side, mpp=0.5, mpp_tolerance=0.02)
    grid = TileGrid.plan(slide.geometry, slide.levels, wanted)  # type: ignore[attr-defined]
    first = grid.rows // 2 - 16
    cells = np.argwhere(np.ones((32, 32), bool)).astype(np.int32) + first
    return Source.of(grid, slide.levels[0], cells)  # type: ignore[attr-defined]


def _ours(source: Source) -> Callable[[], None]:
    def run() -> None:
        cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, BATCH)
        for batch in in_order([source], BATCH):
            cutter.cut(batch)

    return run


def _filled(read: Read, source: Source) -> Callable[[], None]:
    side = source.grid.tile_px

    def run() -> None:
        slots = np.empty((BATCH, side, side, 3), np.uint8)
        for n, (top, left, _, _) in enumerate(source.rectangles.tolist()):
            read(top, left, slots[n % BATCH])

    return run


def _wsidicom(slide: WsiDicom) -> Read:
    def read(top: int, left: int, out: NDArray[np.uint8]) -> None:
        side = len(out)
        if side == 256:
            out[:] = slide.read_tile(0, (left // 256, top // 256), as_array=True)
        else:
            out[:] = np.asarray(slide.read_region((left, top), 0, (side, side)))

    return read


def _openslide(path: Path) -> dict[str, Read]:
    try:
        import openslide
    except ImportError:
        return {}
    slide = openslide.OpenSlide(str(path))
    slide.set_cache(openslide.OpenSlideCache(0))

    def read(top: int, left: int, out: NDArray[np.uint8]) -> None:
        side = len(out)
        out[:] = np.asarray(slide.read_region((left, top), 0, (side, side)).convert("RGB"))

    return {f"openslide {openslide.__library_version__}": read}


def _compare(reader: str, read: Read, source: Source) -> None:
    """Stop unless every pixel is the same."""
    cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, BATCH)
    theirs = np.empty((source.grid.tile_px, source.grid.tile_px, 3), np.uint8)
    for batch in in_order([source], BATCH):
        pixels, _ = cutter.cut(batch)
        for tile, ours in zip(batch.tiles, pixels, strict=True):
            top, left, _, _ = source.rectangles[tile].tolist()
            read(top, left, theirs)
            if not np.array_equal(ours, theirs):
                raise SystemExit(f"{reader}: other pixels at {top}, {left}")


def _timed(work: Callable[[], None], source: Source) -> float:
    start = process_time()
    work()
    return (process_time() - start) / len(source.cells) * 1e6


def ratios(found: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    """Every peer's time over ours, by round."""
    lines = []
    for name, theirs in found.items():
        kind, _, reader = name.partition(", ")
        if reader != "ours":
            ours = found[f"{kind}, ours"]
            lines.append((name, [t / o for t, o in zip(theirs, ours, strict=True)]))
    return lines


def measured(rounds: int) -> dict[str, list[float]]:
    """On a new slide of real tissue."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(write(Path(folder), 20480, tissue=0.6).paths, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Readers, side by side.")
    parser.add_argument("--rounds", type=int, default=7)
    found = measured(parser.parse_args().rounds)
    table = Table("tiles, reader", "us of one core", "theirs / ours")
    of = dict(ratios(found))
    for name, times in found.items():
        ratio = f"{statistics.median(of[name]):.2f}" if name in of else ""
        table.add_row(name, spread(times), ratio)
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
