"""Several slides one after the other: with the next one planned meanwhile, and without.

    python tests/bench/ahead.py [--rounds 6] [--slides 3] [--side 20480] [--precision shipped]

Each run is a process of its own, the two alternated; seconds of the wall, of the CPU, and the peak
of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table
from stages import peak_mb


def run(folders: list[Path], precision: str, *, is_ahead: bool) -> dict[str, float]:
    """All slides, each from opening to prediction."""
    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference import predict
    from inference.tiles.ahead import Ahead
    from inference.tiles.planned import Asked

    slides = [sorted(folder.glob("*.dcm")) for folder in folders]
    with open_runtime(open_bundle("default"), precision=precision) as runtime:  # type: ignore[arg-type]
        opened_mb = peak_mb()
        wall, cpu, tiles = perf_counter(), process_time(), 0
        with closing(Ahead()) as ahead:
            for slide, after in zip(slides, [*slides[1:], None], strict=True):
                if is_ahead and after:
                    ahead.expect(Asked.of(after, runtime.manifest))
                said = predict.predict(slide, runtime, ahead=ahead)
                tiles += getattr(said, "tiles_analyzed", 0)
        return {
            "wall": perf_counter() - wall,
            "cpu": process_time() - cpu,
            "mb": peak_mb(),
            "opened_mb": opened_mb,
            "tiles": tiles,
        }


def in_process(folders: list[Path], precision: str, *, is_ahead: bool) -> dict[str, Any]:
    """`run` in a fresh process."""
    mode = "ahead" if is_ahead else "alone"
    command = [sys.executable, __file__, "--precision", precision, "--run", mode]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command += map(str, folders)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The plan of the next slide, made meanwhile.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--slides", type=int, default=3)
    parser.add_argument("--side", type=int, default=20480)
    parser.add_argument("--tissue", type=float, default=0.5)
    parser.add_argument("--precision", default="shipped")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        mode, *folders = asked.run
        found = run([Path(f) for f in folders], asked.precision, is_ahead=mode == "ahead")
        sys.stdout.write(json.dumps(found))
        return
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(n) for n in range(asked.slides)]
        for one in folders:
            write(one, asked.side, tissue=asked.tissue)
        for number in range(asked.rounds):
            for is_ahead in (False, True) if number % 2 else (True, False):
                runs[is_ahead].append(in_process(folders, asked.precision, is_ahead=is_ahead))
    table = Table(f"{asked.slides} slides", "without", "ahead", "without / ahead, by pair")
    for name, digits in (("wall", 2), ("cpu", 2), ("mb", 0)):
        without, ahead = ([r[name] for r in runs[k]] for k in (False, True))
        ratios = [a / b for a, b in zip(without, ahead, strict=True)]
        table.add_row(name, spread(without, digits), spread(ahead, digits), spread(ratios, 3))
    console = Console(width=120)
    console.print(machine())
    opened_mb = statistics.median(r["opened_mb"] for r in runs[True])
    console.print(f"{runs[True][0]['tiles']} tiles; {asked.rounds} pairs")
    console.print(f"peak before the first slide {opened_mb:.0f} MB")
    console.print(table)


if __name__ == "__main__":
    main()
