"""Every graph of every shipped bundle through TensorRT's own compiler, and what it refuses."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from bundles import write_bundle, write_sums
from onnx import TensorProto, helper, numpy_helper, save

from engines.bundle import open_bundle, shipped_bundles
from engines.manifest.tensors import Graph, Tensor
from engines.tensorrt.gate import CAPABILITIES, ask, verdicts

pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed (extra `test`)")


@pytest.mark.parametrize("name", shipped_bundles())
def test_every_graph_of_a_shipped_bundle_builds_for_every_generation_of_cards(name):
    bundle = open_bundle(name)
    found = verdicts(bundle)
    assert [str(verdict) for verdict in found if verdict.refusal] == []
    files = {verdict.file for verdict in found}
    assert {"encoder.onnx", "encoder.fp16.onnx", "aggregator.onnx"} <= files
    assert {verdict.capability for verdict in found} == {"8.6", "8.9", "12.0"}


def test_a_refused_graph_of_a_bundle_is_told_by_file_node_and_reason(tmp_path):
    root = write_bundle(tmp_path / "tiny")
    shutil.copyfile(_written(tmp_path, _softmax_of_one_axis()), root / "aggregator.onnx")
    write_sums(root)
    refused = [v for v in verdicts(open_bundle(root), [(8, 9)]) if v.refusal]
    assert [v.file for v in refused] == ["aggregator.onnx"]
    assert "node /weigh (Softmax): " in str(refused[0])
    assert "at least 2 dimensions" in str(refused[0])


def _tensors(kind, *shape):
    return helper.make_tensor_value_info("x", kind, list(shape))


def _graph(nodes, given, result, weights=()):
    graph = helper.make_graph(nodes, "graph", [given], [result], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _written(folder, model):
    path = folder / "graph.onnx"
    save(model, path)
    return path


def _bytes_moved_before_they_are_cast():
    nodes = [
        helper.make_node("Transpose", ["x"], ["moved"], "/move", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["moved"], ["y"], "/cast", to=TensorProto.FLOAT),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8])
    return _graph(nodes, _tensors(TensorProto.UINT8, "N", 8, 8, 3), result)


def _softmax_of_one_axis():
    nodes = [helper.make_node("Softmax", ["x"], ["y"], "/weigh", axis=0)]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    return _graph(nodes, _tensors(TensorProto.FLOAT, "N"), result)


def _sums_into_places():
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["empty"], "/empty"),
        helper.make_node(
            "ScatterElements", ["empty", "places", "x"], ["y"], "/sum", axis=0, reduction="add"
        ),
    ]
    places = numpy_helper.from_array(np.array([0, 1, 1, 0], np.int64), "places")
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return _graph(nodes, _tensors(TensorProto.FLOAT, 4), result, [places])


def _bias_of_int32():
    nodes = [
        helper.make_node("DequantizeLinear", ["bias", "step"], ["number"], "/bias"),
        helper.make_node("Add", ["x", "number"], ["y"], "/add"),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 2, 3, 4], np.int32), "bias"),
        numpy_helper.from_array(np.array(0.5, np.float32), "step"),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    return _graph(nodes, _tensors(TensorProto.FLOAT, "N", 4), result, weights)


FAULTS = {
    "/move (Transpose)": (_bytes_moved_before_they_are_cast, "uint8", ("N", 8, 8, 3)),
    "/weigh (Softmax)": (_softmax_of_one_axis, "float32", ("N",)),
    "/sum (ScatterElements)": (_sums_into_places, "float32", (4,)),
    "/bias (DequantizeLinear)": (_bias_of_int32, "float32", ("N", 4)),
}


@pytest.mark.parametrize("node", FAULTS)
def test_each_fault_of_the_bundle_before_fails_the_gate_at_its_node(node, tmp_path):
    """`default` 0.3.0 and the students of its time: none of their graphs could be built."""
    make, dtype, shape = FAULTS[node]
    tensor = Tensor(name="x", dtype=dtype, shape=shape)
    graph = Graph(file="graph.onnx", inputs=(tensor,), outputs=())
    for capability in CAPABILITIES:
        refusal = ask(_written(tmp_path, make()), graph, [(4, 4, 4)], capability)
        assert f"node {node}: " in refusal
        assert len(refusal) > len(node) + 20
