"""The manifest: version 2 says what a number is worth, version 1 is still read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from bundles import manifest as first_version

from engines.errors import BundleRejected
from engines.manifest.claims import Performance
from engines.manifest.first import upgraded
from engines.manifest.outputs import ClassOutput, HeatmapOutput, MeasureOutput, ScoreOutput
from engines.manifest.reading import manifest_of, newest, read_manifest
from engines.manifest.uncertainty import Interval, Unknown
from engines.names import ENGINES

ADIPOSE = {"value": "55603005", "scheme": "SCT", "meaning": "Adipose tissue"}
TUMOR = {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"}
GLASS = {"value": "glass", "scheme": "99TEST", "meaning": "Glass"}
RATIO = {"value": "{ratio}", "scheme": "UCUM", "meaning": "ratio"}
PERCENT = {"value": "%", "scheme": "UCUM", "meaning": "Percent"}


def second_version() -> dict[str, Any]:
    return copy.deepcopy(upgraded(first_version()))


def of_classes(**changes: Any) -> dict[str, Any]:
    """A map of three classes, over the features of the tiny student."""
    return {
        "kind": "map", "name": "tissue", "shows": "finding", "graph": "encoder",
        "tensor": "features", "category": TUMOR, "type": TUMOR, "description": "Tests.",
        "classes": [ADIPOSE, TUMOR, GLASS], "background": ["Glass"],
    } | changes  # fmt: skip


def measure(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "measure", "name": "adipose", "code": ADIPOSE, "unit": PERCENT,
        "quantity": "share", "map": "tissue", "classes": ["Adipose tissue"],
    } | changes  # fmt: skip


def test_version_1_is_read_and_what_it_did_not_say_is_unknown() -> None:
    found = manifest_of(first_version())
    assert (found.schema_version, found.unit, found.licence) == (2, "slide", "not stated")
    assert found.limits == found.compilers == ()
    assert found.signature is None
    assert {type(o.uncertainty) for o in found.outputs} == {Unknown}
    assert [h.shows for h in found.heatmaps] == ["finding"]


def test_attention_of_version_1_becomes_a_map_that_is_no_finding() -> None:
    content = first_version()
    [heatmap] = [o for o in content["outputs"] if o["kind"] == "heatmap"]
    heatmap["type"] = {"value": "attention", "scheme": "99TEST", "meaning": "Attention"}
    assert [h.shows for h in manifest_of(content).heatmaps] == ["attention"]


def test_metrics_of_version_1_become_performance_that_nobody_counted() -> None:
    content = first_version()
    content["training"]["metrics"] = [
        {"name": "AUC", "value": 0.8, "low": 0.7, "high": 0.9, "data": "tests"}
    ]
    assert manifest_of(content).performance == (
        Performance(figure="AUC", value=0.8, low=0.7, high=0.9, data="tests"),
    )


def test_a_precision_of_version_1_keeps_the_engines_it_was_used_on() -> None:
    content = first_version() | {"precisions": [cheap()]}
    [row] = manifest_of(content).precisions
    assert row.engines == ENGINES


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ((), "unit"),
        (("outputs", 0), "uncertainty"),
        (("training", "metrics", 0), "count"),
        (("precisions", 0), "engines"),
        (("precisions", 0), "tile_classes"),
        (("outputs", 0), "organs"),
        (("applicability",), "specimens"),
    ],
)
def test_a_word_of_version_2_in_version_1_is_refused_by_its_name(
    where: tuple[str | int, ...], key: str
) -> None:
    content = first_version() | {"precisions": [cheap()]}
    content["training"]["metrics"] = [
        {"name": "AUC", "value": 0.8, "low": 0.7, "high": 0.9, "data": "tests"}
    ]
    part: Any = content
    for step in where:
        part = part[step]
    part[key] = 1
    with pytest.raises(BundleRejected, match=f"{key}: version 1 of the manifest has no such key"):
        manifest_of(content)


def test_a_fixture_is_a_word_of_version_2_only() -> None:
    with pytest.raises(BundleRejected, match="version 1 of the manifest knows research"):
        manifest_of(first_version() | {"status": "fixture"})
    assert manifest_of(second_version() | {"status": "fixture"}).status == "fixture"


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_version_is_refused_with_what_was_found(version: object) -> None:
    with pytest.raises(BundleRejected, match=r"schema_version: found .*, expected 1 or 2"):
        manifest_of(first_version() | {"schema_version": version})


@pytest.mark.parametrize("text", ["", "[]", "{", b"\xff\xfe", "null"])
def test_what_is_no_json_object_is_told(text: str | bytes) -> None:
    with pytest.raises(BundleRejected, match="the manifest is no JSON"):
        read_manifest(text)


def test_version_2_survives_being_written_and_read() -> None:
    found = manifest_of(second_version())
    assert read_manifest(found.model_dump_json(exclude_none=True)) == found
    assert newest(json.loads(found.model_dump_json())) == json.loads(found.model_dump_json())


@pytest.mark.parametrize("name", ["a/b", "..\\b", "a\n", "", "x" * 65])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    content = second_version()
    content["outputs"][0]["name"] = name
    with pytest.raises(BundleRejected, match="name"):
        manifest_of(content)


def test_a_score_may_carry_its_interval() -> None:
    content = second_version()
    content["outputs"][0]["uncertainty"] = {
        "how": "interval", "low_tensor": "survival", "high_tensor": "survival", "source": "tests"
    }  # fmt: skip
    output = manifest_of(content).outputs[0]
    assert isinstance(output, ScoreOutput)
    assert isinstance(output.uncertainty, Interval)
    assert output.tensors() == ("survival", "survival")


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({"low_tensor": "nowhere", "high_tensor": "risk"}, "aggregator has no tensor nowhere"),
        ({"low_tensor": "risk"}, "expected low_tensor and high_tensor, or half_width"),
        ({"half_width": 1, "high_tensor": "risk"}, "expected low_tensor and high_tensor, or"),
        ({}, "expected low_tensor and high_tensor, or half_width"),
    ],
)  # fmt: skip
def test_an_interval_without_both_of_its_ends_is_refused(
    known: dict[str, Any], sentence: str
) -> None:
    content = second_version()
    content["outputs"][0]["uncertainty"] = {"how": "interval", "source": "tests"} | known
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content)


def test_a_map_of_classes_can_be_measured() -> None:
    content = second_version()
    content["outputs"] += [of_classes(), measure()]
    found = manifest_of(content)
    assert isinstance(found.outputs[-2], HeatmapOutput)
    assert found.measures == (found.outputs[-1],)
    assert isinstance(found.outputs[-1], MeasureOutput)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (
            {"how": "interval", "low_tensor": "score", "high_tensor": "score", "source": "tests"},
            "interval of two tensors",
        ),
        ({"how": "ensemble", "tensor": "score", "source": "tests"}, "ensemble"),
        (
            {"how": "calibration", "slope": 0.9, "intercept": 0, "data": "slides", "count": 40},
            "calibration",
        ),
    ],
)
def test_an_uncertainty_that_no_report_could_say_of_a_measure_is_refused(
    known: dict[str, Any], found: str
) -> None:
    content = second_version()
    content["outputs"] += [of_classes(), measure(uncertainty=known)]
    sentence = f"found uncertainty {found}, expected unknown or an interval with half_width"
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content)


@pytest.mark.parametrize("known", [{"how": "unknown"}, {"how": "interval", "half_width": 2}])
def test_a_constant_uncertainty_of_a_measure_or_none_is_taken(known: dict[str, Any]) -> None:
    content = second_version()
    source = {"source": "tests"} if known["how"] == "interval" else {}
    content["outputs"] += [of_classes(), measure(uncertainty=known | source)]
    assert manifest_of(content).measures[0].uncertainty.how == known["how"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"map": "nothing"}, "map nothing has no class Adipose tissue"),
        ({"map": "tumor"}, "map tumor has no class Adipose tissue"),
        ({"classes": ["Bone"]}, "map tissue has no class Bone"),
        ({"classes": ["Glass"]}, "map tissue has no class Glass that is tissue"),
        ({"near": ["Bone"]}, "map tissue has no class Bone"),
        ({"quantity": "ratio"}, "expected `over` for a ratio and only there"),
        ({"over": ["Neoplasm"]}, "expected `over` for a ratio and only there"),
        ({"quantity": "ratio", "unit": RATIO, "over": ["Bone"]}, "map tissue has no class Bone"),
        ({"quantity": "ratio", "unit": RATIO, "over": ["Adipose tissue"]},
         "expected other classes in `over` than in `classes`"),
        ({"quantity": "area"}, r"found unit % \(UCUM\), expected mm2 of UCUM for area"),
        ({"unit": TUMOR}, "expected % or 1 of UCUM for share"),
        ({"name": "tissue"}, "names must differ"),
    ],
)  # fmt: skip
def test_a_measure_of_what_no_map_shows_is_refused(changes: dict[str, Any], sentence: str) -> None:
    content = second_version()
    content["outputs"] += [of_classes(), measure(**changes)]
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": [ADIPOSE, TUMOR], "background": []}, r"expected \[N, 2\]"),
        ({"classes": [ADIPOSE, TUMOR, TUMOR], "background": []}, "classes of different meanings"),
        ({"background": ["Bone"]}, "expected as background some of its classes and not all"),
        ({"background": ["Adipose tissue", "Neoplasm", "Glass"]}, "some of its classes and not"),
        ({"threshold": 0.5}, "without threshold and floor"),
        ({"floor": 0.1}, "without threshold and floor"),
        ({"shows": "attention"}, "a map of classes shows a finding"),
        ({"classes": [], "background": [], "tensor": "tumor"}, None),
        ({"classes": [], "background": ["Glass"]}, "only with `classes`"),
        ({"classes": [], "background": [], "organs": [ADIPOSE], "tensor": "tumor"}, None),
    ],
)
def test_a_map_of_classes_says_which_they_are_and_which_are_no_tissue(
    changes: dict[str, Any], sentence: str | None
) -> None:
    content = second_version()
    content["outputs"].append(of_classes(**changes))
    if sentence is None:
        assert manifest_of(content).class_maps == ()
        return
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content)


def test_of_a_map_of_classes_it_is_known_what_is_tissue() -> None:
    content = second_version()
    content["outputs"].append(of_classes())
    [found] = manifest_of(content).class_maps
    assert [code.meaning for code in found.tissue] == ["Adipose tissue", "Neoplasm"]
    assert [o.name for o in manifest_of(content).heatmaps] == ["tumor"]


def test_a_class_has_a_probability_for_each_of_two_or_more() -> None:
    content = second_version()
    classes = {"kind": "class", "name": "grade", "tensor": "survival", "code": TUMOR,
               "classes": [ADIPOSE, TUMOR]}  # fmt: skip
    content["outputs"].append(classes)
    found = manifest_of(content)
    assert isinstance(found.classifications[0], ClassOutput)
    classes["classes"] = [ADIPOSE]
    with pytest.raises(BundleRejected, match="at least 2 items"):
        manifest_of(content)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": [ADIPOSE, TUMOR, ADIPOSE]}, "classes of different codes and meanings, found "
         r"Adipose tissue \(55603005, SCT\), Neoplasm \(108369006, SCT\), Adipose tissue"),
        ({"classes": [ADIPOSE, ADIPOSE | {"meaning": "Fat"}]}, "of different codes and meanings"),
        ({"classes": [ADIPOSE, TUMOR | {"meaning": "Adipose tissue"}]}, "of different codes and"),
        ({"classes": [ADIPOSE, TUMOR, GLASS]}, r"output grade: found 3 classes for tensor survival "
         r"of shape \[2\], expected \[3\]"),
        ({"tensor": "risk"}, r"found 2 classes for tensor risk of shape \[1\], expected \[2\]"),
        ({"tensor": "nothing"}, "graph aggregator has no tensor nothing"),
        ({"floor": 1.0}, "less than 1"),
        ({"floor": -0.1}, "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_class_output_whose_classes_cannot_be_told_apart_or_counted_is_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    content = second_version()
    classes = {"kind": "class", "name": "grade", "tensor": "survival", "code": TUMOR,
               "classes": [ADIPOSE, TUMOR], "floor": 0.5}  # fmt: skip
    content["outputs"].append(classes | changes)
    with pytest.raises(BundleRejected, match=sentence):
        manifest_of(content)


def test_a_figure_outside_of_its_own_interval_is_refused() -> None:
    content = second_version()
    content["performance"] = [
        {"figure": "C-index", "value": 0.9, "low": 0.5, "high": 0.6, "data": "tests"}
    ]
    with pytest.raises(BundleRejected, match=r"outside of its own interval 0\.5 to 0\.6"):
        manifest_of(content)


def cheap(**changes: Any) -> dict[str, Any]:
    return {
        "name": "int8", "file": "encoder.int8.onnx", "feature_cosine": 0.999,
        "score_shift": 0.001, "heatmap_spearman": 0.9999, "data": "tests",
        "tolerance": {"encoder/features": 1, "encoder/tumor": 1},
    } | changes  # fmt: skip


def test_a_precision_that_moves_too_many_tiles_to_another_class_is_not_shipped() -> None:
    rows = [cheap(engines=["openvino"], tile_classes=0.96)]
    content = second_version() | {"precisions": rows}
    assert manifest_of(content).precisions[0].tile_classes == 0.96
    with pytest.raises(BundleRejected, match=r"keep their class 0\.96 is below .* limit 0\.97"):
        manifest_of(content | {"shipped_precision": "int8"})
    content["precision_limits"] = {"tile_classes": 0.95}
    assert manifest_of(content | {"shipped_precision": "int8"}).shipped_precision == "int8"


def test_two_engines_may_have_files_of_their_own_for_one_precision() -> None:
    rows = [cheap(engines=["openvino"]),
            cheap(engines=["tensorrt"], file="encoder.int8.gpu.onnx")]  # fmt: skip
    found = manifest_of(second_version() | {"precisions": rows})
    files = [found.precision("int8", e) for e in ("openvino", "tensorrt", "onnxruntime")]
    assert [row and row.file for row in files] == [
        "encoder.int8.onnx", "encoder.int8.gpu.onnx", None
    ]  # fmt: skip


def test_one_precision_of_one_engine_has_one_row() -> None:
    rows = [cheap(engines=["openvino"]), cheap(engines=["onnxruntime", "openvino"])]
    with pytest.raises(BundleRejected, match="one row for a name and an engine, found two"):
        manifest_of(second_version() | {"precisions": rows})


def test_fp32_of_the_cpu_is_what_others_are_measured_by_and_has_no_row() -> None:
    gpu = cheap(name="fp32", file=None, engines=["tensorrt-rtx"], hardware="8.9")
    del gpu["file"]
    assert manifest_of(second_version() | {"precisions": [gpu]}).precision("fp32", "tensorrt-rtx")
    gpu["engines"] = ["openvino"]
    with pytest.raises(BundleRejected, match="no engine of a CPU"):
        manifest_of(second_version() | {"precisions": [gpu]})


def _score_of_two(values: dict[str, Any]) -> None:
    values["graphs"]["aggregator"]["outputs"][0]["shape"] = [2]


def _map_of_one(values: dict[str, Any]) -> None:
    values["graphs"]["encoder"]["outputs"][1]["shape"] = ["N", 3]


def _three_times(values: dict[str, Any]) -> None:
    values["graphs"]["aggregator"]["outputs"][1]["shape"] = [3]


def _backward(values: dict[str, Any]) -> None:
    values["outputs"][1]["times_months"].reverse()


def _before_birth(values: dict[str, Any]) -> None:
    values["outputs"][1]["times_months"][0] = 0


def _other_tiles(values: dict[str, Any]) -> None:
    values["input"]["tile_px"] += 32


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_score_of_two, r"found score from tensor risk of shape \[2\], expected \[\] or \[1\]"),
        (_map_of_one, r"found map from tensor tumor of shape \['N', 3\], expected \[N\]"),
        (_three_times, r"tensor survival of shape \[3\], expected \[2\], a number for each time"),
        (_backward, "found times 36, 12 months, expected each above 0 and above the one before"),
        (_before_birth, "found times 0, 36 months, expected each above 0"),
        (_other_tiles, r"encoder tensor tiles: found shape .* as input.tile_px says"),
    ],
)
def test_an_output_from_a_tensor_of_another_shape_or_of_no_time_is_refused(
    spoil: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    values = newest(copy.deepcopy(first_version()))
    spoil(values)
    with pytest.raises(BundleRejected, match=sentence):
        read_manifest(json.dumps(values))


@pytest.mark.parametrize("figure", ["AUC", "C-index", "balanced accuracy"])
def test_a_share_beyond_1_is_no_figure(figure: str) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to 1"):
        Performance(figure=figure, value=1.2, low=1.1, high=1.3, data="x")
    assert Performance(figure="hazard ratio", value=1.2, low=1.1, high=1.3, data="x")
