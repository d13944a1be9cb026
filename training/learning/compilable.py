"""Graphs that every compiler takes: what an exporter writes, in other words, with the same numbers.

A GPU's compiler takes fewer graphs than a CPU's runtime. What it refuses and can be said otherwise
is said otherwise here, in every graph that this package writes; what is left is found by the
compiler itself (engines/tensorrt/gate.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.tiles.onnx_files import graphs_within

_MOVES = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather",
     "Expand", "Tile"}
)  # fmt: skip
"""Operators whose first input is moved or repeated, and no value of it is computed with."""
_SUMS_TO_ONE = frozenset({"Softmax", "LogSoftmax"})


def compilable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in words that TensorRT takes: a copy; same inputs and outputs, same numbers."""
    said = onnx.ModelProto()
    said.CopyFrom(model)
    _cast_first(said.graph)
    _softmax_of_two_axes(said)
    _scatter_sums(said)
    onnx.checker.check_model(said, full_check=True)
    return said


def _cast_first(graph: onnx.GraphProto) -> None:
    """Bytes become numbers before they are moved: TensorRT takes uint8 into a Cast only."""
    for tensor in graph.input:
        if tensor.type.tensor_type.elem_type == TensorProto.UINT8:
            moves, casts = _moved(graph, tensor.name)
            kinds = {_attribute(cast, "to") for cast in casts}
            if moves and len(kinds) == 1:
                _cast_before(graph, tensor.name, moves, casts, kinds.pop())
    _drop_identities(graph)


def _cast_before(
    graph: onnx.GraphProto,
    name: str,
    moves: list[onnx.NodeProto],
    casts: list[onnx.NodeProto],
    kind: int,
) -> None:
    number = f"{name}/number"
    for node in moves:
        if node.input[0] == name:
            node.input[0] = number
    for cast in casts:
        if cast.input[0] != name:
            cast.op_type = "Identity"
            cast.ClearField("attribute")
    first = helper.make_node("Cast", [name], [number], f"/{number}", to=kind)
    graph.node.insert(0, first)
    moved = {output for node in moves for output in node.output}
    for value in [value for value in graph.value_info if value.name in moved]:
        graph.value_info.remove(value)  # it said that they are bytes


def _moved(graph: onnx.GraphProto, name: str) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Nodes that move a tensor and nothing else, and the casts at their ends; ([], []) where what
    is moved is used in another way before it is cast."""
    moves: list[onnx.NodeProto] = []
    casts: list[onnx.NodeProto] = []
    outside = {output.name for output in graph.output}
    waiting = [name]
    while waiting:
        at = waiting.pop()
        if at in outside or at in _seen_within(graph):
            return [], []
        for node in graph.node:
            if at not in node.input:
                continue
            if node.op_type == "Cast":
                casts.append(node)
            elif node.op_type in _MOVES and list(node.input).index(at) == 0:
                moves.append(node)
                waiting += node.output
            else:
                return [], []
    return moves, casts


def _seen_within(graph: onnx.GraphProto) -> set[str]:
    """Tensors that bodies of branches and loops take from outside, and their own."""
    names: set[str] = set()
    for body in graphs_within(graph.node):
        names |= {name for inner in body.node for name in inner.input} | _seen_within(body)
        names |= {output.name for output in body.output}
    return names


def _drop_identities(graph: onnx.GraphProto) -> None:
    kept = {output.name for output in graph.output} | _seen_within(graph)
    for node in [n for n in graph.node if n.op_type == "Identity" and n.output[0] not in kept]:
        for other in graph.node:
            for at, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[at] = node.input[0]
        graph.node.remove(node)


def _softmax_of_two_axes(model: onnx.ModelProto) -> None:
    """[N] as the one row of [1, N]: TensorRT's softmax wants two axes."""
    ranks = _ranks(model)
    for node in [n for n in model.graph.node if n.op_type in _SUMS_TO_ONE]:
        if ranks.get(node.input[0]) != 1:
            continue
        whole = node.output[0]
        row, rows, axis = (f"{whole}/{part}" for part in ("row", "rows", "axis"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), axis))
        before = helper.make_node("Unsqueeze", [node.input[0], axis], [row], f"/{row}")
        after = helper.make_node("Squeeze", [rows, axis], [whole], f"/{whole}/squeeze")
        node.input[0], node.output[0] = row, rows
        _set(node, "axis", 1)
        _put(model.graph, node, before=[before], after=[after])


def _scatter_sums(model: onnx.ModelProto) -> None:
    """A sum into places [N] as a matrix product: what goes to one place is summed by a matrix that
    says which updates [S] share a place, then written; TensorRT writes, but does not add."""
    ranks = _ranks(model)
    kinds = _kinds(model)
    for node in [n for n in model.graph.node if n.op_type == "ScatterElements"]:
        if _attribute(node, "reduction") != b"add" or ranks.get(node.input[0]) != 1:
            continue
        data, places, updates = node.input
        out = node.output[0]
        made = list(_scatter_nodes(out, data, places, updates, kinds[data]))
        for name, values in (("first", [0]), ("second", [1])):
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(values, np.int64), f"{out}/{name}")
            )
        _put(model.graph, node, before=made)
        model.graph.node.remove(node)


def _scatter_nodes(
    out: str, data: str, places: str, updates: str, kind: int
) -> Iterator[onnx.NodeProto]:
    def node(operator: str, given: list[str], name: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, given, [name], f"/{name}", **attributes)

    yield node("Unsqueeze", [places, f"{out}/first"], f"{out}/row")
    yield node("Unsqueeze", [places, f"{out}/second"], f"{out}/column")
    yield node("Equal", [f"{out}/row", f"{out}/column"], f"{out}/same")
    yield node("Cast", [f"{out}/same"], f"{out}/matrix", to=kind)
    yield node("Unsqueeze", [updates, f"{out}/second"], f"{out}/updates")
    yield node("MatMul", [f"{out}/matrix", f"{out}/updates"], f"{out}/products")
    yield node("Squeeze", [f"{out}/products", f"{out}/second"], f"{out}/sums")
    yield node("Shape", [data], f"{out}/shape")
    nothing = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(kind)))
    yield node("ConstantOfShape", [f"{out}/shape"], f"{out}/zeros", value=nothing)
    yield node("ScatterElements", [f"{out}/zeros", places, f"{out}/sums"], f"{out}/drawn", axis=0)
    yield node("Add", [data, f"{out}/drawn"], out)


def _put(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    *,
    before: list[onnx.NodeProto],
    after: list[onnx.NodeProto] | None = None,
) -> None:
    """Insert nodes around one, in the order in which they compute."""
    at = next(i for i, other in enumerate(graph.node) if other is node or other == node)
    for made in reversed(after or []):
        graph.node.insert(at + 1, made)
    for made in reversed(before):
        graph.node.insert(at, made)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Number of axes of every tensor that shape inference finds."""
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in _values(model)
        if value.type.tensor_type.HasField("shape")
    }


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor that type inference finds."""
    return {value.name: value.type.tensor_type.elem_type for value in _values(model)}


def _values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return [*graph.value_info, *graph.input, *graph.output]


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _set(node: onnx.NodeProto, name: str, value: int) -> None:
    kept = [a for a in node.attribute if a.name != name]
    node.ClearField("attribute")
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
