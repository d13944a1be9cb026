"""What deploy/gpu/measure.sh runs: every GPU engine that is there, against the CPU.

    python deploy/gpu/measure.py SLIDE OUT [--seconds 540]

A figure that was not seen is not written: a part that cannot run says why in its place.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engines.arrays import difference
from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.names import ENGINE_NAMES, EngineName, PrecisionName
from engines.runtime import Runtime, open_runtime
from engines.tensorrt.compiler import compiled
from engines.tensorrt.cuda import device_capability, load_cuda
from engines.tensorrt.libraries import TENSORRT_RTX, spelled
from engines.tensorrt.plans import profiles
from inference.predict import predict
from inference.slide.slide import open_slide
from inference.tiles.cutter import TileCutter
from inference.tiles.order import in_order
from inference.tiles.planning import plan_tiles
from inference.tiles.shared_frames import SharedFrames
from inference.types import Prediction

GPU_ENGINES: tuple[EngineName, ...] = ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")
SHAPES = ("resnet18", "vit-s16")
PARTS = ("rtx", "parity", "encoders", "whole")
ROUNDS = 5
BLOCKS = (16, 64, 256)
CALLERS = (1, 4, 16)
T = TypeVar("T")
_ABSENT = (EngineMissing, BundleRejected, DeviceFailed)


class Report:
    """Markdown that is on disk after every line: a run that is cut off leaves what it saw."""

    def __init__(self, path: Path, seconds: float, engines: Sequence[EngineName]) -> None:
        self._path, self._until, self.engines = path, monotonic() + seconds, engines
        path.write_text("")

    def say(self, *lines: str) -> None:
        """Appends lines, to the file and for whoever watches."""
        with self._path.open("a") as file:
            file.write("\n".join(lines) + "\n")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    def table(self, *columns: str) -> None:
        """Begins a table."""
        self.say("", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns))

    def row(self, *cells: object) -> None:
        """One row of it."""
        self.say("| " + " | ".join(map(str, cells)) + " |")

    @property
    def is_late(self) -> bool:
        """Whether no further part may begin."""
        return monotonic() > self._until


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and least to most."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def facts(report: Report) -> None:
    """Card, driver, processor, versions."""
    query = "--query-gpu=name,compute_cap,driver_version,memory.total,clocks.sm,power.limit"
    asked = ["nvidia-smi", query, "--format=csv,noheader"]
    card = "no nvidia-smi here"
    if shutil.which(asked[0]):
        card = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((n.partition(":")[2].strip() for n in info if "model name" in n), "?")
    report.say("# Engines on a GPU, measured", "")
    report.say(
        f"{date.today()}. Card (name, compute capability, driver, memory, SM clock now, power "
        f"limit): {card}. {os.cpu_count()} cores ({model}), Linux {platform.release()}, Python "
        f"{platform.python_version()}, {', '.join(_versions())}."
    )


def _versions() -> Iterator[str]:
    for name in ("onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13-libs", "torch",
                 "nvidia-cudnn-cu13", "nvidia-cublas", "wsidicom", "simplejpeg"):  # fmt: skip
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def rtx(report: Report, bundle: Bundle) -> None:
    """Whether TensorRT for RTX builds a plan here, and whether this card takes it."""
    report.say("", "## What TensorRT for RTX answers here", "")
    try:
        trt = TENSORRT_RTX.load()
        cuda = load_cuda(TENSORRT_RTX.engine)
        here = device_capability(cuda)
    except EngineMissing as missing:
        report.say(f"Not asked: {missing}")
        return
    report.say(f"- release {trt.__version__}, this card has compute capability {spelled(here)}")
    try:
        TENSORRT_RTX.target(trt.__version__, here)
        report.say("- our rule: takes this card")
    except EngineMissing as refused:
        report.say(f"- our rule: {refused}")
    graph = bundle.manifest.graphs["encoder"]
    target = TENSORRT_RTX.target(trt.__version__, (8, 9))
    start = perf_counter()
    file = bundle.file(graph.file)
    plan = compiled(trt, file, graph, profiles(bundle, "encoder"), target, lambda *_: None)
    report.say(f"- portable plan of the default encoder: {len(plan):,} bytes in "
               f"{perf_counter() - start:.1f} s")  # fmt: skip
    said: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]  # its base is known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, text: str) -> None:
            said.append(f"{str(severity).rpartition('.')[2]}: {text.splitlines()[0][:300]}")

    logger = Logger()
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    report.say(f"- reading it on this card: {'refused' if engine is None else 'an engine'}")
    if engine is not None:
        context = engine.create_execution_context()
        report.say(f"- a context for it: {'refused' if context is None else 'there'}")
    report.say(*(f"  - {line}" for line in said[:12]))


def parity(report: Report, bundle: Bundle, paths: Sequence[Path]) -> None:
    """Probe, repeatability, and the slide's heatmap against the CPU in fp32."""
    report.say("", "## Parity with ONNX Runtime on the CPU in fp32, default student")
    with open_runtime(bundle, engine="onnxruntime", precision="fp32") as runtime:
        wanted, cpu_s = timed(lambda: predicted(paths, runtime))
    report.say("", f"The slide on the CPU: {cpu_s:.1f} s, {wanted.tiles} tiles.")
    report.table("engine", "probe, largest difference / tolerance", "two starts, same bits",
                 "largest shift of a tile", "heatmap rank correlation")  # fmt: skip
    for engine, precision in cases(bundle, report.engines):
        try:
            with open_runtime(bundle, engine=engine, precision=precision) as runtime:
                probe = max(d / runtime.tolerance(k) for k, d in runtime.sit_probe().items())
                found, name = predicted(paths, runtime), runtime.engine
            with open_runtime(bundle, engine=engine, precision=precision) as runtime:
                again = predicted(paths, runtime)
        except _ABSENT as absent:
            report.row(f"{engine} {precision}", f"absent: {absent}", "", "", "")
            continue
        report.row(name, f"{probe:.3f}", np.array_equal(found.heatmap, again.heatmap),
                   f"{difference(found.heatmap, wanted.heatmap):.6f}",
                   f"{ranks(found.heatmap, wanted.heatmap):.6f}")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is compared of a prediction."""

    heatmap: NDArray[np.float32]
    tiles: int


def predicted(paths: Sequence[Path], runtime: Runtime) -> Answer:
    """The slide's prediction. Raises RuntimeError where the slide is refused."""
    found = predict(paths, runtime)
    if not isinstance(found, Prediction):
        raise RuntimeError(f"this slide cannot be used: {found}")
    values = np.concatenate([h.values.ravel() for h in found.heatmaps])
    kept = values[np.isfinite(values)]
    return Answer(kept, found.tiles_analyzed)


