"""Bar C1: how near the whole comes to its parts, decoding and encoding, each measured alone.

    python tests/bench/tiles.py [--rounds 5] [--shapes default resnet18 mobilenetv3-l vit-s16]

All three work on the same tiles of one large slide of real tissue, alternated. Where encoding is as
fast as decoding, no order of work reaches the slower of the two on the same cores: the last column
compares with the rate at which both can be done in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path[:0] = [str(Path(__file__).parent)]

import torch
from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table
from shapes import write_bundle

from engines.bundle import Bundle, open_bundle
from engines.runtime import PrecisionName, Runtime, open_runtime
from inference.slide.slide import open_slide
from inference.tiles.cutter import TileCutter
from inference.tiles.encoding import Encoding
from inference.tiles.order import Source, in_order
from inference.tiles.planning import plan_tiles
from inference.tiles.shared_frames import SharedFrames
from inference.tiles.values import TileValues

CASES: tuple[tuple[str, PrecisionName], ...] = (
    ("default", "fp32"), ("default", "int8"), ("resnet18", "fp32"), ("resnet18", "int8"),
    ("mobilenetv3-l", "fp32"), ("mobilenetv3-l", "bf16"), ("vit-s16", "fp32"),
    ("vit-s16", "int8"),
)  # fmt: skip
SECONDS = 4.0
"""About how long one end-to-end round takes: slow encoders get fewer tiles."""


@dataclass(frozen=True)
class Rates:
    """Tiles per second of each round."""

    name: str
    decode: list[float]
    encode: list[float]
    whole: list[float]

    @property
    def of_least(self) -> list[float]:
        """End to end over the slower of the parts, by round."""
        return [w / min(d, e) for w, d, e in zip(self.whole, self.decode, self.encode, strict=True)]

    @property
    def of_both(self) -> list[float]:
        """End to end over both parts in turn on the same cores, by round."""
        return [
            w * (1 / d + 1 / e)
            for w, d, e in zip(self.whole, self.decode, self.encode, strict=True)
        ]


def measure(bundle: Bundle, precision: PrecisionName, paths: list[Path], rounds: int) -> Rates:
    """The three rates on all cores."""
    label = f"{bundle.manifest.name} {precision}"
    with open_runtime(bundle, precision=precision) as runtime, open_slide(paths) as slide:
        source = plan_tiles(slide, bundle.manifest.input, ()).sources[0]
        rate = encode(runtime, source, 4 * runtime.lanes * runtime.batch)
        source = first(source, int(SECONDS * rate))
        found = Rates(label, [], [], [])
        for _ in range(rounds):
            found.decode.append(decode(runtime.lanes, source, runtime.batch))
            found.encode.append(encode(runtime, source, len(source.cells)))
            found.whole.append(whole(runtime, source))
    return found


def first(source: Source, tiles: int) -> Source:
    """The first tiles of a source."""
    return replace(source, cells=source.cells[:tiles], rectangles=source.rectangles[:tiles])


def decode(lanes: int, source: Source, batch: int) -> float:
    """Tiles per second made and thrown away."""
    batches = iter(in_order([source], batch))
    frames = {0: SharedFrames(source.level, [source])}
    cutters = [TileCutter([source], frames, batch) for _ in range(lanes)]

    def work(cutter: TileCutter) -> None:
        for one in batches:  # next() of a list iterator is atomic
            cutter.cut(one)

    return len(source.cells) / timed(lambda: on_threads(work, cutters))


def encode(runtime: Runtime, source: Source, tiles: int) -> float:
    """Tiles per second of the encoder on one batch of real tiles, again and again."""
    cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, runtime.batch)
    pixels = cutter.cut(in_order([source], runtime.batch)[0])[0].copy()
    turns = iter(range(-(-tiles // len(pixels))))

    def work(_: int) -> None:
        for _turn in turns:
            runtime.run("encoder", {"tiles": pixels})

    seconds = timed(lambda: on_threads(work, range(runtime.lanes)))
    return -(-tiles // len(pixels)) * len(pixels) / seconds


def whole(runtime: Runtime, source: Source) -> float:
    """Tiles per second from frames to features."""
    layout = {
        "features": (np.float32, tuple(runtime.manifest.graphs["encoder"].outputs[0].shape[1:]))
    }
    values = TileValues(len(source.cells), layout)  # type: ignore[arg-type]
    encoding = Encoding([source], [values], runtime)
    return len(source.cells) / timed(lambda: encoding.run(lambda _: None, lambda: False))


def on_threads(work: Callable[..., None], each: object) -> None:
    items = list(each)  # type: ignore[call-overload]
    with ThreadPoolExecutor(len(items)) as pool:
        list(pool.map(work, items))


def timed(work: Callable[[], None]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def bundle_of(name: str, folder: Path, paths: list[Path]) -> Bundle:
    """A shipped bundle, or a shape made for this run."""
    if name == "default":
        return open_bundle(name)
    root = folder / name
    if not root.is_dir():
        shipped = open_bundle("default").manifest.input
        with open_slide(paths) as slide:
            source = first(plan_tiles(slide, shipped, ()).sources[0], 48)
            cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, 48)
            tiles = np.concatenate([cutter.cut(b)[0] for b in in_order([source], 48)])
        batch = 8 if name == "vit-s16" else 16
        write_bundle(name, root, torch.from_numpy(tiles), batch=batch)
    return open_bundle(root)


def lines(rounds: int, shapes: list[str]) -> list[Rates]:
    """Every case of the shapes."""
    with tempfile.TemporaryDirectory() as folder:
        slide = write(Path(folder) / "slide", 40960, tissue=0.5)
        paths = list(slide.paths)
        return [
            measure(bundle_of(name, Path(folder), paths), precision, paths, rounds)
            for name, precision in CASES
            if name in shapes
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description="End to end over its parts.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=sorted({name for name, _ in CASES}))
    asked = parser.parse_args()
    table = Table("encoder", "decode/s", "encode/s", "end to end/s", "of the slower", "of both")
    for found in lines(asked.rounds, asked.shapes):
        table.add_row(
            found.name,
            spread(found.decode),
            spread(found.encode),
            spread(found.whole),
            f"{statistics.median(found.of_least):.2f}",
            f"{statistics.median(found.of_both):.2f}",
        )
    console = Console(width=150)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
