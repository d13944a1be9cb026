"""TensorRT plans of a bundle: what a plan belongs to, how it is built, found and read.

A plan is machine code for one graph, one TensorRT release and one kind of GPU. Its file name in
the bundle's `plans/` carries all three, so a plan of another device is never loaded by mistake.

This module has not been run against TensorRT or a GPU: its calls are checked against the
published bindings of TensorRT 11.4 (tests/engines/test_tensorrt.py), nothing more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import BundleRejected, EngineMissing
from engines.executor import AGGREGATOR, ENCODER, graph_file, precision_name
from engines.manifest import Graph
from engines.precision import Precision

FOLDER = "plans"
LARGE_BLOCKS = 8
"""A GPU also takes blocks of so many times the manifest's batch while there are enough tiles."""
BAG = (1, 8192, 65536)
"""Tiles of a slide that the aggregator's plan takes: least, best, most."""

Shape = tuple[int, ...]
Sizes = tuple[int, int, int]
Progress = Callable[[str, int, int], None]
"""Called with a phase of the build, its steps done and their number."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan runs on. `capability` is the GPU's compute capability, as in 9.0."""

    tensorrt: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        major, minor = self.capability
        return f"TensorRT {self.tensorrt}, compute capability {major}.{minor}"


def encoder_sizes(batch: int) -> tuple[int, int]:
    """Tiles in a block of the encoder, large first: each size has a profile of its own."""
    return LARGE_BLOCKS * batch, batch


def plan_path(bundle: Bundle, graph_name: str, precision: Precision | None, target: Target) -> Path:
    """Where the plan of a graph for a device lies, whether it is there or not."""
    form = precision if graph_name == ENCODER else None
    onnx = bundle.file(graph_file(bundle, graph_name, precision)).read_bytes()
    key = hashlib.sha256()
    for part in (
        hashlib.sha256(onnx).hexdigest(),
        precision_name(form),
        str(target),
        repr(_profiles(bundle, graph_name)),
    ):
        key.update(part.encode() + b"\0")
    major, minor = target.capability
    name = f"{graph_name}-{precision_name(form)}-trt{target.tensorrt}-sm{major}{minor}"
    return bundle.root / FOLDER / f"{name}-{key.hexdigest()[:16]}.plan"


def read_plan(
    bundle: Bundle, graph_name: str, precision: Precision | None, target: Target
) -> bytes:
    """The serialized engine of a graph for a device.

    Raises EngineMissing, with the command that builds it, where there is none or it is damaged.
    """
    path = plan_path(bundle, graph_name, precision, target)
    command = build_command(bundle, precision)
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob(f"{graph_name}-*.plan"))
        raise EngineMissing(
            f"engine 'tensorrt': found {', '.join(others) or 'no plan'} of graph {graph_name}, "
            f"expected {path.name} ({target}); build it with: {command}"
        )
    content = path.read_bytes()
    digest, plan = content[:32], content[32:]
    if hashlib.sha256(plan).digest() != digest:
        raise EngineMissing(f"{path}: the plan is damaged; build it again with: {command}")
    return plan


def write_plan(path: Path, plan: bytes) -> None:
    """A plan behind its own SHA-256 (32 bytes), complete or not there at all."""
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(hashlib.sha256(plan).digest() + plan)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise EngineMissing(
            f"{path}: the plan cannot be written ({error.strerror}); copy the bundle to a folder "
            "that the node may write, and name that folder as the bundle"
        ) from error


def build_command(bundle: Bundle, precision: Precision | None) -> str:
    """What a person types to build the plans of a bundle on this machine."""
    return (
        f"dicom-node engine build {bundle.root} --engine tensorrt "
        f"--precision {precision_name(precision)}"
    )


def build_plans(
    bundle: Bundle, precision: Precision | None, target: Target, trt: Any, progress: Progress
) -> Iterator[Path]:
    """Builds both graphs' plans for this device, where they are not there yet.

    Raises BundleRejected for a graph that TensorRT cannot take.
    """
    for graph_name in (ENCODER, AGGREGATOR):
        path = plan_path(bundle, graph_name, precision, target)
        if not path.is_file():
            onnx = bundle.file(graph_file(bundle, graph_name, precision))
            graph, profiles = bundle.manifest.graphs[graph_name], _profiles(bundle, graph_name)
            timings = path.with_name(f"timings-trt{target.tensorrt}.cache")
            write_plan(path, _build(trt, onnx, graph, profiles, timings, progress))
        yield path


def _profiles(bundle: Bundle, graph_name: str) -> tuple[Sizes, ...]:
    """Least, best and most of every named axis, a profile each."""
    if graph_name == AGGREGATOR:
        return (BAG,)
    return tuple((size, size, size) for size in encoder_sizes(bundle.manifest.input.batch))


def _build(
    trt: Any,
    onnx: Path,
    graph: Graph,
    profiles: tuple[Sizes, ...],
    timings: Path,
    progress: Progress,
) -> bytes:
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    # Networks are strongly typed in TensorRT 11, with no flag for it: precision is in the graph.
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise BundleRejected(f"{onnx}: TensorRT cannot parse this graph: {reasons}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits of mantissa: not the numbers of fp32
    config.progress_monitor = monitor = _monitor(trt, progress)
    for sizes in profiles:
        profile = builder.create_optimization_profile()
        for tensor in graph.inputs:
            profile.set_shape(tensor.name, *(_sized(tensor.shape, size) for size in sizes))
        if config.add_optimization_profile(profile) < 0:
            raise BundleRejected(f"{onnx}: TensorRT refuses its shapes for {sizes} tiles")
    cache = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
    config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    del monitor  # lives as long as the build, which calls it
    if plan is None:
        raise BundleRejected(f"{onnx}: TensorRT cannot build this graph; its log says why")
    timings.parent.mkdir(exist_ok=True)
    timings.write_bytes(bytes(cache.serialize()))
    return bytes(plan)


def _sized(shape: tuple[int | str, ...], size: int) -> Shape:
    return tuple(size if isinstance(axis, str) else axis for axis in shape)


def _monitor(trt: Any, progress: Progress) -> Any:
    """A TensorRT progress monitor that tells of the outermost phases."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # its base is known at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                progress(phase_name, step + 1, self._steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
