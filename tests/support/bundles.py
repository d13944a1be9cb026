"""A tiny student made in the test: mean color in, redness out. Its graphs are real ONNX."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, save

TILE_PX = 32


def encoder() -> Any:
    """tiles uint8 [N, 32, 32, 3] -> features [N, 3] mean color in 0..1, tumor [N] its red."""
    nodes = [
        helper.make_node("Cast", ["tiles"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["features"]),
        helper.make_node("Gather", ["features", "zero"], ["tumor"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
    ]
    return helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["N", TILE_PX, TILE_PX, 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("tumor", TensorProto.FLOAT, ["N"]),
        ],
        weights,
    )


def _aggregator() -> Any:
    """features [N, 3] -> risk [1] (sum of the mean) and survival [2]."""
    nodes = [
        helper.make_node("ReduceMean", ["features", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceSum", ["mean", "axes"], ["risk"], keepdims=1),
        helper.make_node("Gather", ["mean", "two"], ["survival"], axis=0),
    ]
    weights = [
        numpy_helper.from_array(np.array([0], np.int64), "axes"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "two"),
    ]
    return helper.make_graph(
        nodes,
        "aggregator",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor_value_info("risk", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("survival", TensorProto.FLOAT, [2]),
        ],
        weights,
    )


def manifest() -> dict[str, Any]:
    """The manifest of the tiny student, as JSON values to change in a test."""

    def tensor(name: str, dtype: str, *shape: int | str) -> dict[str, Any]:
        return {"name": name, "dtype": dtype, "shape": list(shape)}

    def code(value: str, meaning: str) -> dict[str, str]:
        return {"value": value, "scheme": "99TEST", "meaning": meaning}

    features = tensor("features", "float32", "N", 3)
    return {
        "schema_version": 1,
        "name": "tiny",
        "version": "1.0.0",
        "title": "Tiny student",
        "manufacturer": "tests",
        "status": "research",
        "intended_use": "Tests.",
        "input": {"tile_px": TILE_PX, "mpp": 0.5, "mpp_tolerance": 0.05, "batch": 8},
        "graphs": {
            "encoder": {
                "file": "encoder.onnx",
                "inputs": [tensor("tiles", "uint8", "N", TILE_PX, TILE_PX, 3)],
                "outputs": [features, tensor("tumor", "float32", "N")],
            },
            "aggregator": {
                "file": "aggregator.onnx",
                "inputs": [features],
                "outputs": [tensor("risk", "float32", 1), tensor("survival", "float32", 2)],
            },
        },
        "finding": {"code": code("os", "Overall Survival"), "reference_cohort": "none"},
        "outputs": [
            {
                "kind": "score",
                "name": "risk",
                "tensor": "risk",
                "code": code("risk", "Risk score"),
                "unit": {"value": "{score}", "scheme": "UCUM", "meaning": "score"},
                "direction": "higher-is-worse",
                "percentiles": [n / 100 for n in range(101)],
            },
            {
                "kind": "survival",
                "name": "survival",
                "tensor": "survival",
                "times_months": [12, 36],
                "codes": [
                    code("s12", "1-year OS probability"),
                    code("s36", "3-year OS probability"),
                ],
            },
            {
                "kind": "heatmap",
                "name": "tumor",
                "graph": "encoder",
                "tensor": "tumor",
                "category": code("cat", "Morphologically Abnormal"),
                "type": code("typ", "Neoplasm"),
                "description": "Red channel.",
                "top_patches": 3,
            },
        ],
        "applicability": {"minimum_tissue_mm2": 0.0},
        "training": {"digest": "none", "data": [], "simulated": "all", "metrics": []},
        "probe": {
            "file": "probe.npz",
            "tolerance": {
                "encoder/features": 1e-4,
                "encoder/tumor": 1e-4,
                "aggregator/risk": 1e-4,
                "aggregator/survival": 1e-4,
            },
        },
    }


def _coarse_encoder() -> Any:
    """The encoder by quantization: features in steps of 1/16, as Q/DQ nodes."""
    graph = encoder()
    del graph.node[2:]
    graph.node.extend(
        [
            helper.make_node("Div", ["mean", "full"], ["exact"]),
            helper.make_node("QuantizeLinear", ["exact", "step", "offset"], ["quantized"]),
            helper.make_node("DequantizeLinear", ["quantized", "step", "offset"], ["features"]),
            helper.make_node("Gather", ["features", "zero"], ["tumor"], axis=1),
        ]
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1 / 16, np.float32), "step"),
            numpy_helper.from_array(np.array(0, np.int8), "offset"),
        ]
    )
    return graph


def precision(name: str, **changes: Any) -> dict[str, Any]:
    """A cheaper form of the tiny student, well inside the limits, as JSON values."""
    values = {
        "name": name,
        "file": None if name == "bf16" else f"encoder.{name}.onnx",
        "feature_cosine": 0.999,
        "score_shift": 0.001,
        "heatmap_spearman": 0.9999,
        "data": "tests",
        "tolerance": {"encoder/features": 0.04, "encoder/tumor": 0.04},
    }
    return values | changes


def add_precisions(root: Path, *precisions: dict[str, Any], **changes: Any) -> Path:
    """The tiny student with cheaper forms and other changes of the manifest's top level."""
    model = helper.make_model(
        _coarse_encoder(), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    for form in precisions:
        if form["file"]:
            save(model, root / form["file"])
    values = manifest() | {"precisions": list(precisions)} | changes
    (root / "manifest.json").write_text(json.dumps(values, indent=1))
    write_sums(root)
    return root


def write_bundle(root: Path) -> Path:
    """The tiny student as a bundle directory."""
    root.mkdir(parents=True)
    opset = [helper.make_opsetid("", 18)]
    for name, graph in [("encoder", encoder()), ("aggregator", _aggregator())]:
        save(helper.make_model(graph, opset_imports=opset, ir_version=9), root / f"{name}.onnx")
    (root / "manifest.json").write_text(json.dumps(manifest(), indent=1))
    (root / "card.md").write_text("# Tiny student\n")
    write_probe(root)
    write_sums(root)
    return root


def write_probe(root: Path, *, off_by: float = 0.0) -> None:
    """The exam, answered by ONNX Runtime; `off_by` is added to every expected answer."""
    tiles = np.random.default_rng(1).integers(0, 256, (4, TILE_PX, TILE_PX, 3), np.uint8)
    arrays: dict[str, Any] = {"encoder/in/tiles": tiles}
    features = _answers(root, "encoder", {"tiles": tiles}, arrays, off_by)["features"]
    arrays["aggregator/in/features"] = features
    _answers(root, "aggregator", {"features": features}, arrays, off_by)
    np.savez(root / "probe.npz", **arrays)


def _answers(
    root: Path, graph: str, inputs: dict[str, Any], arrays: dict[str, Any], off_by: float
) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(root / f"{graph}.onnx")
    names = [o.name for o in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    arrays.update({f"{graph}/out/{n}": a + np.float32(off_by) for n, a in outputs.items()})
    return outputs


def write_sums(root: Path) -> None:
    """SHA256SUMS over everything in the bundle."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(root.iterdir())
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (root / "SHA256SUMS").write_text("\n".join(lines) + "\n")
