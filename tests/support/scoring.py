"""A student that says more than the shipped one: its encoder, with a score and a curve on top.

They are written down, not fitted: the score is the mean logit of tumor, and the curve falls with
it. They tell whether a slide was read as it is, and say nothing else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from bundles import write_sums
from onnx import TensorProto, helper, numpy_helper, save

from engines.bundle import SHIPPED

_TIMES = (12.0, 60.0)


def scoring_student(folder: Path) -> Path:
    """The bundle in the new folder; its map has neither floor nor threshold."""
    root = Path(
        shutil.copytree(SHIPPED / "default", folder, ignore=shutil.ignore_patterns("plans"))
    )
    save(
        helper.make_model(_graph(), opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        root / "aggregator.onnx",
    )
    content = json.loads((root / "manifest.json").read_text())
    content |= {"name": "scoring", "title": "Scoring student", "compilers": []}
    content["graphs"]["aggregator"] |= {
        "inputs": [_tensor("tumor", "N")],
        "outputs": [_tensor("risk", 1), _tensor("survival", len(_TIMES))],
    }
    tumor = next(output for output in content["outputs"] if output["name"] == "tumor")
    del tumor["floor"], tumor["threshold"], tumor["uncertainty"]
    content["outputs"] = [_score(), _curve(), tumor]
    tolerance = content["probe"]["tolerance"]
    content["probe"]["tolerance"] = {
        **{key: value for key, value in tolerance.items() if key.startswith("encoder/")},
        "aggregator/risk": 1e-3,
        "aggregator/survival": 1e-3,
    }
    (root / "manifest.json").write_text(json.dumps(content, indent=1))
    _write_probe(root)
    write_sums(root)
    return root


def _graph() -> Any:
    """tumor [N] -> risk [1], its mean logit, and survival [2]."""
    nodes = [
        helper.make_node("Clip", ["tumor", "least", "most"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Div", ["p", "q"], ["odds"]),
        helper.make_node("Log", ["odds"], ["logit"]),
        helper.make_node("ReduceMean", ["logit", "axes"], ["risk"], keepdims=1),
        helper.make_node("Sub", ["offsets", "risk"], ["hope"]),
        helper.make_node("Sigmoid", ["hope"], ["survival"]),
    ]
    constants = {
        "least": np.float32(1e-6),
        "most": np.float32(1 - 1e-6),
        "one": np.float32(1),
        "axes": np.array([0], np.int64),
        "offsets": np.array([3, 1], np.float32),
    }
    return helper.make_graph(
        nodes,
        "aggregator",
        [helper.make_tensor_value_info("tumor", TensorProto.FLOAT, ["N"])],
        [
            helper.make_tensor_value_info("risk", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("survival", TensorProto.FLOAT, [len(_TIMES)]),
        ],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )


def _write_probe(root: Path) -> None:
    with np.load(root / "probe.npz") as probe:
        arrays = {key: probe[key] for key in probe.files if key.startswith("encoder/")}
    given = {"tumor": arrays["encoder/out/tumor"]}
    session = onnxruntime.InferenceSession(root / "aggregator.onnx")
    risk, survival = session.run(["risk", "survival"], given)
    arrays |= {
        "aggregator/in/tumor": given["tumor"],
        "aggregator/out/risk": risk,
        "aggregator/out/survival": survival,
    }
    np.savez(root / "probe.npz", **arrays)


def _tensor(name: str, axis: int | str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": [axis]}


def _code(value: str, meaning: str) -> dict[str, str]:
    return {"value": value, "scheme": "99TEST", "meaning": meaning}


def _score() -> dict[str, Any]:
    return {
        "kind": "score",
        "name": "risk",
        "tensor": "risk",
        "code": _code("risk-score", "Risk score"),
        "unit": {"value": "{score}", "scheme": "UCUM", "meaning": "score"},
        "direction": "higher-is-worse",
        "percentiles": np.linspace(-10, 10, 101).tolist(),
    }


def _curve() -> dict[str, Any]:
    return {
        "kind": "survival",
        "name": "survival",
        "tensor": "survival",
        "times_months": list(_TIMES),
        "codes": [_code(f"survival-{t:g}m", f"{t / 12:g}-year OS probability") for t in _TIMES],
    }
