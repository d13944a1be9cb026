"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU, through plans that are there before it starts.

Two slots of fixed buffers go round among the callers: while the block in one is computed, that in
the other is copied to the device on a second stream. A block's kernels are one CUDA graph a slot.

Plans of TensorRT for RTX are built in the tests; none has been run: no such GPU was at hand. What
is called to run one is checked against the bindings of both libraries and of cuda-bindings 13.5
(tests/engines/test_tensorrt.py); tests marked `gpu` wait for the hardware.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle, require_student
from engines.errors import DeviceFailed, EngineMissing
from engines.executor import AGGREGATOR, ENCODER, Arrays, Executor, precision_name
from engines.machine import cores
from engines.manifest.precision import Precision
from engines.manifest.tensors import Graph, Tensor
from engines.tensorrt.compiler import Progress
from engines.tensorrt.cuda import (
    call,
    captured,
    device_bytes,
    device_capability,
    load_cuda,
    new_event,
    new_stream,
    pinned_array,
    to_device,
    to_host,
)
from engines.tensorrt.libraries import Capability, Library, Target, spelled
from engines.tensorrt.plans import BAG, build_command, build_plans, encoder_sizes, read_plan

SLOTS = 2


def lacks(precision: Precision) -> str:
    """Empty where TensorRT computes the precision, else why not."""
    if precision.file is None:
        return f"TensorRT takes {precision.name} from a graph file only"
    if precision.name == "int8":
        return (
            "the bundle's int8 graph is a CPU's, with asymmetric activations, and TensorRT takes "
            "symmetric ones only"
        )
    return ""


def require(
    library: Library, bundle: Bundle, precision: Precision | None, capability: Capability
) -> None:
    """Raises EngineMissing where bindings or a plan for a GPU of this capability are not there."""
    load_cuda(library.engine)
    target = library.target(library.load().__version__, capability)
    for graph_name in (ENCODER, AGGREGATOR):
        read_plan(bundle, graph_name, precision, target)


def prepare(
    library: Library,
    bundle: Bundle,
    precision: Precision | None,
    progress: Progress,
    capability: Capability | None = None,
) -> list[str]:
    """Names of the plans of a bundle for a GPU, by default the one here, built where missing.

    Raises EngineMissing for another GPU where the library builds on the GPU itself only.
    """
    trt = library.load()
    if capability is None or library.needs_device:
        here = device_capability(load_cuda(library.engine))
        if capability not in (None, here):
            raise EngineMissing(
                f"engine '{library.engine}': found a GPU of compute capability {spelled(here)}, "
                f"asked for {spelled(capability)}; {library.name} builds for the GPU that is here"
            )
        capability = here
    target = library.target(trt.__version__, capability)
    return [path.name for path in build_plans(bundle, precision, target, trt, progress)]


@contextmanager
def open_tensorrt(
    library: Library, bundle: Bundle, precision: Precision | None, threads: int
) -> Iterator[Executor]:
    """The bundle's plans on device 0. `threads` are those that make its tiles; 0 means all cores.

    Raises EngineMissing without the library, a GPU that it takes or a plan for it, and DeviceFailed
    when the device cannot take the plan.
    """
    require_student(bundle)
    trt, cuda = library.load(), load_cuda(library.engine)
    call(cuda, cuda.cudaSetDevice, 0)
    target = library.target(trt.__version__, device_capability(cuda))
    with ExitStack() as owner:
        yield _TensorRt(trt, cuda, owner, bundle, precision, target, threads or cores())


