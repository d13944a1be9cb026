"""A graph through TensorRT's parser and builder, for this GPU or for one that is elsewhere.

TensorRT for RTX builds on any machine, and is asked in the tests; what a plan computes has not been
seen on a GPU of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engines.errors import BundleRejected
from engines.manifest.tensors import Graph
from engines.tensorrt.libraries import Target

Shape = tuple[int, ...]
Sizes = tuple[int, int, int]
Progress = Callable[[str, int, int], None]
"""Called with a phase of the build, its steps done and their number."""
_NODE = re.compile(r"[Pp]arsing node: (\S*) \[(\w+)\]")
"""How the parser's log names a node, before its inputs are looked at."""
_NO_DRIVER = "cudaError 35"
"""What the libraries say once on a machine without a driver, which they do not need to build."""


def compiled(
    trt: Any,
    onnx: Path,
    graph: Graph,
    profiles: Sequence[Sizes],
    target: Target,
    progress: Progress,
    *,
    timings: Path | None = None,
    only: bool = False,
) -> bytes:
    """The plan of a graph for a target; with `only` for its very capability, not for a family.

    Raises BundleRejected with TensorRT's own node and reason for a graph that it cannot take.
    """
    told = _Told(trt)
    builder = trt.Builder(told.logger)
    # Networks are strongly typed in TensorRT 11, with no flag for it: precision is in the graph.
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, told.logger)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        raise BundleRejected(
            f"{onnx}: {target.library.name} cannot parse this graph: "
            f"{'; '.join(_reason(error, told.node()) for error in errors)}"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits of mantissa: not the numbers of fp32
    if not target.library.needs_device and (only or not target.is_portable):
        config.num_compute_capabilities = 1
        major, minor = target.capability
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{major}{minor}"), 0)
    config.progress_monitor = monitor = _monitor(trt, progress)
    for sizes in profiles:
        profile = builder.create_optimization_profile()
        for tensor in graph.inputs:
            profile.set_shape(tensor.name, *(_sized(tensor.shape, size) for size in sizes))
        if config.add_optimization_profile(profile) < 0:
            raise BundleRejected(
                f"{onnx}: {target.library.name} refuses its shapes for {sizes} tiles"
            )
    cache = None
    if timings is not None and target.library.needs_device:  # the other one times nothing
        cache = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    del monitor  # lives as long as the build, which calls it
    if plan is None:
        raise BundleRejected(
            f"{onnx}: {target.library.name} cannot build this graph: {told.errors()}"
        )
    if timings is not None and cache is not None:
        timings.parent.mkdir(exist_ok=True)
        timings.write_bytes(bytes(cache.serialize()))
    return bytes(plan)


def _reason(error: Any, told: str) -> str:
    """Node, operator and the parser's words, without what it says of its own sources.

    `told` names the node where the error itself does not.
    """
    lines = [line.partition(" In ")[0].strip() for line in error.desc().splitlines()]
    kept = [line for line in lines if line and _NO_DRIVER not in line and "CudaError" not in line]
    said = " ".join(line for line in kept if not line.startswith("Invalid Node"))
    said = said.partition(" Error (")[2].rstrip(")") or said  # without numbers of its own errors
    name = error.node_name()
    node = f"{name} ({error.node_operator()})" if name else told
    return f"node {node}: {said or ' '.join(kept)}"


def _sized(shape: tuple[int | str, ...], size: int) -> Shape:
    return tuple(size if isinstance(axis, str) else axis for axis in shape)


class _Told:
    """TensorRT's log: what it calls an error is kept, for the refusal of a graph."""

    def __init__(self, trt: Any) -> None:
        self._said: list[str] = []
        self._last: tuple[str, ...] = ()
        told = self

        class Logger(trt.ILogger):  # type: ignore[misc]  # its base is known at run time
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, text: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    told._said.append(text.splitlines()[0])
                elif parsed := _NODE.search(text):
                    told._last = parsed.groups()

        self.logger = Logger()

    def node(self) -> str:
        """Name and operator of the node that was parsed last, as far as the log has them."""
        return "{} ({})".format(*self._last) if self._last else "that it does not name"

    def errors(self) -> str:
        """In the order in which they came."""
        kept = [line for line in self._said if _NO_DRIVER not in line]
        return "; ".join(line.partition(" In ")[0] for line in kept) or "it does not say why"


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
