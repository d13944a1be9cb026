"""The graph of an encoder, uint8 tiles [N, T, T, 3] -> features [N, D], of an ONNX file.

A graph that takes such tiles stays as it is; before one that takes float colors [N, 3, T, T] goes
the normalization that its authors state. Equality is checked on tiles alone and together, so a
size that the graph holds of its example is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from training.bundle.encoder_graph import (
    FEATURES,
    Colors,
    EncoderGraph,
    said,
    sample_tiles,
)
from training.bundle.encoder_source import OnnxSource, opset_of, read_source, shape_of
from training.errors import TrainingError
from training.learning.compilable import compilable
from training.learning.graphs import PARITY, run
from training.tiles.onnx_files import digest_of_onnx, graphs_within, refusals
from training.tiles.vectors import require_told_apart, require_vectors

_RAW = "It takes uint8 tiles; colors are normalized inside, as its authors did it."
_INSIDE = "net/"
"""Before the names of a source whose own names are those of its new surroundings."""


def from_onnx(path: Path, colors: Colors | None, out: Path) -> EncoderGraph:
    """Writes `out/encoder.onnx` of an ONNX file. Raises TrainingError.

    The file has one input, uint8 [N, T, T, 3], or float32 [N, 3, T, T] with `colors`; and one
    output, or one named `features`, float32 [N, D].
    """
    source = read_source(path, colors)
    wanted = _wanted(source, colors)
    target = out / "encoder.onnx"
    try:
        onnx.save(compilable(_made(source, colors)), target)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TrainingError(
            f"{path}: found a graph that contradicts itself ({error}); export the network again"
        ) from error
    gap = _gap_of(source, target, wanted)
    largest = float(np.abs(wanted).max())
    return EncoderGraph(
        source=path.name,
        digest=digest_of_onnx(path),
        tile_px=source.tile_px,
        colors=_RAW if colors is None else said(colors),
        gap=gap,
        limit=_limit(largest),
        largest=largest,
    )


def _made(source: OnnxSource, colors: Colors | None) -> onnx.ModelProto:
    """From `tiles` to `features`, at the source's opset."""
    made = _named(source) if colors is None else _behind_colors(source, colors)
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("", opset_of(source.model)))
    _name_axes(made)
    return made


def _named(source: OnnxSource) -> onnx.ModelProto:
    """The source with input `tiles` and output `features`."""
    model, given, output = onnx.ModelProto(), source.given, source.output
    model.CopyFrom(source.model)
    if _names(model.graph) & ({"tiles", FEATURES} - {given, output}):
        model = compose.add_prefix(model, _INSIDE)
        given, output = _INSIDE + given, _INSIDE + output
    _rename(model.graph, {given: "tiles", output: FEATURES})
    return model


