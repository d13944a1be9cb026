"""The class that an exported student tells: its tensor and its codes.

A graph of a run gives one scalar a class; a bundle gives all probabilities as one tensor, which the
node checks together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engines.manifest.values import Code
from training.errors import TrainingError

TENSOR = "probability"
FLOOR = 0.5
"""By default a class is named where it is more probable than all others together."""
_PART = "probability_"
_SCHEME = "99DICOMNODE"
_OWN_SCHEME = "99STUDENT"
"""Of codes whose meaning depends on the run: ours keep theirs for ever."""
_MOST_OF_VALUE = 16

Coded = Mapping[str, str]


def _code(value: str, scheme: str, meaning: str) -> Coded:
    return {"value": value, "scheme": scheme, "meaning": meaning}


_TASKS: Mapping[str, tuple[Coded, Mapping[str, Coded]]] = {
    "diagnosis": (
        _code("GLIOMA-DX", _SCHEME, "Glioma diagnosis"),
        {
            "glioblastoma": _code("GLIOMA-GBM", _SCHEME, "Glioblastoma, IDH-wildtype"),
            "astrocytoma": _code("GLIOMA-ASTRO", _SCHEME, "Astrocytoma, IDH-mutant"),
            "oligodendroglioma": _code("GLIOMA-OLIGO", _SCHEME, "Oligodendroglioma, codeleted"),
        },
    ),
    "grading": (
        _code("GLIOMA-GRADE", _SCHEME, "Glioma grade"),
        {
            f"G{grade}": _code(f"GLIOMA-G{grade}", _SCHEME, f"Glioma, grade {grade}")
            for grade in (2, 3, 4)
        },
    ),
}
"""Of the published glioma cohort (WHO 2021); classes of other tasks have codes of the bundle."""


def write_joined(graph: Path, classes: Sequence[str], out: Path) -> None:
    """Writes the graph of a run with the probabilities of its classes as one tensor [C], in their
    order. Raises TrainingError for a graph that lacks one."""
    model = onnx.load(graph)
    parts = [f"{_PART}{name}" for name in classes]
    outputs = {output.name: output for output in model.graph.output}
    if missing := [name for name in parts if name not in outputs]:
        raise TrainingError(
            f"{graph}: found no output {missing[0]}, expected one for each of "
            f"{', '.join(classes)}; fit the run again"
        )
    model.graph.node.append(helper.make_node("Concat", parts, [TENSOR], axis=0))
    joined = helper.make_tensor_value_info(TENSOR, TensorProto.FLOAT, [len(parts)])
    kept = [output for name, output in outputs.items() if name not in parts]
    del model.graph.output[:]
    model.graph.output.extend([joined, *kept])
    onnx.checker.check_model(model)
    onnx.save(model, out)


def joined(outputs: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a graph gave, as `write_joined` would have it give it."""
    parts = [f"{_PART}{name}" for name in classes]
    kept = {name: value for name, value in outputs.items() if name not in parts}
    return {TENSOR: np.concatenate([outputs[name] for name in parts])} | kept


def coded(task: str) -> Coded:
    """The code of what a task tells apart."""
    return _TASKS[task][0] if task in _TASKS else own(task, task.upper())


def output(
    task: str,
    classes: Sequence[str],
    given: Mapping[str, Code],
    floor: float,
    uncertainty: Mapping[str, Any],
) -> dict[str, Any]:
    """The output of a manifest; `given` are codes of classes that were asked for. Raises
    TrainingError for a code of a class that there is not."""
    if unknown := sorted(set(given) - set(classes)):
        raise TrainingError(
            f"found a code for class {unknown[0]!r}, expected one of {', '.join(classes)}: correct "
            "--class-code"
        )
    known = _TASKS[task][1] if task in _TASKS else {}
    return {
        "kind": "class",
        "name": task,
        "tensor": TENSOR,
        "code": dict(coded(task)),
        "classes": [
            given[name].model_dump() if name in given else dict(known.get(name) or own(name, name))
            for name in classes
        ],
        "floor": floor,
        "uncertainty": dict(uncertainty) or {"how": "unknown"},
    }


def own(value: str, meaning: str) -> dict[str, str]:
    """A code of the run: ours keep their meaning for ever; of a value that is too long its
    beginning, and what tells it apart."""
    if len(value) > _MOST_OF_VALUE:
        value = f"{value[: _MOST_OF_VALUE - 5]}-{hashlib.sha256(value.encode()).hexdigest()[:4]}"
    return {"value": value, "scheme": _OWN_SCHEME, "meaning": meaning[:64]}
