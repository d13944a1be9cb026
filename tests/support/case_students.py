"""A student of cases: the tiny one whose aggregator also says how red each tile is in its case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from bundles import write_probe, write_sums
from numpy.typing import NDArray
from onnx import TensorProto, helper, load, numpy_helper, save
from several import student

NEOPLASM = {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"}
ATTENTION = {
    "kind": "map", "name": "attention", "shows": "attention", "graph": "aggregator",
    "tensor": "attention", "category": NEOPLASM, "type": NEOPLASM, "top_patches": 2,
    "description": "Redness, of that of the reddest tile of the case.",
}  # fmt: skip


def case_student(folder: Path, *organs: str, **changes: Any) -> Path:
    """A fixture, made for these organs, of the unit `case`: `attention` of a tile depends on the
    tiles of all slides."""
    root = student(folder, *organs, unit="case", **changes)
    model = load(root / "aggregator.onnx")
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["features", "column"], ["red"], axis=1),
            helper.make_node("ReduceMax", ["red", "axes"], ["most"], keepdims=1),
            helper.make_node("Div", ["red", "most"], ["attention"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "column"))
    model.graph.output.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["N"]))
    save(model, root / "aggregator.onnx")
    values = json.loads((root / "manifest.json").read_text())
    values["graphs"]["aggregator"]["outputs"].append(
        {"name": "attention", "dtype": "float32", "shape": ["N"]}
    )
    values["outputs"].append(ATTENTION)
    values["probe"]["tolerance"]["aggregator/attention"] = 1e-4
    (root / "manifest.json").write_text(json.dumps(values, indent=1))
    write_probe(root)
    write_sums(root)
    return root


def by_hand(bundle: Path, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the aggregator of a bundle says of a bag [N, D], asked of ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(bundle / "aggregator.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": features}), strict=True))