class _TensorRt:
    def __init__(
        self,
        trt: Any,
        cuda: Any,
        owner: ExitStack,
        bundle: Bundle,
        precision: Precision | None,
        target: Target,
        lanes: int,
    ) -> None:
        self.lanes = lanes
        sizes = encoder_sizes(bundle.manifest.input.batch)
        self.batch = sizes[0]
        major, minor = target.capability
        library, name = target.library, precision_name(precision)
        self.description = f"{library.engine} {target.release} {name} sm{major}{minor}"
        self._cuda = cuda
        self._lock = threading.Lock()
        self._graphs = bundle.manifest.graphs
        self._copies, self._compute = new_stream(cuda, owner), new_stream(cuda, owner)
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engines = {}
        for graph_name in (ENCODER, AGGREGATOR):
            plan = read_plan(bundle, graph_name, precision, target)
            engines[graph_name] = engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise EngineMissing(
                    f"engine '{library.engine}': the plan of graph {graph_name} cannot be read by "
                    f"{target}; delete it and run: {build_command(bundle, precision, target)}"
                )
        self._idle: dict[int, SimpleQueue[_Slot]] = {size: SimpleQueue() for size in sizes}
        graph = self._graphs[ENCODER]
        for n, size in enumerate(sizes):
            for _ in range(SLOTS):
                slot = _Slot(cuda, owner, self._context(engines[ENCODER], n), graph, size)
                slot.capture(self._compute, owner)
                self._idle[size].put(slot)
        self._bag = self._context(engines[AGGREGATOR], 0)

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        call(self._cuda, self._cuda.cudaSetDevice, 0)  # the device is a thread's setting
        if graph_name == ENCODER:
            return self._encode(arrays)
        with self._lock:
            return self._aggregate(arrays)

    def _encode(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        tiles = len(next(iter(arrays.values())))
        graph = self._graphs[ENCODER]
        outputs = {t.name: _empty(t, _axes(graph, arrays)) for t in graph.outputs}
        for first, count, size in cut(tiles, tuple(self._idle)):
            slot = self._idle[size].get()
            try:
                slot.start(arrays, first, count, self._copies, self._compute)
                slot.collect(outputs, first, count)
            finally:
                self._idle[size].put(slot)
        return outputs

    def _aggregate(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        graph, cuda, context = self._graphs[AGGREGATOR], self._cuda, self._bag
        most = max(len(a) for a in arrays.values())
        if most > BAG[-1]:
            raise DeviceFailed(
                f"{self.description}: the slide has {most} tiles, its plan takes {BAG[-1]}; run "
                "this study with engine openvino"
            )
        inputs = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        outputs = {t.name: _empty(t, _axes(graph, arrays)) for t in graph.outputs}
        with ExitStack() as owner:
            places = {
                n: device_bytes(cuda, owner, a.nbytes) for n, a in {**inputs, **outputs}.items()
            }
            for name, place in places.items():
                context.set_tensor_address(name, place)
            for name, array in inputs.items():
                context.set_input_shape(name, array.shape)
                to_device(cuda, places[name], array, self._compute)
            _enqueue(cuda, context, self._compute)
            for name, array in outputs.items():
                to_host(cuda, array, places[name], self._compute)
            call(cuda, cuda.cudaStreamSynchronize, self._compute)
        return outputs

    def _context(self, engine: Any, profile: int) -> Any:
        """A context for one profile; it holds the memory of the graph's activations."""
        context = engine.create_execution_context()
        if context is None:
            raise DeviceFailed(f"{self.description}: too little memory on the device for the plan")
        context.set_optimization_profile_async(profile, int(self._compute))
        call(self._cuda, self._cuda.cudaStreamSynchronize, self._compute)
        return context


class _Slot:
    """Buffers, context and CUDA graph for blocks of one size; one caller has it at a time."""

    def __init__(self, cuda: Any, owner: ExitStack, context: Any, graph: Graph, size: int) -> None:
        self._cuda, self._context = cuda, context
        tensors = (*graph.inputs, *graph.outputs)
        shapes = {t.name: _empty(t, dict.fromkeys(_names(t), size)) for t in tensors}
        self._host = {n: pinned_array(cuda, owner, a.shape, a.dtype) for n, a in shapes.items()}
        self._device = {n: device_bytes(cuda, owner, a.nbytes) for n, a in shapes.items()}
        self._inputs = [t.name for t in graph.inputs]
        self._outputs = [t.name for t in graph.outputs]
        for name in self._inputs:
            self._host[name][:] = 0  # what a short block leaves behind it must be numbers
            context.set_input_shape(name, shapes[name].shape)
        for name, address in self._device.items():
            context.set_tensor_address(name, address)
        self._arrived, self._done = new_event(cuda, owner), new_event(cuda, owner)
        self._kernels: Any = None

    def capture(self, stream: Any, owner: ExitStack) -> None:
        """Make the block's kernels one graph."""
        _enqueue(
            self._cuda, self._context, stream
        )  # TensorRT finishes its own set-up in the first run
        call(self._cuda, self._cuda.cudaStreamSynchronize, stream)
        self._kernels = captured(
            self._cuda, owner, stream, lambda: _enqueue(self._cuda, self._context, stream)
        )

    def start(self, arrays: Arrays, first: int, count: int, copies: Any, compute: Any) -> None:
        """Send tiles [first, first + count) on their way; the caller's memory is read here."""
        cuda = self._cuda
        for name in self._inputs:
            self._host[name][:count] = arrays[name][first : first + count]
            to_device(cuda, self._device[name], self._host[name], copies)
        call(cuda, cuda.cudaEventRecord, self._arrived, copies)
        call(cuda, cuda.cudaStreamWaitEvent, compute, self._arrived, 0)
        call(cuda, cuda.cudaGraphLaunch, self._kernels, compute)
        for name in self._outputs:
            to_host(cuda, self._host[name], self._device[name], compute)
        call(cuda, cuda.cudaEventRecord, self._done, compute)

    def collect(self, outputs: dict[str, NDArray[Any]], first: int, count: int) -> None:
        """Wait for the block and copy its rows out."""
        call(self._cuda, self._cuda.cudaEventSynchronize, self._done)
        for name in self._outputs:
            outputs[name][first : first + count] = self._host[name][:count]


def cut(tiles: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """First tile, tiles and size of each block: large ones while they are full, then small ones.

    `sizes` descend; only the last block may have fewer tiles than its size.
    """
    first = 0
    while first < tiles:
        size = next((s for s in sizes if s <= tiles - first), sizes[-1])
        count = min(size, tiles - first)
        yield first, count, size
        first += count


def _enqueue(cuda: Any, context: Any, stream: Any) -> None:
    if not context.execute_async_v3(int(stream)):
        call(cuda, cuda.cudaPeekAtLastError)  # says it where the device is lost
        raise DeviceFailed("tensorrt: the graph could not be started; TensorRT's log says why")


def _axes(graph: Graph, arrays: Arrays) -> dict[str, int]:
    """Sizes of the named axes in a call."""
    return {
        axis: size
        for tensor in graph.inputs
        for axis, size in zip(tensor.shape, arrays[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }


def _names(tensor: Tensor) -> list[str]:
    return [axis for axis in tensor.shape if isinstance(axis, str)]


def _empty(tensor: Tensor, axes: dict[str, int]) -> NDArray[Any]:
    shape = [axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
    return np.empty(shape, tensor.dtype)
