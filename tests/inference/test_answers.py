"""A bundle that says more than a report can is refused, not answered in part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundles import manifest as tiny
from bundles import write_bundle, write_sums

from engines.bundle import open_bundle
from engines.errors import BundleRejected
from engines.manifest.first import upgraded
from inference.answers import require_answerable

TUMOR = {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"}
OTHER = {"value": "1", "scheme": "99TEST", "meaning": "Other"}
STROMA = {"value": "2", "scheme": "99TEST", "meaning": "Stroma"}
CLASSES = [TUMOR, OTHER, STROMA]
PERCENT = {"value": "%", "scheme": "UCUM", "meaning": "Percent"}
MAP = {
    "kind": "map", "name": "tissue", "shows": "finding", "graph": "encoder", "tensor": "features",
    "category": TUMOR, "type": TUMOR, "description": "Tests.", "classes": CLASSES,
}  # fmt: skip
SPOTS = {key: value for key, value in MAP.items() if key != "classes"} | {
    "name": "spots", "tensor": "tumor",
}  # fmt: skip
FLOORED, CUT = SPOTS | {"floor": 0.1}, SPOTS | {"threshold": 0.5}
CALIBRATED = SPOTS | {
    "uncertainty": {"how": "calibration", "slope": 1, "intercept": 0, "data": "tests", "count": 9}
}
SURE = SPOTS | {"uncertainty": {"how": "interval", "source": "tests", "half_width": 0.1}}
MEASURE = {"kind": "measure", "name": "share", "code": TUMOR, "unit": PERCENT, "quantity": "share",
           "map": "tissue", "classes": ["Neoplasm"]}  # fmt: skip
UNSURE = {"uncertainty": SURE["uncertainty"]}
BY_MEMBERS = {"uncertainty": {"how": "ensemble", "source": "tests", "tensor": "risk"}}
CLASS = {"kind": "class", "name": "grade", "tensor": "survival", "code": TUMOR,
         "classes": [OTHER, STROMA], "floor": 0.5}  # fmt: skip
SURE_CLASS = CLASS | {"uncertainty": SURE["uncertainty"]}
TRUE_CLASS = CLASS | {"uncertainty": CALIBRATED["uncertainty"]}


@pytest.mark.parametrize(
    ("more", "changes", "sentence"),
    [
        ([MAP | UNSURE], {}, "what is known of the uncertainty of tissue cannot be reported"),
        ([MAP, MEASURE | BY_MEMBERS], {}, "share: found uncertainty ensemble, expected unknown"),
        ([SURE], {}, "what is known of the uncertainty of spots cannot be reported"),
    ],
)
def test_a_student_whose_answer_would_be_left_out_is_refused(
    more: list[dict[str, Any]], changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    root = write_bundle(tmp_path / "tiny")
    values = upgraded(tiny()) | changes
    values["outputs"] = [*values["outputs"], *more]
    (root / "manifest.json").write_text(json.dumps(values))
    write_sums(root)
    with pytest.raises(BundleRejected, match=sentence):
        require_answerable(open_bundle(root))


@pytest.mark.parametrize(
    "more",
    [
        *([FLOORED], [CUT], [CALIBRATED], [MAP], [MAP, MEASURE], [MAP, MEASURE | UNSURE]),
        *([CLASS], [SURE_CLASS], [TRUE_CLASS]),
    ],
)
def test_maps_what_is_counted_on_them_and_a_class_are_answered(
    more: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = write_bundle(tmp_path / "tiny")
    values = upgraded(tiny())
    values["outputs"] = [*values["outputs"], *more]
    (root / "manifest.json").write_text(json.dumps(values))
    write_sums(root)
    bundle = open_bundle(root)
    assert require_answerable(bundle) is bundle


@pytest.mark.parametrize("name", ["default", "tiny"])
def test_what_is_shipped_and_what_version_1_could_say_is_answered(
    name: str, tmp_path: Path
) -> None:
    bundle = open_bundle("default" if name == "default" else write_bundle(tmp_path / "tiny"))
    assert require_answerable(bundle) is bundle