def ranks(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Spearman's rank correlation; ties by order of place."""
    first, second = (np.argsort(np.argsort(v, kind="stable")).astype(np.float64) for v in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def cases(
    bundle: Bundle, engines: Sequence[EngineName]
) -> Iterator[tuple[EngineName, PrecisionName]]:
    """Engines by the precisions that make sense on a GPU."""
    for engine in engines:
        for name in ("fp32", "fp16", "int8"):
            if name == "fp32" or bundle.manifest.precision(name, engine):
                yield engine, name  # type: ignore[misc]


def encoders(report: Report, bundles: Sequence[Bundle], tiles: NDArray[np.uint8]) -> None:
    """Tiles per second of the encoder alone, by block and callers."""
    report.say("", "## The encoder alone, tiles per second, median (least to most) of "
               f"{ROUNDS} rounds")  # fmt: skip
    report.table("encoder", "engine", "block", "opening, s", "first call, s",
                 *(f"{n} callers" for n in CALLERS))  # fmt: skip
    for bundle in bundles:
        for engine, precision in cases(bundle, report.engines):
            for block in BLOCKS:
                if report.is_late:
                    report.say("", "Out of time: the rest was not measured.")
                    return
                try:
                    cells = _rates(with_batch(bundle, block), engine, precision, tiles)
                except _ABSENT as absent:
                    report.row(bundle.manifest.name, f"{engine} {precision}", block,
                               f"absent: {absent}", *[""] * (1 + len(CALLERS)))  # fmt: skip
                    break
                report.row(bundle.manifest.name, f"{engine} {precision}", block, *cells)


def with_batch(bundle: Bundle, batch: int) -> Bundle:
    """The same bundle whose encoder takes blocks of another size."""
    given = bundle.manifest.input.model_copy(update={"batch": batch})
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"input": given}))


