"""OpenVINO on the CPU, the default engine: one stream of one thread a lane.

A stream of one thread computes a tile the same way whatever the other streams do, so fp32 results
are bit-identical for any number of lanes; the aggregator has one thread for the same reason.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.arrays import require_tensors
from engines.bundle import Bundle
from engines.errors import BundleRejected, EngineMissing, device_failed
from engines.executor import (
    AGGREGATOR,
    ENCODER,
    Arrays,
    Executor,
    blocks,
    filled,
    graph_file,
    precision_name,
)
from engines.machine import available_memory, cores, need_of, require_memory
from engines.manifest.precision import Precision
from engines.manifest.tensors import Graph


def lacks(precision: Precision) -> str:
    """Empty where this engine computes the precision on this CPU, else why not."""
    if precision.name == "fp16":
        return "openvino computes no fp16 on a CPU"
    if precision.name == "bf16" and "BF16" not in capabilities():
        return "this CPU has no bf16 instructions"
    return ""


@contextmanager
def open_openvino(bundle: Bundle, precision: Precision | None, threads: int) -> Iterator[Executor]:
    """The bundle compiled for the CPU; `threads` 0 means all cores.

    Raises EngineMissing without the package or without the memory, BundleRejected for a graph that
    does not compile.
    """
    lanes = threads or cores()
    file = graph_file(bundle, ENCODER, precision)
    require_memory(need_of(bundle, file, lanes), available_memory())
    yield _OpenVino(bundle, precision, lanes)


class _OpenVino:
    def __init__(self, bundle: Bundle, precision: Precision | None, lanes: int) -> None:
        openvino = _openvino()
        self.description = f"openvino {release()} {precision_name(precision)} CPU"
        self.lanes = lanes
        core = openvino.Core()
        file = bundle.file(graph_file(bundle, ENCODER, precision))
        # bf16 would be chosen by default on CPUs that have it, with other numbers than fp32.
        hint = "bf16" if precision is not None and precision.name == "bf16" else "f32"
        graph = bundle.manifest.graphs[ENCODER]
        self.batch = bundle.manifest.input.batch
        encoder = _compile(core, file, graph, hint, lanes, self.batch)
        self._idle: SimpleQueue[_Lane] = SimpleQueue()
        for _ in range(lanes):
            self._idle.put(_Lane(openvino.Tensor, encoder, graph))
        self._lock = threading.Lock()
        if AGGREGATOR not in bundle.manifest.graphs:
            return
        graph = bundle.manifest.graphs[AGGREGATOR]
        self._aggregator = _compile(core, bundle.file(graph.file), graph, "f32", 1, None)
        self._shapes = core.read_model(bundle.file(graph.file))
        self._slide_outputs = [t.name for t in graph.outputs]

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        try:
            return self._encode(arrays) if graph_name == ENCODER else self._aggregate(arrays)
        except RuntimeError as error:
            raise device_failed(self.description, error) from error

    def _encode(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Block after block on one lane, and on any other that is idle."""
        tiles = len(next(iter(arrays.values())))
        work = list(blocks(tiles, self.batch))
        lanes = [self._idle.get()]
        try:
            lanes += self._idle_lanes(len(work) - 1)
            outputs = lanes[0].empty_outputs(tiles)
            if len(work) == 1:
                lanes[0].compute(arrays, outputs, tiles)
                return outputs
            for number, (first, count) in enumerate(work):
                lane = lanes[number % len(lanes)]
                lane.finish()
                lane.start(arrays, outputs, first, count)
            for lane in lanes:
                lane.finish()
        finally:
            for lane in lanes:
                lane.release()
                self._idle.put(lane)
        return outputs

    def _idle_lanes(self, most: int) -> Iterator[_Lane]:
        with suppress(Empty):
            for _ in range(most):
                yield self._idle.get_nowait()

    def _aggregate(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        # OpenVINO checks no shape inside of a graph while it runs: one that is fixed to another
        # number of tiles would read foreign memory. Shape inference on the model finds it.
        with self._lock:
            self._shapes.reshape({name: list(array.shape) for name, array in arrays.items()})
        # A request of its own: it is gone, with its buffers for N tiles, when this returns.
        request = self._aggregator.create_infer_request()
        results = request.infer(dict(arrays), share_inputs=True)
        return {name: np.array(results[name]) for name in self._slide_outputs}


class _Lane:
    """One infer request, and the block that it computes now."""

    def __init__(self, tensor: Any, compiled: Any, graph: Graph) -> None:
        self._tensor = tensor
        self._request = compiled.create_infer_request()
        self._inputs = [t.name for t in graph.inputs]
        self._outputs = [t.name for t in graph.outputs]
        self._spare = {n: np.zeros_like(self._request.get_tensor(n).data) for n in self._inputs}
        self._running: tuple[dict[str, NDArray[Any]], int, int] | None = None

    def empty_outputs(self, tiles: int) -> dict[str, NDArray[Any]]:
        found = {name: self._request.get_tensor(name).data for name in self._outputs}
        return {name: np.empty((tiles, *a.shape[1:]), a.dtype) for name, a in found.items()}

    def compute(self, arrays: Arrays, outputs: dict[str, NDArray[Any]], n: int) -> None:
        """All n tiles, on the thread that calls: no other one has to be woken for them."""
        self._give(arrays, 0, n)
        self._request.infer()
        self._copy(outputs, 0, n)

    def start(self, arrays: Arrays, outputs: dict[str, NDArray[Any]], first: int, n: int) -> None:
        """Begin tiles [first, first + n) of `arrays`, which must stay as they are until finish."""
        self._give(arrays, first, n)
        self._running = outputs, first, n
        self._request.start_async()

    def _give(self, arrays: Arrays, first: int, n: int) -> None:
        for name in self._inputs:
            block = filled(arrays[name][first : first + n], self._spare[name])
            self._request.set_tensor(name, self._tensor(block, shared_memory=True))

    def _copy(self, outputs: dict[str, NDArray[Any]], first: int, n: int) -> None:
        for name in self._outputs:
            outputs[name][first : first + n] = self._request.get_tensor(name).data[:n]

    def finish(self) -> None:
        """Wait for the block, if there is one, and copy its rows out."""
        if self._running is None:
            return
        outputs, first, n = self._running
        self._running = None
        self._request.wait()
        self._copy(outputs, first, n)

    def release(self) -> None:
        """Let go of the caller's memory, after a failure too."""
        if self._running is not None:
            self._running = None
            self._request.cancel()
            with suppress(RuntimeError):  # the block is given up; the failure is told elsewhere
                self._request.wait()
        for name in self._inputs:
            self._request.set_tensor(name, self._tensor(self._spare[name], shared_memory=True))


def _compile(
    core: Any, file: Path, graph: Graph, hint: str, streams: int, batch: int | None
) -> Any:
    """A graph with one thread a stream; with `batch`, its axis of tiles fixed to that."""
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        # Pinned streams of two processes would share one core while the other idles.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        model = core.read_model(file)
        own = (*model.inputs, *model.outputs)
        require_tensors(file, graph, (name for tensor in own for name in tensor.get_names()))
        if batch is not None:
            model.reshape({t.name: [batch, *t.shape[1:]] for t in graph.inputs})
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BundleRejected(f"{file}: openvino cannot compile this graph: {reason}") from error


def release() -> str:
    """OpenVINO's version."""
    return str(_openvino().get_version().split("-")[0])


def capabilities() -> list[str]:
    """What this CPU computes fast, in the words of OpenVINO."""
    found: list[str] = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def _openvino() -> Any:
    # openvino builds a telemetry client when it is imported. Without that package it takes its own
    # stub, so the node hides the package: a hospital node sends nothing out.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise EngineMissing(
            "engine 'openvino': the package openvino is not installed; pip install dicom-node "
            "brings it"
        ) from error
    return openvino
