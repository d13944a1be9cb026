"""The interval of a number is the one that its manifest promises, or the number is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bundles import manifest as tiny

from engines.manifest.first import upgraded
from engines.manifest.whole import Manifest
from inference.outputs.uncertainty import intervals, wrong_interval
from inference.quality import output_refusal
from inference.types import Reason

TENSORS = {"how": "interval", "low_tensor": "low", "high_tensor": "high", "source": "tests"}
HALF = {"how": "interval", "half_width": 0.25, "source": "tests"}
MEMBERS = {"how": "ensemble", "tensor": "members", "source": "tests"}


def known(output: str, uncertainty: dict[str, Any]) -> Manifest:
    """The tiny student, one of its outputs known so well."""
    content = upgraded(tiny())
    aggregator = content["graphs"]["aggregator"]["outputs"]
    for name in ("low", "high", "members"):
        aggregator.append({"name": name, "dtype": "float32", "shape": ["K"]})
        content["probe"]["tolerance"][f"aggregator/{name}"] = 1e-3
    for o in content["outputs"]:
        if o["name"] == output:
            o["uncertainty"] = uncertainty
    return Manifest.model_validate(content)


def answers(**more: Any) -> dict[str, Any]:
    said = {"risk": [0.5], "survival": [0.9, 0.4], **more}
    return {name: np.asarray(values, np.float32) for name, values in said.items()}


@pytest.mark.parametrize(
    ("output", "uncertainty", "more", "expected"),
    [
        ("risk", {"how": "unknown"}, {}, {}),
        ("risk", HALF, {}, {"risk": ((0.25, 0.75),)}),
        ("risk", TENSORS, {"low": [0.3], "high": [0.6]}, {"risk": ((0.3, 0.6),)}),
        ("risk", MEMBERS, {"members": [[0.4], [0.7], [0.5]]}, {"risk": ((0.4, 0.7),)}),
        # A probability beyond 1 is none.
        ("survival", HALF, {}, {"survival": ((0.65, 1.0), (0.15, 0.65))}),
    ],
)
def test_each_way_to_know_a_number_gives_its_own_interval(
    output: str, uncertainty: dict[str, Any], more: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = intervals(known(output, uncertainty), answers(**more))
    assert found.keys() == expected.keys()
    for name, ends in expected.items():
        assert np.array(found[name]) == pytest.approx(np.array(ends), abs=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        {"low": [0.6], "high": [0.7]},
        {"low": [0.3], "high": [float("nan")]},
        {"low": [0.3, 0.3], "high": [0.6, 0.6]},
    ],
)
def test_a_number_outside_of_its_own_interval_is_no_result(more: dict[str, Any]) -> None:
    manifest = known("risk", TENSORS)
    assert wrong_interval(manifest, answers(**more)) == "risk"
    refusal = output_refusal(manifest, answers(**more), {"tumor": np.zeros(1, np.float32)})
    assert refusal is not None
    assert refusal[0] is Reason.MODEL_OUTPUT
    assert "an interval for risk that does not hold its value" in refusal[1]
