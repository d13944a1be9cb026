"""Students that say one class of a slide or case: the share of each color in its tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from bundles import write_probe, write_sums
from onnx import TensorProto, helper, load, numpy_helper, save
from several import student

ASTROCYTOMA = {"value": "9400/3", "scheme": "99TEST", "meaning": "Astrocytoma, IDH-mutant"}
OLIGODENDROGLIOMA = {"value": "9450/3", "scheme": "99TEST", "meaning": "Oligodendroglioma"}
GLIOBLASTOMA = {"value": "9440/3", "scheme": "99TEST", "meaning": "Glioblastoma, IDH-wildtype"}
CLASSES = [ASTROCYTOMA, OLIGODENDROGLIOMA, GLIOBLASTOMA]
"""Of red, green and blue."""
DIAGNOSIS = {"value": "diagnosis", "scheme": "99TEST", "meaning": "Glioma diagnosis"}


def diagnosis(**changes: Any) -> dict[str, Any]:
    """The output."""
    return {
        "kind": "class", "name": "diagnosis", "tensor": "probability", "code": DIAGNOSIS,
        "classes": CLASSES, "floor": 0.4,
    } | changes  # fmt: skip


def class_student(
    folder: Path,
    *organs: str,
    output: dict[str, Any] | None = None,
    times: float = 1.0,
    scores: bool = False,
    half_width: float = 0.0,
    **changes: Any,
) -> Path:
    """The tiny student whose aggregator also gives three probabilities, each `times` what it should
    be; without its risk, unless `scores`. With a `half_width`, `low` and `high` lie around them."""
    root = student(folder, *organs, **{"status": "research"} | changes)
    model = load(root / "aggregator.onnx")
    values = json.loads((root / "manifest.json").read_text())
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("ReduceSum", ["mean"], ["total"], keepdims=1),
            helper.make_node("Div", ["mean", "total"], ["share"]),
            helper.make_node("Mul", ["share", "times"], ["probability"]),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.array(times, np.float32), "times"))
    tensors = ["probability"]
    if half_width:
        around = numpy_helper.from_array(np.array(half_width, np.float32), "around")
        graph.initializer.append(around)
        graph.node.append(helper.make_node("Sub", ["probability", "around"], ["low"]))
        graph.node.append(helper.make_node("Add", ["probability", "around"], ["high"]))
        tensors += ["low", "high"]
    for name in tensors:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]))
        values["graphs"]["aggregator"]["outputs"].append(
            {"name": name, "dtype": "float32", "shape": [3]}
        )
        values["probe"]["tolerance"][f"aggregator/{name}"] = 1e-3
    save(model, root / "aggregator.onnx")
    kept = [o for o in values["outputs"] if o["kind"] == "map" or scores]
    values["outputs"] = [output or diagnosis(), *kept]
    (root / "manifest.json").write_text(json.dumps(values, indent=1))
    write_probe(root)
    write_sums(root)
    return root
