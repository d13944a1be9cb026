"""Whether the tensors of classes are as wide as there are classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engines.manifest.outputs import ClassOutput, HeatmapOutput
from engines.manifest.tensors import Graph


def wrong_classes(
    outputs: Iterable[HeatmapOutput | ClassOutput], graphs: Mapping[str, Graph]
) -> str:
    """What is wrong with the first output whose tensor holds another number of classes than it
    names, in a sentence; empty where none does. The tensors must be outputs of the graphs."""
    for output in outputs:
        count = len(output.classes)
        graph, expected = "aggregator", f"[{count}]"
        if isinstance(output, HeatmapOutput):
            graph, expected = output.graph, f"[N, {count}]"
        shape = next(t.shape for t in graphs[graph].outputs if t.name == output.tensor)
        axes = 2 if isinstance(output, HeatmapOutput) else 1
        if len(shape) != axes or shape[-1] != count:
            return (
                f"output {output.name}: found {count} classes for tensor {output.tensor} of shape "
                f"{list(shape)}, expected {expected}"
            )
    return ""
