"""What the graph of a student takes and gives, and the tiles that are cut for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.bundle.classes.output import joined
from training.learning.deployed import INPUTS, INSTANCE_AXIS
from training.learning.graphs import run as run_graph


def input_at(of_encoder: Mapping[str, Any], coarse_mpp: float | None) -> dict[str, Any]:
    """The encoder's input at the magnifications of this student, whatever another read."""
    kept = {key: value for key, value in of_encoder.items() if key != "coarse_mpp"}
    return kept if coarse_mpp is None else kept | {"coarse_mpp": coarse_mpp}


def graph_of(path: Path, unit: Mapping[str, Any], classes: Sequence[str] = ()) -> dict[str, Any]:
    """The manifest's description of the student's graph, shapes as they come out of a run; with
    `classes`, as their probabilities are joined in a bundle."""
    taken = unit.get("student_inputs", ["features"])
    sizes = dict(zip(taken, (7, 5), strict=False))
    example = {name: np.zeros((sizes[name], unit["width"]), np.float32) for name in taken}
    found = run_graph(path, example)
    if classes:
        found = joined(found, classes)
    outputs = []
    for name, value in found.items():
        shape: list[int | str] = list(value.shape)
        if name in INSTANCE_AXIS:
            shape[INSTANCE_AXIS[name]] = "N"
        outputs.append({"name": name, "dtype": str(value.dtype), "shape": shape})
    inputs = [
        {"name": name, "dtype": "float32", "shape": [INPUTS[name], unit["width"]]} for name in taken
    ]
    return {"file": "aggregator.onnx", "inputs": inputs, "outputs": outputs}
