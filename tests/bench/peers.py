"""Bars C5 and C6: TIAToolbox, WSInfer and plain wsidicom beside ours, on the same tiles.

    python tests/bench/peers.py --tiatoolbox PYTHON --wsinfer PYTHON [--rounds 3] [--tiles 640]

A peer's PYTHON is that of an environment of its own (`pip install tiatoolbox`; `pip install wsinfer
"zarr<3"`). Each reads the same forced list of tiles with its own classes, one loader process and
two torch threads; ours has two lanes. Peak RSS is without the loader. ResNet-18, seeded random
weights. Alternated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from facts import machine, spread
from rich.console import Console
from rich.table import Table

Run = dict[str, Any]


def ours(slide: Path, bundle: Path, precision: str, tiles: int) -> Run:
    """Two lanes on the first tiles of the slide, in this process."""
    from tiles import first, whole

    from engines.bundle import open_bundle
    from engines.runtime import open_runtime
    from inference.slide.slide import open_slide
    from inference.tiles.planning import plan_tiles

    opened = open_bundle(bundle)
    paths = sorted(slide.glob("*.dcm"))
    with open_runtime(opened, precision=precision, threads=2) as runtime, open_slide(paths) as s:  # type: ignore[arg-type]
        source = first(plan_tiles(s, opened.manifest.input, ()).sources[0], tiles)
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = perf_counter()
        whole(runtime, source)
        seconds = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"tiles": tiles, "seconds": seconds, "cpu": cpu, "mb": peak_mb()}


def peak_mb() -> float:
    """Of this process. Not ru_maxrss: that begins with the peak of who started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def prepare(folder: Path, tiles: int) -> None:
    """Slide, forced list, bundle with int8, and the same network as TorchScript."""
    import torch
    from big_slides import write
    from shapes import TILE_PX, Encoder
    from tiles import bundle_of, first

    from engines.bundle import open_bundle
    from inference.slide.slide import open_slide
    from inference.tiles.planning import plan_tiles

    paths = list(write(folder / "slide", 20480, tissue=0.6).paths)
    bundle_of("resnet18", folder, paths)
    with open_slide(paths) as slide:
        source = plan_tiles(slide, open_bundle("default").manifest.input, ()).sources[0]
        np.save(folder / "places.npy", first(source, tiles).rectangles[:, :2])
    network = Encoder("resnet18").eval()
    body = torch.nn.Sequential(network.body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    traced = torch.jit.trace(body.eval(), torch.zeros(1, 3, TILE_PX, TILE_PX))
    traced.save(str(folder / "model.ts"))


def process(command: list[str]) -> Run:
    """The JSON of a run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[1]}:{HERE}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    found: Run = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(pythons: dict[str, str], rounds: int, tiles: int) -> dict[str, list[Run]]:
    """Runs by name, alternated."""
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        prepare(folder, tiles)
        slide = folder / "slide"
        commands = {
            f"ours {p}": [sys.executable, __file__, "--ours", p, root, "--tiles", str(tiles)]
            for p in ("fp32", "int8")
        }
        for name, python in pythons.items():
            commands[name] = [
                python, str(HERE / "peer_worker.py"), name, str(slide / "level-1.dcm"),
                str(folder / "places.npy"), str(folder / "model.ts"),
            ]  # fmt: skip
        for _ in range(rounds):
            for name, command in commands.items():
                found.setdefault(name, []).append(process(command))
    return found


def ratio(found: dict[str, list[Run]], mine: str, peer: str) -> float:
    """Median over rounds of our tiles per second over theirs."""
    return statistics.median(
        (a["tiles"] / a["seconds"]) / (b["tiles"] / b["seconds"])
        for a, b in zip(found[mine], found[peer], strict=True)
    )


def show(found: dict[str, list[Run]], console: Console) -> None:
    """One row a contestant."""
    table = Table("", "tiles/s", "tiles per CPU s", "peak RSS MB", "ours fp32 is", "ours int8 is")
    for name, runs in found.items():
        ratios = (
            ["", ""]
            if name.startswith("ours")
            else [f"{ratio(found, f'ours {p}', name):.1f} x" for p in ("fp32", "int8")]
        )
        table.add_row(
            name,
            spread([r["tiles"] / r["seconds"] for r in runs], 1),
            spread([r["tiles"] / r["cpu"] for r in runs], 1),
            spread([r["mb"] for r in runs]),
            *ratios,
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Peers, side by side.")
    parser.add_argument("--tiatoolbox", metavar="PYTHON")
    parser.add_argument("--wsinfer", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiles", type=int, default=640)
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ours:
        precision, folder = asked.ours[0], Path(asked.ours[1])
        run = ours(folder / "slide", folder / "resnet18", precision, asked.tiles)
        sys.stdout.write(json.dumps(run) + "\n")
        return
    given = {"wsidicom": sys.executable, "tiatoolbox": asked.tiatoolbox, "wsinfer": asked.wsinfer}
    pythons = {name: python for name, python in given.items() if python}
    console = Console(width=130)
    console.print(machine())
    show(measure(pythons, asked.rounds, asked.tiles), console)


if __name__ == "__main__":
    main()
