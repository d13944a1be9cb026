"""ONNX Runtime: on the CPU the neutral reference; CUDA where TensorRT is not.

The CUDA provider needs the package onnxruntime-gpu in place of onnxruntime (extra `cuda`). It was
run on one H100 (deploy/benchmarks/2026-11-26-gpu.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.arrays import require_tensors
from engines.bundle import Bundle
from engines.errors import BundleRejected, DeviceLost, EngineMissing, device_failed
from engines.executor import (
    AGGREGATOR,
    ENCODER,
    Arrays,
    Executor,
    blocks,
    filled,
    graph_file,
    graphs_of,
    precision_name,
)
from engines.machine import available_memory, cores, need_of, require_memory
from engines.manifest.precision import Precision
from engines.tensorrt.libraries import Capability

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def cpu_lacks(precision: Precision) -> str:
    """Empty where the CPU provider computes the precision, else why not."""
    return "" if precision.file else f"onnxruntime computes {precision.name} from a graph file only"


def cuda_lacks(precision: Precision) -> str:
    """Empty where the CUDA provider computes the precision, else why not."""
    if precision.name == "int8":
        # Measured on an H100: all of it is computed in fp32, its biases on the CPU, and slower.
        return "onnxruntime-cuda computes int8 graphs in fp32, and slower than the fp32 graph"
    return cpu_lacks(precision)


@contextmanager
def open_cpu(bundle: Bundle, precision: Precision | None, threads: int) -> Iterator[Executor]:
    """The bundle on the CPU provider: every call on the thread of its caller, `threads` of them."""
    lanes = threads or cores()
    file = graph_file(bundle, ENCODER, precision)
    require_memory(need_of(bundle, file, lanes), available_memory())
    yield _OnnxRuntime(_onnxruntime(), bundle, precision, lanes, [CPU])


@contextmanager
def open_cuda(bundle: Bundle, precision: Precision | None, threads: int) -> Iterator[Executor]:
    """The bundle on the CUDA provider. Raises EngineMissing where it would run on the CPU instead.

    `threads` are those that make tiles for it; 0 means all cores.
    """
    onnxruntime = _with_cuda()
    # Libraries of CUDA that pip installed are found by nobody else. What it prints is not ours.
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
    # TF32 keeps 10 bits of the mantissa: not the numbers of fp32. By default cuDNN's kernels are
    # timed at every start and the fastest is taken: two starts could take different ones.
    settings = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    yield _OnnxRuntime(onnxruntime, bundle, precision, threads or cores(), [(CUDA, settings), CPU])


class _OnnxRuntime:
    def __init__(
        self,
        onnxruntime: Any,
        bundle: Bundle,
        precision: Precision | None,
        lanes: int,
        providers: Sequence[Any],
    ) -> None:
        broken = onnxruntime.capi.onnxruntime_pybind11_state
        # What the door lets in fits the manifest: an argument refused is a graph that does not.
        self._failures: tuple[type[Exception], ...] = (
            broken.Fail,
            broken.RuntimeException,
            broken.EPFail,
            broken.InvalidArgument,
        )
        refusals = (broken.InvalidGraph, broken.InvalidProtobuf, broken.NotImplemented, broken.Fail)
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        device = "CPU" if wanted == CPU else "CUDA"
        version = onnxruntime.__version__
        self.description = f"onnxruntime {version} {precision_name(precision)} {device}"
        self.lanes = lanes
        self.batch = bundle.manifest.input.batch
        self._outputs = {g: bundle.manifest.graphs[g].outputs for g in graphs_of(bundle)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions: dict[str, Any] = {}
        for graph in graphs_of(bundle):
            file = bundle.file(graph_file(bundle, graph, precision))
            try:
                session = onnxruntime.InferenceSession(file, options, providers=list(providers))
            except (*refusals, broken.RuntimeException, broken.EPFail) as error:
                failed = device_failed(self.description, error)
                if isinstance(failed, DeviceLost) or not isinstance(error, refusals):
                    raise failed from error
                raise BundleRejected(
                    f"{file}: onnxruntime cannot load this graph: {error}"
                ) from error
            session.disable_fallback()
            if session.get_providers()[0] != wanted:
                raise EngineMissing(
                    f"engine 'onnxruntime-cuda': {wanted} did not start (found "
                    f"{', '.join(session.get_providers())}); look at the driver and CUDA libraries"
                )
            own = (*session.get_inputs(), *session.get_outputs())
            require_tensors(file, bundle.manifest.graphs[graph], (tensor.name for tensor in own))
            self._sessions[graph] = session

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        try:
            if graph_name == ENCODER:
                return self._encode(arrays)
            return self._compute(AGGREGATOR, arrays)
        except self._failures as error:
            raise device_failed(self.description, error) from error

    def _encode(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        tiles = len(next(iter(arrays.values())))
        spare = {n: np.zeros((self.batch, *a.shape[1:]), a.dtype) for n, a in arrays.items()}
        parts: list[dict[str, NDArray[Any]]] = []
        for first, count in blocks(max(tiles, 1), self.batch):
            block = {n: filled(a[first : first + count], spare[n]) for n, a in arrays.items()}
            parts.append({n: a[:count] for n, a in self._compute(ENCODER, block).items()})
        return {n: np.concatenate([p[n] for p in parts])[:tiles] for n in parts[0]}

    def _compute(self, graph: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        names = [t.name for t in self._outputs[graph]]
        return dict(zip(names, self._sessions[graph].run(names, dict(arrays)), strict=True))


def release() -> str:
    """ONNX Runtime's version. Raises EngineMissing without it."""
    return str(_onnxruntime().__version__)


def require_cuda(bundle: Bundle, precision: Precision | None, capability: Capability) -> None:
    """Raises EngineMissing without the CUDA provider; it needs no plan."""
    _with_cuda()


def _with_cuda() -> Any:
    onnxruntime = _onnxruntime()
    if CUDA not in onnxruntime.get_available_providers():
        raise EngineMissing(
            "engine 'onnxruntime-cuda': this onnxruntime has no CUDA provider; pip uninstall "
            "onnxruntime, then pip install 'dicom-node[cuda]'"
        )
    return onnxruntime


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissing(
            "engine 'onnxruntime': the package is not installed; pip install dicom-node brings it"
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime
