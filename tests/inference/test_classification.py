"""The class of a slide or case: probabilities of all classes, and whether one stands out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import manifest as tiny
from class_students import class_student, diagnosis
from tissue_students import COLORS, SIDE, slide

from engines.bundle import open_bundle
from engines.manifest.first import upgraded
from engines.manifest.outputs import ClassOutput
from engines.manifest.whole import Manifest
from engines.runtime import open_runtime
from inference import archive, predict
from inference.case import archive as case_archive
from inference.case.predict import of_any_amount, predict_case
from inference.outputs.classification import probabilities_fault, probabilities_of, standing
from inference.outputs.uncertainty import intervals, wrong_interval
from inference.quality import output_refusal
from inference.types import NotAssessable, Prediction, Reason

NAN = float("nan")
PURPLE, PINK, GLASS = (np.array(COLORS[name], float) for name in ("Tumor", "Stroma", "Glass"))
LETTER = SIDE * SIDE


def output(**changes: Any) -> ClassOutput:
    return ClassOutput.model_validate(diagnosis(**changes))


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.5, 0.3, 0.1), "The model gave probabilities for diagnosis that are 0.9 together; "
         "expected 1."),
        ((0.5, 0.4, 0.2), "The model gave probabilities for diagnosis that are 1.1 together; "
         "expected 1."),
        ((0.5, NAN, 0.5), "The model gave a value for diagnosis that is no number."),
        ((0.5, float("inf"), 0.5), "The model gave a value for diagnosis that is no number."),
        ((0.6, -0.1, 0.5), "The model gave -0.1 to 0.6 for diagnosis; expected 0 to 1."),
        ((1.5, -0.5, 0.0), "The model gave -0.5 to 1.5 for diagnosis; expected 0 to 1."),
        ((0.5, 0.5), "The model gave 2 probabilities for diagnosis; expected 3."),
        ((0.4, 0.3, 0.2, 0.1), "The model gave 4 probabilities for diagnosis; expected 3."),
    ],
)  # fmt: skip
def test_what_is_no_probability_of_each_class_is_no_result(
    values: tuple[float, ...], sentence: str
) -> None:
    assert probabilities_fault(output(), array(*values)) == sentence
    manifest = of_the_tiny_student()
    said = {"risk": array(0.5), "survival": array(0.9, 0.4), "probability": array(*values)}
    refusal = output_refusal(manifest, said, {"tumor": np.zeros(1, np.float32)})
    assert refusal == (Reason.MODEL_OUTPUT, sentence)


def test_what_engines_of_16_bits_round_is_no_fault_and_is_kept_as_it_was_given() -> None:
    rounded = np.array([0.7, 0.2, 0.1]).astype(np.float16).astype(np.float32)
    assert probabilities_fault(output(), rounded) == ""
    assert probabilities_of(rounded) == tuple(rounded.astype(float).tolist())
    assert probabilities_fault(output(), array(1.0, 0.0, -1e-6)) == ""
    assert probabilities_of(array(1.0, 0.0, -1e-6))[2] == 0.0


@pytest.mark.parametrize(
    ("values", "floor", "named", "equal"),
    [
        ((0.2, 0.7, 0.1), 0.5, 1, (1,)),
        ((0.2, 0.7, 0.1), 0.7, 1, (1,)),
        ((0.2, 0.7, 0.1), 0.71, None, (1,)),
        ((0.45, 0.45, 0.1), 0.4, None, (0, 1)),
        ((0.45, 0.4495, 0.1005), 0.4, None, (0, 1)),
        ((0.45, 0.448, 0.102), 0.4, 0, (0,)),
        ((1 / 3, 1 / 3, 1 / 3), 0.0, None, (0, 1, 2)),
        ((0.34, 0.33, 0.33), 0.0, 0, (0,)),
    ],
)
def test_a_class_is_named_where_it_reaches_the_floor_and_no_other_is_as_probable(
    values: tuple[float, ...], floor: float, named: int | None, equal: tuple[int, ...]
) -> None:
    found = standing(output(floor=floor), values)
    assert (found.named, found.equal) == (named, equal)
    assert found.probability == max(values)


def test_a_saved_result_of_other_classes_is_no_result_of_these() -> None:
    with pytest.raises(ValueError, match="found 2 probabilities, expected 3"):
        standing(output(), (0.5, 0.5))


def of_the_tiny_student(**changes: Any) -> Manifest:
    content = upgraded(tiny())
    more = [("probability", [3]), ("low", [3]), ("high", [3]), ("members", ["K", 3])]
    for name, shape in more:
        content["graphs"]["aggregator"]["outputs"].append(
            {"name": name, "dtype": "float32", "shape": shape}
        )
        content["probe"]["tolerance"][f"aggregator/{name}"] = 1e-3
    content["outputs"].append(diagnosis(**changes))
    return Manifest.model_validate(content)


TENSORS = {"how": "interval", "low_tensor": "low", "high_tensor": "high", "source": "tests"}
HALF = {"how": "interval", "half_width": 0.25, "source": "tests"}
MEMBERS = {"how": "ensemble", "tensor": "members", "source": "tests"}


@pytest.mark.parametrize(
    ("uncertainty", "expected"),
    [
        ({"how": "unknown"}, None),
        (TENSORS, ((0.6, 0.8), (0.1, 0.3), (0.0, 0.2))),
        # A probability below 0 is none.
        (HALF, ((0.45, 0.95), (0.0, 0.45), (0.0, 0.35))),
        (MEMBERS, ((0.6, 0.75), (0.2, 0.3), (0.05, 0.1))),
    ],
)
def test_each_way_to_know_a_probability_gives_its_own_interval(
    uncertainty: dict[str, Any], expected: Any
) -> None:
    manifest = of_the_tiny_student(uncertainty=uncertainty)
    said = {
        "risk": array(0.5), "survival": array(0.9, 0.4), "probability": array(0.7, 0.2, 0.1),
        "low": array(0.6, 0.1, -0.05), "high": array(0.8, 0.3, 0.2),
        "members": np.array([[0.75, 0.2, 0.05], [0.6, 0.3, 0.1]], np.float32),
    }  # fmt: skip
    found = intervals(manifest, said).get("diagnosis")
    assert (found is None) == (expected is None)
    if found is not None:
        assert np.array(found) == pytest.approx(np.array(expected), abs=1e-6)
    assert wrong_interval(manifest, said) == ""
    outside = said | {"low": array(0.71, 0.1, 0.0)}
    assert wrong_interval(manifest, outside) == ("diagnosis" if uncertainty is TENSORS else "")


def test_a_slide_gets_the_probabilities_that_its_tiles_give_and_an_archive_keeps_them(
    tmp_path: Path,
) -> None:
    bundle = open_bundle(class_student(tmp_path / "bundle"))
    files = slide(tmp_path / "slide", ["TTTTTTTT"] * 6)
    with open_runtime(bundle, engine="onnxruntime") as runtime:
        found = predict.predict(files.paths, runtime)
    assert isinstance(found, Prediction), found
    tiles = 48 * LETTER
    color = tiles * PURPLE + (found.tiles_analyzed - tiles) * GLASS  # the rim has some glass
    assert found.probabilities["diagnosis"] == pytest.approx(color / color.sum(), abs=0.005)
    assert sum(found.probabilities["diagnosis"]) == pytest.approx(1, abs=1e-6)
    archive.save(found, tmp_path / "r.npz")
    again = archive.load(tmp_path / "r.npz")
    assert isinstance(again, Prediction)
    assert again.probabilities == found.probabilities
    assert again.intervals == found.intervals == {}


def test_a_result_that_was_saved_before_has_no_probabilities(tmp_path: Path) -> None:
    bundle = open_bundle(class_student(tmp_path / "bundle"))
    files = slide(tmp_path / "slide", ["TTTTTTTT"] * 6)
    with open_runtime(bundle, engine="onnxruntime") as runtime:
        found = predict.predict(files.paths, runtime)
    archive.save(found, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as stored:
        arrays = dict(stored)
    meta = json.loads(arrays["meta"].tobytes())
    del meta["probabilities"]
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    again = archive.load(tmp_path / "old.npz")
    assert isinstance(again, Prediction)
    assert again.probabilities == {}


@pytest.mark.parametrize(("times", "together"), [(0.9, "0.9"), (1.05, "1.05")])
def test_a_slide_whose_probabilities_are_not_1_together_is_not_assessable(
    times: float, together: str, tmp_path: Path
) -> None:
    bundle = open_bundle(class_student(tmp_path / "bundle", times=times))
    files = slide(tmp_path / "slide", ["TTTTTTTT"] * 6)
    with open_runtime(bundle, engine="onnxruntime") as runtime:
        found = predict.predict(files.paths, runtime)
    assert isinstance(found, NotAssessable)
    assert found.reason is Reason.MODEL_OUTPUT
    assert found.detail == (
        f"The model gave probabilities for diagnosis that are {together} together; expected 1."
    )


def test_a_case_has_one_class_of_all_its_tiles_and_its_slides_have_none(tmp_path: Path) -> None:
    bundle = open_bundle(class_student(tmp_path / "bundle", unit="case"))
    files = [slide(tmp_path / "aa", ["TTTTTTTT"] * 6), slide(tmp_path / "bb", ["SSSSSSSS"] * 12)]
    with open_runtime(bundle, engine="onnxruntime") as runtime:
        made_for = of_any_amount(runtime.manifest.applicability)
        looked = [(f.key, predict.look(f.paths, runtime, made_for=made_for)) for f in files]
        case = predict_case(looked, runtime)
    assert case.numbers is not None
    tiles = np.array([48, 96]) * LETTER
    glass = case.numbers.tiles_analyzed - tiles.sum()
    both = tiles[0] * PURPLE + tiles[1] * PINK + glass * GLASS
    assert case.numbers.probabilities["diagnosis"] == pytest.approx(both / both.sum(), abs=0.005)
    assert all(told.probabilities == {} for _, told in case.used)
    case_archive.save(case, tmp_path / "case.npz")
    again = case_archive.load(tmp_path / "case.npz").numbers
    assert again is not None
    assert again.probabilities == case.numbers.probabilities