def _rates(
    bundle: Bundle, engine: EngineName, precision: PrecisionName, tiles: NDArray[np.uint8]
) -> list[str]:
    start = perf_counter()
    size = 2 * bundle.manifest.input.batch
    blocks = [np.ascontiguousarray(np.resize(np.roll(tiles, 7 * n, 0), (size, *tiles.shape[1:])))
              for n in range(4)]  # fmt: skip
    with open_runtime(bundle, engine=engine, precision=precision) as runtime:
        opening = perf_counter() - start
        _, first = timed(lambda: runtime.run("encoder", {"tiles": blocks[0]}))
        cells = [f"{opening:.2f}", f"{first:.3f}"]
        for callers in CALLERS:
            calls, speeds = max(callers, 2048 // size), []
            for _ in range(ROUNDS + 1):
                turns = iter(range(calls))

                def work(_: int, turns: Iterator[int] = turns) -> None:
                    for turn in turns:
                        runtime.run("encoder", {"tiles": blocks[turn % len(blocks)]})

                with ThreadPoolExecutor(callers) as pool:
                    _, took = timed(lambda: list(pool.map(work, range(callers))))  # noqa: B023
                speeds.append(calls * size / took)
            cells.append(spread(speeds[1:]))
    return cells


def whole(report: Report, bundles: Sequence[Bundle], paths: Sequence[Path]) -> None:
    """From a slide's files to its prediction, and making tiles alone."""
    report.say("", "## From a slide's files to its prediction", "")
    report.table("encoder", "engine", "tiles", "files to prediction, s", "tiles/s",
                 "making tiles alone, tiles/s")  # fmt: skip
    for bundle in bundles:
        for engine, precision in cases(bundle, report.engines):
            if report.is_late:
                report.say("", "Out of time: the rest was not measured.")
                return
            try:
                with open_runtime(with_batch(bundle, 64), engine=engine,
                                  precision=precision) as runtime:  # fmt: skip
                    runs = [timed(lambda: predicted(paths, runtime)) for _ in range(4)][1:]
                    made = [decoding(paths, runtime) for _ in range(3)]
            except _ABSENT as absent:
                report.row(bundle.manifest.name, f"{engine} {precision}", "", f"absent: {absent}",
                           "", "")  # fmt: skip
                continue
            tiles = runs[0][0].tiles
            report.row(bundle.manifest.name, f"{engine} {precision}", tiles,
                       spread([s for _, s in runs], 2), spread([tiles / s for _, s in runs]),
                       spread(made))  # fmt: skip


def decoding(paths: Sequence[Path], runtime: Runtime) -> float:
    """Tiles per second made and thrown away, on as many threads as the engine has lanes."""
    with open_slide(paths) as slide:
        source = plan_tiles(slide, runtime.manifest.input, ()).sources[0]
        batches = iter(in_order([source], runtime.batch))
        frames = {0: SharedFrames(source.level, [source])}

        def work(cutter: TileCutter) -> None:
            for one in batches:  # next() of a list iterator is atomic
                cutter.cut(one)

        cutters = [TileCutter([source], frames, runtime.batch) for _ in range(runtime.lanes)]
        with ThreadPoolExecutor(runtime.lanes) as pool:
            _, took = timed(lambda: list(pool.map(work, cutters)))
    return len(source.cells) / took


def some_tiles(paths: Sequence[Path], bundle: Bundle, count: int = 512) -> NDArray[np.uint8]:
    """Tiles [count, H, W, 3] of the slide, evenly over its tissue."""
    with open_slide(paths) as slide:
        source = plan_tiles(slide, bundle.manifest.input, ()).sources[0]
        step = max(1, len(source.cells) // count)
        source = dataclasses.replace(
            source, cells=source.cells[::step][:count], rectangles=source.rectangles[::step][:count]
        )
        cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, 64)
        return np.concatenate([cutter.cut(b)[0].copy() for b in in_order([source], 64)])


def shapes(report: Report, folder: Path, tiles: NDArray[np.uint8]) -> list[Bundle]:
    """ResNet-18 and ViT-S/16 with random weights, where torch is there to make them."""
    try:
        import torch
        from shapes import write_bundle

        from training.errors import TrainingError
    except ImportError as missing:
        report.say("", f"Shapes were not made: {missing}.")
        return []
    given, made = torch.from_numpy(tiles[:24].copy()), []
    for name in SHAPES:
        try:
            made.append(open_bundle(write_bundle(name, folder / name, given, forms=["fp16"])))
        except (TrainingError, BundleRejected) as refused:
            report.say("", f"Shape {name} was not made: {refused}.")
    return made


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and its seconds."""
    start = perf_counter()
    found = work()
    return found, perf_counter() - start


def main() -> None:
    """Every part in turn, the report on disk after each line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--engines", nargs="+", default=GPU_ENGINES, choices=ENGINE_NAMES)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    asked = parser.parse_args()
    report = Report(asked.out / f"{date.today()}-gpu.md", asked.seconds, asked.engines)
    paths = sorted(p for p in asked.slide.iterdir() if p.is_file())
    default = open_bundle("default")
    facts(report)
    if "rtx" in asked.parts:
        rtx(report, default)
    if "parity" in asked.parts:
        parity(report, default, paths)
    with tempfile.TemporaryDirectory() as folder:
        tiles = some_tiles(paths, default)
        made = [default, *shapes(report, Path(folder), tiles)]
        if "encoders" in asked.parts:
            encoders(report, made, tiles)
        if "whole" in asked.parts:
            whole(report, made, paths)


if __name__ == "__main__":
    main()
