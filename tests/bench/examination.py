"""What the cross-examination of a slide costs: CPU seconds by rule, of a slide of 10,000 tiles.

    python tests/bench/examination.py [--rounds 3]

Functions are timed where they stand, by the CPU time of their thread; what one calls of another is
counted once. Positions of 99,856 sparse frames are timed apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import local
from time import process_time, thread_time
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table
from stages import TEN_THOUSAND

PARTS = {
    "headers against each other": ("inference.slide.slide", "examined"),
    "each level's header and frames": ("inference.slide.levels", "level_refusal"),
    "colors of the streams, opening": ("inference.slide.levels", "color_fault"),
    "colors of the streams, tiles": ("inference.tiles.planning", "color_conflict"),
    "what was not scanned": ("inference.tissue.tissue", "find_unscanned"),
    "a second opinion on tissue": ("inference.tissue.tissue", "find_disputed"),
    "tissue that is not there": ("inference.tiles.planning", "_lost"),
    "frames around the tissue": ("inference.tiles.planning", "outside_contradicted"),
    "what another level shows": ("inference.tiles.planning", "expected_of"),
    "sums of the view": ("inference.tissue.sums", "summed"),
    "mean colors of tiles": ("inference.tiles.cutter", "mean_of"),
    "markers of each JPEG stream": ("inference.slide.frames", "defect"),
}
"""The functions of the examination, in the modules that call them."""


def timed_slide(paths: list[Path]) -> dict[str, float]:
    """CPU seconds of each part, and of everything ("all"), for one slide."""
    from importlib import import_module

    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference.predict import predict

    seconds = dict.fromkeys(PARTS, 0.0)
    inside = local()
    for part, (module_name, name) in PARTS.items():
        module = import_module(module_name)
        setattr(module, name, _timed(getattr(module, name), part, seconds, inside))
    with open_runtime(open_bundle("default")) as runtime:
        before = process_time()
        result = predict(paths, runtime)
        seconds["all"] = process_time() - before
    seconds["tiles"] = getattr(result, "tiles_analyzed", 0)
    return seconds


def _timed(
    function: Callable[..., Any], part: str, seconds: dict[str, float], inside: local
) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "busy", False):
            return function(*args, **kwargs)
        inside.busy = True
        start = thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[part] += thread_time() - start
            inside.busy = False

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description="What the cross-examination costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slide", nargs="+", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.slide:
        sys.stdout.write(json.dumps(timed_slide(asked.slide)))
        return
    console = Console(width=120)
    console.print(machine())
    with tempfile.TemporaryDirectory() as folder:
        slide = write(Path(folder), TEN_THOUSAND, tissue=0.5)
        command = [sys.executable, __file__, "--slide", *map(str, slide.paths)]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            for _ in range(asked.rounds)
        ]
    table = Table("part", f"CPU seconds, {runs[0]['tiles']} tiles", "share of all")
    for part in (*PARTS, "sum"):
        times = [sum(r[p] for p in PARTS) if part == "sum" else r[part] for r in runs]
        shares = [t / r["all"] for t, r in zip(times, runs, strict=True)]
        table.add_row(part, spread(times, 3), f"{min(shares):.2%} to {max(shares):.2%}")
    table.add_row("all", spread([r["all"] for r in runs], 2), "")
    console.print(table)


if __name__ == "__main__":
    main()
