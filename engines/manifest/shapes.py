"""Whether the tensors of outputs have the shapes of what they are said to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from engines.manifest.outputs import (
    ClassOutput,
    HeatmapOutput,
    MeasureOutput,
    Output,
    ScoreOutput,
    SurvivalOutput,
)
from engines.manifest.tensors import Graph, TileInput

_CHANNELS = 3


def wrong_numbers(outputs: Iterable[Output], graphs: Mapping[str, Graph]) -> str:
    """What is wrong with the first score, survival or map of one value whose tensor has another
    shape, in a sentence; empty where none has. The tensors must be outputs of the graphs."""
    for output in outputs:
        if isinstance(output, MeasureOutput | ClassOutput):
            continue
        graph = output.graph if isinstance(output, HeatmapOutput) else "aggregator"
        shape = next(t.shape for t in graphs[graph].outputs if t.name == output.tensor)
        if isinstance(output, ScoreOutput):
            expected, fits = "[] or [1]", _many(shape) == 1
        elif isinstance(output, SurvivalOutput):
            count = len(output.times_months)
            expected, fits = f"[{count}], a number for each time", _many(shape) == count
        else:
            is_by_tile = bool(shape) and isinstance(shape[0], str) and _many(shape[1:]) == 1
            fits = bool(output.classes) or is_by_tile
            expected = "[N], a number for each tile"
        if not fits:
            return (
                f"output {output.name}: found {output.kind} from tensor {output.tensor} of shape "
                f"{list(shape)}, expected {expected}"
            )
    return ""


def _many(shape: Sequence[int | str]) -> int | None:
    """How many numbers a tensor holds, axes of one included; None where that is open."""
    return None if any(isinstance(axis, str) for axis in shape) else prod(map(int, shape))


def wrong_tiles(encoder: Graph, wanted: TileInput) -> str:
    """What is wrong with the encoder's input, in a sentence; empty where it takes the tiles."""
    expected = (wanted.tile_px, wanted.tile_px, _CHANNELS)
    found = [t for t in encoder.inputs if t.shape[1:] != expected]
    if not found:
        return ""
    return (
        f"encoder tensor {found[0].name}: found shape {list(found[0].shape)}, expected "
        f"[N, {wanted.tile_px}, {wanted.tile_px}, {_CHANNELS}] as input.tile_px says"
    )


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
