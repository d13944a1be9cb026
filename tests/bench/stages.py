"""Bars C8, C9 and C11: one slide from file to result objects, stage by stage, in its own process.

python tests/bench/stages.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from big_slides import write
from facts import machine, spread
from rich.console import Console
from rich.table import Table

GIGAPIXELS = {1: 31744, 4: 63488, 16: 126976}
"""Side of a slide by its gigapixels, tissue on a tenth of it."""
TEN_THOUSAND = 45056
"""Side of a slide whose tissue mask gives about ten thousand tiles."""


class Stages:
    """Seconds by stage, and the peak of memory."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time of the block."""
        start = perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start


def run_slide(paths: list[Path], out: Path) -> dict[str, Any]:
    """Everything the node does with a slide but for the network: seconds a stage, tiles, MB."""
    from pydicom import dcmread

    from dicom_node.results.build import build_objects
    from dicom_node.results.files import write_built
    from dicom_node.results.identity import Provenance
    from dicom_node.results.making import Making
    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference import predict
    from inference.slide.files import SlideFiles
    from inference.tiles import planned, planning

    bundle, stages = open_bundle("default"), Stages()
    first: list[float] = []

    def plan(*given: Any) -> Any:
        with stages.of("open and mask"):
            return planning.plan_tiles(*given)

    def encode(*given: Any) -> Any:
        with stages.of("tiles"):
            return _encode(*given)

    _encode = predict.encode
    planned.plan_tiles, predict.encode = plan, encode  # the stages have no seams of their own
    with open_runtime(bundle) as runtime:
        start = perf_counter()

        def watch(progress: Any) -> None:
            if progress.tiles_done and not first:
                first.append(perf_counter() - start)

        result = predict.predict(paths, runtime, progress=watch)
        predicted = perf_counter() - start
        stages.seconds["aggregation and heatmap"] = predicted - sum(stages.seconds.values())
        with stages.of("SR and SEG"):
            source = dcmread(paths[0], stop_before_pixels=True)
            provenance = Provenance(
                bundle.manifest.name, bundle.manifest.version, bundle.digest, runtime.engine,
                "bench", datetime.now(UTC),
            )  # fmt: skip
            uids = tuple(str(dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in paths)
            slide = SlideFiles("a", tuple(paths), uids, paths[0])
            making = Making(source, result, bundle.manifest, provenance, slide, number=0)
            built = build_objects(making)
            for item in built:
                write_built(item, out / f"{item.kind}.dcm")
        total = perf_counter() - start
    return {
        "seconds": stages.seconds,
        "total": total,
        "first": first[0],
        "tiles": getattr(result, "tiles_analyzed", 0),
        "mb": peak_mb(),
        "engine": runtime.engine,
    }


def peak_mb() -> float:
    """Largest resident memory of this process; ru_maxrss would carry over the parent's."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def in_process(paths: tuple[Path, ...]) -> dict[str, Any]:
    """`run_slide` in a fresh process, so that its peak of memory is its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--slide", out, *map(str, paths)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ten_thousand(rounds: int) -> list[dict[str, Any]]:
    """A slide of about ten thousand tiles, some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        slide = write(Path(folder), TEN_THOUSAND, tissue=0.5)
        return [in_process(slide.paths) for _ in range(rounds)]


def by_size() -> dict[int, dict[str, Any]]:
    """One run of each size of slide."""
    found = {}
    for gigapixels, side in GIGAPIXELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[gigapixels] = in_process(write(Path(folder), side, tissue=0.1).paths)
            sleep(1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A slide, stage by stage.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slide", nargs="+", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.slide:
        sys.stdout.write(json.dumps(run_slide(asked.slide[1:], asked.slide[0])))
        return
    console = Console(width=120)
    console.print(machine())
    runs = ten_thousand(asked.rounds)
    table = Table("stage", f"seconds, {runs[0]['tiles']} tiles, {runs[0]['engine']}", "share")
    for stage in runs[0]["seconds"]:
        times = [run["seconds"][stage] for run in runs]
        share = statistics.median(t / run["total"] for t, run in zip(times, runs, strict=True))
        table.add_row(stage, spread(times, 2), f"{share:.1%}")
    table.add_row("all", spread([run["total"] for run in runs], 2), "")
    console.print(table)
    table = Table("slide", "peak RSS", "first tile after opening", "tiles", "seconds")
    for gigapixels, run in by_size().items():
        table.add_row(f"{gigapixels} Gpx", f"{run['mb']:.0f} MB", f"{run['first']:.2f} s",
                      str(run["tiles"]), f"{run['total']:.1f}")  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
