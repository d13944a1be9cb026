"""The engines there are: how each is opened, and which form of a bundle it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from engines import onnx, openvino
from engines.bundle import Bundle
from engines.errors import BundleRejected, EngineMissing
from engines.executor import Executor
from engines.manifest.precision import Precision
from engines.manifest.whole import Manifest
from engines.names import CPU_ENGINES, Chosen
from engines.names import Engine as EngineId
from engines.tensorrt import runtime as tensorrt
from engines.tensorrt.compiler import Progress
from engines.tensorrt.libraries import TENSORRT, TENSORRT_RTX, Capability, Library


@dataclass(frozen=True, slots=True)
class Engine:
    """How an engine says which precisions it lacks here ('' for none), and how it is opened."""

    name: EngineId
    lacks: Callable[[Precision], str]
    open: Callable[[Bundle, Precision | None, int], AbstractContextManager[Executor]]
    library: Callable[[], str]
    """Release of its library. Raises EngineMissing without it."""
    require: Callable[[Bundle, Precision | None, Capability], None] | None = None
    """Raises EngineMissing for what is not there to run a bundle on a GPU of this capability; None
    for an engine of the CPU."""
    prepare: Callable[[Bundle, Precision | None, Progress, Capability | None], list[str]] | None = (
        None
    )
    """Builds what the engine needs once per kind of GPU, None where it needs nothing."""

    @property
    def is_of_cpu(self) -> bool:
        """Whether it computes on the CPU."""
        return self.name in CPU_ENGINES


def _tensorrt(library: Library) -> Engine:
    return Engine(
        library.engine,
        tensorrt.lacks,
        partial(tensorrt.open_tensorrt, library),
        library=lambda: str(library.load().__version__),
        require=partial(tensorrt.require, library),
        prepare=partial(tensorrt.prepare, library),
    )


ENGINES: dict[EngineId, Engine] = {
    "openvino": Engine("openvino", openvino.lacks, openvino.open_openvino, openvino.release),
    "onnxruntime": Engine("onnxruntime", onnx.cpu_lacks, onnx.open_cpu, onnx.release),
    "onnxruntime-cuda": Engine(
        "onnxruntime-cuda", onnx.cuda_lacks, onnx.open_cuda, onnx.release, onnx.require_cuda
    ),
    "tensorrt": _tensorrt(TENSORRT),
    "tensorrt-rtx": _tensorrt(TENSORRT_RTX),
}
DEFAULT: EngineId = "openvino"
"""What `auto` is where no GPU is proven."""


def form_of(manifest: Manifest, precision: Chosen, engine: Engine) -> tuple[Precision | None, str]:
    """The encoder's form (None: fp32), and why it is not the shipped one where it is not.

    Raises BundleRejected for a form the bundle lacks or that is outside its limits, and
    EngineMissing for one that the engine lacks here.
    """
    form, note = _form(manifest, precision, engine)
    exact = manifest.precision("fp32", engine.name)
    if form is None and exact and (outside := exact.within(manifest.precision_limits)):
        raise BundleRejected(
            f"bundle {manifest.name} {manifest.version}: on {engine.name} {outside}; use another "
            "engine"
        )
    return form, note


def _form(manifest: Manifest, precision: Chosen, engine: Engine) -> tuple[Precision | None, str]:
    name = manifest.shipped_precision if precision == "shipped" else precision
    if name == "fp32":
        return None, ""
    form = manifest.precision(name, engine.name)
    label = f"bundle {manifest.name} {manifest.version}"
    if form is None and precision == "shipped":
        return None, f"{name} is shipped, but not for {engine.name}: fp32 is used"
    if form is None:
        has = [p.name for p in manifest.precisions if engine.name in p.engines]
        raise BundleRejected(
            f"{label}: found precisions {', '.join(dict.fromkeys(['fp32', *has]))} for "
            f"{engine.name}, asked for {name}; choose one of these"
        )
    outside = form.within(manifest.precision_limits)
    if outside:
        raise BundleRejected(f"{label}: {outside}; use fp32, or a bundle where it is inside")
    lacking = engine.lacks(form)
    if lacking and precision == "shipped":
        return None, f"{name} is shipped, but {lacking}: fp32 is used"
    if lacking:
        raise EngineMissing(f"precision {name}: {lacking}; use fp32")
    return form, ""
