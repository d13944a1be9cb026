"""Does TensorRT take every graph of a bundle? Its own compiler is asked; it needs no GPU.

Only the parser knows: names and signatures can be right for ever while it refuses every graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.bundle import Bundle
from engines.errors import BundleRejected
from engines.executor import AGGREGATOR, ENCODER, graph_file, precision_name
from engines.manifest.precision import Precision
from engines.manifest.tensors import Graph
from engines.tensorrt.compiler import Sizes, compiled
from engines.tensorrt.libraries import TENSORRT_RTX, Capability, PlanEngine, spelled
from engines.tensorrt.plans import profiles
from engines.tensorrt.runtime import lacks

CAPABILITIES: tuple[Capability, ...] = ((8, 6), (8, 9), (12, 0))
"""One of each generation of cards that TensorRT for RTX is made for: Ampere, Ada, Blackwell."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the compiler says of one graph for one kind of GPU."""

    graph: str
    precision: str
    file: str
    compiler: str
    """Library and release."""
    capability: str
    refusal: str = ""
    """Empty where the plan was built; else the compiler's node and reason."""

    def __str__(self) -> str:
        return f"{self.compiler} for {self.capability}: {self.file}: {self.refusal or 'builds'}"


def verdicts(bundle: Bundle, capabilities: Sequence[Capability] = CAPABILITIES) -> list[Verdict]:
    """Every graph in every precision that TensorRT is given, for every capability.

    Raises EngineMissing where TensorRT for RTX is not installed.
    """
    found = []
    for graph_name, precision in forms(bundle):
        file = graph_file(bundle, graph_name, precision)
        sizes = profiles(bundle, graph_name)
        graph = bundle.manifest.graphs[graph_name]
        for capability in capabilities:
            refusal = ask(bundle.file(file), graph, sizes, capability)
            found.append(
                Verdict(graph_name, precision_name(precision), file, compiler(),
                        spelled(capability), refusal)
            )  # fmt: skip
    return found


def ask(onnx: Path, graph: Graph, sizes: Sequence[Sizes], capability: Capability) -> str:
    """Why TensorRT for RTX takes no such graph for that GPU; empty where it builds the plan."""
    trt = TENSORRT_RTX.load()
    target = TENSORRT_RTX.target(trt.__version__, capability)
    try:
        compiled(trt, onnx, graph, sizes, target, lambda *_: None, only=True)
    except BundleRejected as refused:
        return str(refused).partition(" graph: ")[2] or str(refused)
    return ""


def compiler() -> str:
    """The library that is asked, and its release. Raises EngineMissing."""
    return f"{TENSORRT_RTX.name} {TENSORRT_RTX.load().__version__}"


def forms(
    bundle: Bundle, engine: PlanEngine = TENSORRT_RTX.engine
) -> Iterator[tuple[str, Precision | None]]:
    """What TensorRT is given of a bundle: its graphs, the encoder in every precision."""
    yield ENCODER, None
    for precision in bundle.manifest.precisions:
        if engine in precision.engines and not lacks(precision):
            yield ENCODER, precision
    if AGGREGATOR in bundle.manifest.graphs:
        yield AGGREGATOR, None
