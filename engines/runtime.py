"""One door to every runtime: named arrays in, named arrays out, checked on both sides.

`open_runtime` chooses the engine, compiles the graphs and sits the bundle's probe before it hands
the runtime over, so a runtime that exists has given the right answers on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import BundleRejected, DeviceFailed, EngineMissing
from engines.manifest import Manifest, Tensor

EngineName = Literal["auto", "openvino", "onnxruntime"]
Arrays = Mapping[str, NDArray[Any]]


class _Executor(Protocol):
    """What an engine must offer: its description, and a run of one graph."""

    description: str

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]: ...


class Runtime:
    """A bundle on an engine, probe passed. Arrays returned belong to the caller."""

    def __init__(self, bundle: Bundle, executor: _Executor) -> None:
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self._executor = executor

    @property
    def engine(self) -> str:
        """Engine, version, precision and device, for the report."""
        return self._executor.description

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by tensor name.

        Raises ValueError when names, dtypes or shapes differ from the manifest (a programming
        error of the caller) and DeviceFailed when the engine breaks or breaks its promise.
        """
        graph = self.manifest.graphs[graph_name]
        axes: dict[str, int] = {}
        _check(graph.inputs, arrays, f"{graph_name} input", axes)
        outputs = self._executor.run(graph_name, arrays)
        try:
            _check(graph.outputs, outputs, f"{graph_name} output", axes)
        except ValueError as error:
            raise DeviceFailed(f"{self.engine}: {error}") from error
        return outputs

    def sit_probe(self) -> dict[str, float]:
        """Largest absolute difference per `<graph>/<tensor>`; BundleRejected above tolerance."""
        probe = self.bundle.probe()
        differences: dict[str, float] = {}
        for graph_name, graph in self.manifest.graphs.items():
            inputs = {
                t.name: _probe_array(self.bundle, probe, graph_name, "in", t) for t in graph.inputs
            }
            outputs = self.run(graph_name, inputs)
            for tensor in graph.outputs:
                expected = _probe_array(self.bundle, probe, graph_name, "out", tensor)
                key = f"{graph_name}/{tensor.name}"
                differences[key] = _difference(outputs[tensor.name], expected)
                tolerance = self.manifest.probe.tolerance[key]
                if not differences[key] <= tolerance:  # NaN must fail too
                    raise BundleRejected(
                        f"{self.bundle.file(self.manifest.probe.file)}: {key} is off by "
                        f"{differences[key]:.3g} on {self.engine}, tolerance {tolerance:.3g}"
                    )
        return differences


@contextmanager
def open_runtime(
    bundle: Bundle, *, engine: EngineName = "auto", threads: int = 0
) -> Iterator[Runtime]:
    """A runtime that has passed the bundle's probe; `threads` 0 means all cores.

    `auto` is OpenVINO on the CPU. Raises EngineMissing for an engine that is not installed and
    BundleRejected when the probe fails.
    """
    executor: _Executor
    if engine in ("auto", "openvino"):
        executor = _OpenVino(bundle, threads)
    elif engine == "onnxruntime":
        executor = _OnnxRuntime(bundle, threads)
    else:
        raise EngineMissing(f"engine {engine!r}: this version has 'openvino' and 'onnxruntime'")
    runtime = Runtime(bundle, executor)
    runtime.sit_probe()
    yield runtime


class _OpenVino:
    """OpenVINO on the CPU in fp32, the default engine."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        # openvino builds a telemetry client when it is imported. Without that package it takes
        # its own stub, so the node hides the package: a hospital node sends nothing out.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError as error:
            raise EngineMissing(
                "engine 'openvino': the package openvino is not installed"
            ) from error
        # bf16 would be chosen by default on CPUs that have it, with other numbers than fp32.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._compiled = {
            name: core.compile_model(str(bundle.file(graph.file)), "CPU", settings)
            for name, graph in bundle.manifest.graphs.items()
        }
        self._outputs = {
            name: [t.name for t in g.outputs] for name, g in bundle.manifest.graphs.items()
        }
        version = openvino.get_version().split("-")[0]
        self.description = f"openvino {version} fp32 CPU"

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        compiled = self._compiled[graph_name]
        try:
            results = compiled(dict(arrays))
        except RuntimeError as error:
            raise DeviceFailed(f"{self.description}: {error}") from error
        return {
            name: np.array(results[compiled.output(name)]) for name in self._outputs[graph_name]
        }


class _OnnxRuntime:
    """ONNX Runtime on the CPU: the neutral reference in parity tests."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineMissing("engine 'onnxruntime': the package is not installed") from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = {
            name: onnxruntime.InferenceSession(
                bundle.file(graph.file), options, providers=["CPUExecutionProvider"]
            )
            for name, graph in bundle.manifest.graphs.items()
        }
        self._outputs = {
            name: [t.name for t in g.outputs] for name, g in bundle.manifest.graphs.items()
        }
        self._failures: tuple[type[Exception], ...] = (
            onnxruntime.capi.onnxruntime_pybind11_state.Fail,
            onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
        )
        self.description = f"onnxruntime {onnxruntime.__version__} fp32 CPU"

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        names = self._outputs[graph_name]
        try:
            results = self._sessions[graph_name].run(names, dict(arrays))
        except self._failures as error:
            raise DeviceFailed(f"{self.description}: {error}") from error
        return dict(zip(names, results, strict=True))


def _check(tensors: tuple[Tensor, ...], arrays: Arrays, what: str, axes: dict[str, int]) -> None:
    expected_names = {t.name for t in tensors}
    if set(arrays) != expected_names:
        raise ValueError(f"{what}: expected {sorted(expected_names)}, found {sorted(arrays)}")
    for tensor in tensors:
        array = arrays[tensor.name]
        if array.dtype != tensor.dtype or not _shape_fits(array.shape, tensor, axes):
            raise ValueError(
                f"{what} {tensor.name}: expected {tensor.dtype} {list(tensor.shape)}, "
                f"found {array.dtype} {list(array.shape)}"
            )


def _shape_fits(shape: tuple[int, ...], tensor: Tensor, axes: dict[str, int]) -> bool:
    """Whether a shape agrees with the manifest; a named axis has one size in the whole run."""
    if len(shape) != len(tensor.shape):
        return False
    return all(
        size == (axes.setdefault(expected, size) if isinstance(expected, str) else expected)
        for size, expected in zip(shape, tensor.shape, strict=True)
    )


def _probe_array(
    bundle: Bundle, probe: Arrays, graph_name: str, side: str, tensor: Tensor
) -> NDArray[Any]:
    key = f"{graph_name}/{side}/{tensor.name}"
    if key not in probe:
        raise BundleRejected(f"{bundle.file(bundle.manifest.probe.file)}: array {key} is missing")
    return probe[key]


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if found.shape != expected.shape:
        return float("nan")
    return float(
        np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64)), initial=0.0)
    )
