"""Engines by precision, block size and threads, for the shipped student and well-known shapes.

python tests/bench/engine_speeds.py [--shapes default vit-s16 resnet50 mobilenetv3-s]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent)]

import torch
from facts import machine, spread
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, TILE_PX, write_bundle
from tiles import on_threads, timed

from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected, EngineMissing
from engines.runtime import EngineName, PrecisionName, open_runtime

ROUNDS = 3
SECONDS = 1.0
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16", "int8")
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


def with_batch(bundle: Bundle, batch: int) -> Bundle:
    """The same bundle whose encoder takes blocks of another size."""
    given = bundle.manifest.input.model_copy(update={"batch": batch})
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"input": given}))


def rates(
    bundle: Bundle, engine: EngineName, precision: PrecisionName, threads: int
) -> list[float]:
    """Tiles per second of each round."""
    size = bundle.manifest.input.batch
    tiles = np.random.default_rng(0).integers(0, 256, (size, TILE_PX, TILE_PX, 3), np.uint8)
    with open_runtime(bundle, engine=engine, precision=precision, threads=threads) as runtime:

        def run(calls: int) -> float:
            turns = iter(range(calls))

            def work(_: int) -> None:
                for _turn in turns:
                    runtime.run("encoder", {"tiles": tiles})

            return calls * size / timed(lambda: on_threads(work, range(threads)))

        calls = max(threads, int(SECONDS * run(2 * threads) / size))
        return [run(calls) for _ in range(ROUNDS)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Engines, precisions, block sizes, threads.")
    parser.add_argument(
        "--shapes", nargs="+", default=["default", "vit-s16", "resnet50", "mobilenetv3-s"],
        choices=["default", *SHAPES],
    )  # fmt: skip
    table = Table("encoder", "engine", "precision", "block", "1 thread, tiles/s", "2 threads")
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().shapes:
            tiles = np.random.default_rng(1).integers(0, 256, (32, TILE_PX, TILE_PX, 3), np.uint8)
            made = "default"
            if name != "default":
                made = str(write_bundle(name, Path(folder) / name, torch.from_numpy(tiles)))
            for engine in ENGINES:
                for precision in PRECISIONS:
                    for batch in (4, 16, 32) if engine == "openvino" else (16,):
                        bundle = with_batch(open_bundle(made), batch)
                        try:
                            found = [rates(bundle, engine, precision, n) for n in (1, 2)]
                        except (EngineMissing, BundleRejected):
                            continue  # `dicom-node engine compare` says why
                        table.add_row(name, engine, precision, str(batch), *map(spread, found))
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
