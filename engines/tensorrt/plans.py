"""TensorRT plans of a bundle: what a plan belongs to, how it is built, found and read.

A plan is code for one graph, one library and release, and one kind or family of GPUs. Its file name
in the bundle's `plans/` carries them all, so a plan of another is never loaded by mistake.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import EngineMissing
from engines.executor import AGGREGATOR, ENCODER, graph_file, graphs_of, precision_name
from engines.manifest.precision import Precision
from engines.tensorrt.compiler import Progress, Sizes, compiled
from engines.tensorrt.libraries import Target

FOLDER = "plans"
LARGE_BLOCKS = 8
"""A GPU also takes blocks of so many times the manifest's batch while there are enough tiles."""
BAG = (1, 8192, 65536)
"""Tiles of a slide that the aggregator's plan takes: least, best, most."""


def encoder_sizes(batch: int) -> tuple[int, int]:
    """Tiles in a block of the encoder, large first: each size has a profile of its own."""
    return LARGE_BLOCKS * batch, batch


def plan_path(bundle: Bundle, graph_name: str, precision: Precision | None, target: Target) -> Path:
    """Where the plan of a graph for a device lies, whether it is there or not.

    Raises EngineMissing where the graph cannot be read.
    """
    form = precision if graph_name == ENCODER else None
    onnx = _content(bundle.file(graph_file(bundle, graph_name, precision)))
    key = hashlib.sha256()
    for part in (
        hashlib.sha256(onnx).hexdigest(),
        precision_name(form),
        str(target),
        repr(profiles(bundle, graph_name)),
    ):
        key.update(part.encode() + b"\0")
    name = f"{graph_name}-{precision_name(form)}-{target.label}"
    return bundle.root / FOLDER / f"{name}-{key.hexdigest()[:16]}.plan"


def read_plan(
    bundle: Bundle, graph_name: str, precision: Precision | None, target: Target
) -> bytes:
    """The serialized engine of a graph for a device.

    Raises EngineMissing, with the command that builds it, where there is none or it is damaged, and
    where it cannot be read.
    """
    path = plan_path(bundle, graph_name, precision, target)
    command = build_command(bundle, precision, target)
    if not _is_file(path):
        others = sorted(p.name for p in path.parent.glob(f"{graph_name}-*.plan"))
        raise EngineMissing(
            f"engine '{target.library.engine}': found {', '.join(others) or 'no plan'} of graph "
            f"{graph_name}, expected {path.name} ({target}); build it with: {command}"
        )
    plan = _whole(path)
    if plan is None:
        raise EngineMissing(f"{path}: the plan is damaged; build it again with: {command}")
    return plan


def _whole(path: Path) -> bytes | None:
    """The plan of a file; None where it is not there, or not what was written."""
    if not _is_file(path):
        return None
    content = _content(path)
    digest, plan = content[:32], content[32:]
    return plan if hashlib.sha256(plan).digest() == digest else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> EngineMissing:
    return EngineMissing(f"{path}: the file cannot be read ({error.strerror})")


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


def build_command(bundle: Bundle, precision: Precision | None, target: Target) -> str:
    """What a person types to build the plans of a bundle, on a machine where that can be done."""
    command = (
        f"dicom-node engine build {bundle.root} --engine {target.library.engine} "
        f"--precision {precision_name(precision)}"
    )
    return command if target.library.needs_device else f"{command} --target {target.gpu}"


def build_plans(
    bundle: Bundle, precision: Precision | None, target: Target, trt: Any, progress: Progress
) -> Iterator[Path]:
    """Builds the plans of all graphs for a target, where they are not there yet or are damaged.

    A plan that came with the bundle is taken as it is: its name says graph, library, release and
    kind of GPU. Raises BundleRejected for a graph that TensorRT cannot take.
    """
    for graph_name in graphs_of(bundle):
        path = plan_path(bundle, graph_name, precision, target)
        if _whole(path) is None:
            onnx = bundle.file(graph_file(bundle, graph_name, precision))
            graph, sizes = bundle.manifest.graphs[graph_name], profiles(bundle, graph_name)
            timings = path.with_name(f"timings-{target.library.tag}{target.release}.cache")
            plan = compiled(trt, onnx, graph, sizes, target, progress, timings=timings)
            write_plan(path, plan)
        yield path


def profiles(bundle: Bundle, graph_name: str) -> tuple[Sizes, ...]:
    """Least, best and most of every named axis, a profile each."""
    if graph_name == AGGREGATOR:
        return (BAG,)
    return tuple((size, size, size) for size in encoder_sizes(bundle.manifest.input.batch))