def _names(graph: onnx.GraphProto) -> set[str]:
    """Of every tensor, those of the graphs within it too."""
    names = {tensor.name for tensor in (*graph.input, *graph.output, *graph.initializer)}
    names |= {name for node in graph.node for name in (*node.input, *node.output)}
    return names.union(*(_names(inner) for inner in graphs_within(graph.node)))


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Gives tensors other names, in the graphs within too: they see those outside."""
    for node in graph.node:
        for places in (node.input, node.output):
            for at, name in enumerate(places):
                places[at] = names.get(name, name)
    for tensor in (*graph.input, *graph.output, *graph.value_info):
        tensor.name = names.get(tensor.name, tensor.name)
    for inner in graphs_within(graph.node):
        _rename(inner, names)


def _behind_colors(source: OnnxSource, colors: Colors) -> onnx.ModelProto:
    """The graph behind Cast, Transpose and the normalization of colors."""
    body = compose.add_prefix(source.model, _INSIDE)
    head = _head(colors, source.tile_px)
    front = helper.make_model(head, opset_imports=[helper.make_opsetid("", opset_of(body))])
    front.ir_version = body.ir_version
    joined = compose.merge_models(front, body, io_map=[("colors", _INSIDE + source.given)])
    _rename(joined.graph, {_INSIDE + source.output: FEATURES})
    return joined


def _head(colors: Colors, tile_px: int) -> onnx.GraphProto:
    """Tiles uint8 [N, T, T, 3] to colors float32 [N, 3, T, T]."""
    scale = 255 * np.array(colors.std, np.float32).reshape(1, 3, 1, 1)
    shift = 255 * np.array(colors.mean, np.float32).reshape(1, 3, 1, 1)
    nodes = [
        helper.make_node("Cast", ["tiles"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "shift"], ["centered"]),
        helper.make_node("Div", ["centered", "scale"], ["colors"]),
    ]
    return helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["N", tile_px, tile_px, 3])],
        [helper.make_tensor_value_info("colors", TensorProto.FLOAT, ["N", 3, tile_px, tile_px])],
        [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")],
    )


def _name_axes(model: onnx.ModelProto) -> None:
    """Both ends have N tiles; whether the graph computes so is compared afterwards."""
    (tiles,), (features,) = model.graph.input, model.graph.output
    kind = tiles.type.tensor_type.elem_type
    tiles.CopyFrom(helper.make_tensor_value_info("tiles", kind, ["N", *shape_of(tiles)[1:]]))
    features.CopyFrom(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", None]))
    del model.graph.value_info[:]  # a size of the example may be among them


def _wanted(source: OnnxSource, colors: Colors | None) -> NDArray[np.generic]:
    """What the file itself says of the sample, tile by tile. Raises TrainingError where that is
    not one vector a tile, or the same for both."""
    name, tiles = source.path.name, sample_tiles(source.tile_px)
    wanted = np.concatenate(list(_of_source(source, tiles, colors)))
    require_vectors(name, wanted, len(tiles))
    require_told_apart(name, wanted)
    return wanted


def _gap_of(source: OnnxSource, made: Path, wanted: NDArray[np.generic]) -> float:
    """Largest difference of the graph from its source, on tiles alone and together."""
    path, tiles = source.path, sample_tiles(source.tile_px)
    try:
        together = run(made, {"tiles": np.concatenate([tiles] * 3)})[FEATURES]
        alone = np.concatenate([run(made, {"tiles": tile[None]})[FEATURES] for tile in tiles])
    except refusals() as error:
        raise TrainingError(
            f"{path}: found a graph that does not take any number of tiles ({error}), expected it "
            "to; export it with a free first axis"
        ) from error
    require_vectors(path.name, together, 3 * len(tiles))
    gap = max(_gap(together, np.concatenate([wanted] * 3)), _gap(alone, wanted))
    if not gap <= _limit(float(np.abs(wanted).max())):
        raise TrainingError(
            f"{path}: found features that differ by {gap:g} from the source's, expected at most "
            f"{PARITY:g} of the largest: the graph computes tiles that are together otherwise, or "
            "draws at random; export it for inference"
        )
    return gap


def _limit(largest: float) -> float:
    """Largest difference allowed: relative to the largest feature where that is above 1."""
    return PARITY * max(1.0, largest)


def _gap(found: NDArray[np.generic], wanted: NDArray[np.generic]) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())


def _of_source(
    source: OnnxSource, tiles: NDArray[np.uint8], colors: Colors | None
) -> Iterator[NDArray[np.generic]]:
    """The file's own output of each tile, colors normalized here as its authors state."""
    for tile in tiles:
        pixels: NDArray[np.generic] = tile[None]
        if colors is not None:
            mean, std = (np.array(v, np.float64) for v in (colors.mean, colors.std))
            scaled = ((tile / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
            pixels = np.ascontiguousarray(scaled)
        try:
            found = run(source.path, {source.given: pixels})[source.output]
        except refusals() as error:
            raise TrainingError(
                f"{source.path}: found a graph that does not take one tile ({error}), expected any "
                "number; export it with a free first axis"
            ) from error
        yield np.atleast_1d(found)
