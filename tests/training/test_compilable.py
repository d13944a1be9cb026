"""Exported graphs are in words that a GPU's compiler takes, and say the same numbers in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from onnx import TensorProto, helper  # noqa: E402
from student_networks import REFERENCES, STUDENTS, deployed, write  # noqa: E402

import training.learning.graphs as graphs  # noqa: E402
from engines.bundle import SHIPPED  # noqa: E402
from engines.manifest.tensors import Graph, Tensor  # noqa: E402
from engines.tensorrt.gate import CAPABILITIES, ask  # noqa: E402
from engines.tensorrt.plans import BAG  # noqa: E402
from training.bundle.forms import Care, halve, quantize  # noqa: E402
from training.learning.compilable import compilable  # noqa: E402
from training.methods.registry import METHODS  # noqa: E402


def rtx() -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")


def refusals(path: Path, width: int, sizes: tuple[int, int, int] = BAG) -> list[str]:
    features = Tensor(name="features", dtype="float32", shape=("N", width))
    graph = Graph(file=path.name, inputs=(features,), outputs=())
    return [said for one in CAPABILITIES if (said := ask(path, graph, [sizes], one))]


def answers(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def test_every_method_that_exports_a_student_is_asked_of_the_compiler() -> None:
    named = {label.partition(" ")[0] for label in STUDENTS}
    assert named | REFERENCES == set(METHODS)
    assert not named & REFERENCES


@pytest.mark.parametrize("label", STUDENTS)
def test_every_methods_exported_student_builds_for_every_generation_of_cards(
    label: str, tmp_path: Path
) -> None:
    rtx()
    path = write(label, tmp_path)
    (given,) = onnx.load(path).graph.input
    width = given.type.tensor_type.shape.dim[1].dim_value
    assert refusals(path, width) == []


@pytest.mark.parametrize("label", [label for label in STUDENTS if "published" not in label])
def test_a_student_says_the_same_in_the_compilers_words(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = onnx.load(write(label, tmp_path))
    monkeypatch.setattr(graphs, "compilable", lambda model: model)
    before = onnx.load(write(label, tmp_path))
    _, example = deployed(label)
    names = [output.name for output in said.graph.output]
    assert names == [output.name for output in before.graph.output]
    for count in (1, 3, 37, 200):
        features = np.resize(example.numpy(), (count, example.shape[1])) * np.float32(1.3)
        pairs = zip(names, *(answers(m, {"features": features}) for m in (said, before)),
                    strict=True)  # fmt: skip
        for name, found, wanted in pairs:
            if name == "attention" and label.startswith("disentangled"):
                # A sum of shares in another order, where a short bag stands in the square twice.
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
            else:
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_bytes_become_numbers_before_they_are_moved_in_any_way(kind: int) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["one"]),
        helper.make_node("Transpose", ["one"], ["moved"], perm=[0, 1, 4, 2, 3]),
        helper.make_node("Squeeze", ["moved", "axis"], ["back"]),
        helper.make_node("Cast", ["back"], ["first"], to=kind),
        helper.make_node("Cast", ["x"], ["second"], to=kind),
        helper.make_node("Flatten", ["first"], ["a"]),
        helper.make_node("Flatten", ["second"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("y", kind, ["N", 48])],
        [axis],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = compilable(model)
    users = [n.op_type for n in said.graph.node if "x" in n.input]
    assert users == ["Cast", "Cast"]
    given = {"x": np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)}
    np.testing.assert_array_equal(answers(said, given)[0], answers(model, given)[0])


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_softmax_of_one_axis_gets_a_second(operator: str, axis: int) -> None:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], axis=axis)], "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = compilable(model)
    assert [n.op_type for n in said.graph.node] == ["Unsqueeze", operator, "Squeeze"]
    for count in (1, 2, 1000):
        given = {"x": np.random.default_rng(count).normal(size=count).astype(np.float32) * 5}
        np.testing.assert_array_equal(answers(said, given)[0], answers(model, given)[0])


def test_a_sum_into_places_is_a_product_and_a_write() -> None:
    graph = helper.make_graph(
        [helper.make_node("ScatterElements", ["x", "p", "u"], ["y"], axis=0, reduction="add")],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("p", TensorProto.INT64, ["S"]),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, ["S"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = compilable(model)
    assert not any(a.name == "reduction" for n in said.graph.node for a in n.attribute)
    rng = np.random.default_rng(0)
    for count, updates in ((1, 5), (40, 64), (500, 64)):
        given = {
            "x": rng.normal(size=count).astype(np.float32),
            "p": rng.integers(0, count, updates),
            "u": rng.normal(size=updates).astype(np.float32),
        }
        np.testing.assert_allclose(answers(said, given)[0], answers(model, given)[0], atol=1e-5)


def test_a_graph_that_is_compilable_stays_as_it_is() -> None:
    for path in SHIPPED.glob("*/*.onnx"):
        model = onnx.load(path)
        assert compilable(model) == model


def test_int8_for_gpus_is_a_graph_of_its_own_that_tensorrt_builds(tmp_path: Path) -> None:
    rtx()
    encoder = SHIPPED / "default" / "encoder.onnx"
    tiles = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    given = Tensor(name="tiles", dtype="uint8", shape=("N", 224, 224, 3))
    graph = Graph(file="int8.onnx", inputs=(given,), outputs=())
    for is_symmetric in (True, False):
        path = tmp_path / "int8.onnx"
        quantize(encoder, tiles, path, batch=4, care=Care(1), is_symmetric=is_symmetric)
        said = [ask(path, graph, [(16, 16, 16)], one) for one in CAPABILITIES]
        assert [not refusal for refusal in said] == [is_symmetric] * len(CAPABILITIES)


def test_fp16_is_made_of_a_graph_whose_tensors_are_cast_more_than_once(tmp_path: Path) -> None:
    class Norms(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.LayerNorm(8), torch.nn.LayerNorm(8)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            mixed = features @ features.T @ features
            return self.first(mixed) + torch.softmax(self.second(mixed) + mixed.mean(), dim=-1)

    module = Norms().eval()
    free = {"features": {0: "N"}, "out": {0: "N"}}
    graphs.write_graph(
        "encoder", module, (torch.randn(5, 8),), tmp_path, inputs=["features"], outputs=["out"],
        dynamic=free,
    )  # fmt: skip
    halve(tmp_path / "encoder.onnx", tmp_path / "encoder.fp16.onnx")
    names = [n for node in onnx.load(tmp_path / "encoder.fp16.onnx").graph.node
             for n in node.output]  # fmt: skip
    assert len(set(names)) == len(names)
