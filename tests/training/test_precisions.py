from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="needs the training extra")

from class_students import class_student  # noqa: E402

from dicom_node.demo.wsm import write_slide  # noqa: E402
from engines.bundle import SHIPPED, open_bundle  # noqa: E402
from engines.errors import BundleRejected  # noqa: E402
from engines.manifest.precision import PrecisionLimits  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from inference.phantom.draw import MPP, draw  # noqa: E402
from inference.predict import look, predict  # noqa: E402
from inference.seen import Seen  # noqa: E402
from inference.types import Prediction  # noqa: E402
from slides import PhantomStudy, SlideStudy  # noqa: E402
from training.bundle.costs import Bag, costs  # noqa: E402
from training.bundle.precisions import Material, add_precisions, table  # noqa: E402
from training.bundle.slide_material import slide_material  # noqa: E402
from training.cli import main  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.graphs import run as run_graph  # noqa: E402
from training.learning.graphs import write_manifest, write_probe, write_sums  # noqa: E402

TILE_PX = 224


@pytest.fixture(scope="module")
def drawn() -> Material:
    """Tiles of two drawn slides: one to calibrate with, one to measure on."""
    held_out = tiles_of(seed=2)
    rng = np.random.default_rng(0)
    return Material(
        calibration=tiles_of(seed=1)[:32],
        held_out=held_out,
        bags=[Bag(rng.choice(len(held_out), 40, replace=False)) for _ in range(4)],
        told="drawn tiles",
    )


def tiles_of(seed: int) -> NDArray[np.uint8]:
    pixels = draw(seed, rows=2048, cols=2048).pixels
    count = 2048 // TILE_PX
    side = count * TILE_PX
    cut = pixels[:side, :side].reshape(count, TILE_PX, count, TILE_PX, 3).swapaxes(1, 2)
    tiles: NDArray[np.uint8] = cut.reshape(-1, TILE_PX, TILE_PX, 3)
    return tiles


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The shipped student, to be changed."""
    return Path(shutil.copytree(SHIPPED / "default", tmp_path / "bundle"))


def test_forms_are_made_measured_and_run_by_the_engine(bundle: Path, drawn: Material) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    content["precision_limits"] = {
        "feature_cosine": 0.5, "score_shift": 10, "heatmap_spearman": 0.5
    }  # fmt: skip
    (bundle / "manifest.json").write_text(json.dumps(content))
    found = add_precisions(bundle, drawn, ["fp16", "int8"])
    assert [p.name for p in found] == ["fp16", "int8"]
    opened = open_bundle(bundle)
    assert opened.manifest.precisions == tuple(found)
    assert opened.manifest.shipped_precision == "int8"
    tiles = {"tiles": drawn.held_out}
    with open_runtime(opened, precision="fp32", threads=1) as runtime:
        exact = runtime.run("encoder", tiles)["features"]
    for name, engine in (("int8", "openvino"), ("int8", "onnxruntime"), ("fp16", "onnxruntime")):
        with open_runtime(opened, engine=engine, precision=name, threads=1) as runtime:  # type: ignore[arg-type]
            cheap = runtime.run("encoder", tiles)["features"]
        lengths = np.linalg.norm(cheap, axis=1) * np.linalg.norm(exact, axis=1)
        cosine = float(((cheap * exact).sum(1) / lengths).min())
        precision = opened.manifest.precision(name, engine)  # type: ignore[arg-type]
        assert precision is not None
        assert cosine == pytest.approx(precision.feature_cosine, abs=0.003)
        assert not np.array_equal(cheap, exact)


def test_a_bundle_stays_as_it_was_where_the_last_form_fails(bundle: Path, drawn: Material) -> None:
    before = open_bundle(bundle).digest
    with pytest.raises(KeyError):
        add_precisions(bundle, drawn, ["fp16", "nonsense"])  # type: ignore[list-item]
    assert open_bundle(bundle).digest == before


def test_the_card_says_what_each_form_costs_and_only_once(bundle: Path, drawn: Material) -> None:
    for _ in range(2):
        found = add_precisions(bundle, drawn, ["fp16"])
    card = (bundle / "card.md").read_text()
    assert card.count("## What a cheaper precision costs") == 1
    assert card.endswith(table(found, PrecisionLimits()))
    assert f"| fp16 | {found[0].feature_cosine:.5f} |" in card


def test_a_form_that_costs_too_much_is_told_but_neither_shipped_nor_run(
    bundle: Path, drawn: Material
) -> None:
    blank = replace(drawn, calibration=np.full((16, TILE_PX, TILE_PX, 3), 255, np.uint8))
    (precision,) = add_precisions(bundle, blank, ["int8"])
    outside = precision.within(PrecisionLimits())
    assert outside
    opened = open_bundle(bundle)
    assert opened.manifest.shipped_precision == "fp32"
    assert outside in (bundle / "card.md").read_text()
    with pytest.raises(BundleRejected, match="use fp32"), open_runtime(opened, precision="int8"):
        pass
    with open_runtime(opened) as runtime:
        assert runtime.precision == "fp32"


def test_of_a_map_of_classes_the_share_of_tiles_that_keep_their_class_is_measured() -> None:
    opened = open_bundle("default")
    given = opened.probe()
    exact = {
        t.name: given[f"encoder/out/{t.name}"] for t in opened.manifest.graphs["encoder"].outputs
    }
    classes = exact["classes"].copy()
    classes[0] = np.roll(classes[0], 1)
    bags = [Bag(np.arange(1, len(classes))), Bag(np.arange(4))]
    with open_runtime(opened, engine="onnxruntime", precision="fp32", threads=1) as runtime:
        assert costs(runtime, exact, exact, bags).tile_classes == 1
        found = costs(runtime, exact | {"classes": classes}, exact, bags)
    assert (found.tile_classes, found.heatmap_spearman) == (0.75, pytest.approx(1))


def test_an_encoder_whose_features_overflow_gets_no_form_and_stays_as_it_was(
    bundle: Path, drawn: Material
) -> None:
    model = onnx.load(bundle / "encoder.onnx")
    graph = model.graph
    for node in graph.node:
        for at, name in enumerate(node.output):
            if name == "features":
                node.output[at] = "small"
        node.input[:] = ["small" if name == "features" else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array(1e38, np.float32), "large"))
    graph.node.append(helper.make_node("Mul", ["small", "large"], ["larger"]))
    graph.node.append(helper.make_node("Mul", ["larger", "large"], ["features"]))
    onnx.save(model, bundle / "encoder.onnx")
    with np.load(bundle / "probe.npz") as probe:
        tiles = probe["encoder/in/tiles"]
    write_probe(("encoder", "aggregator"), {"tiles": tiles}, bundle)
    content = json.loads((bundle / "manifest.json").read_text())
    write_manifest(content | {"precisions": [], "shipped_precision": "fp32"}, bundle)
    write_sums(bundle)
    before = open_bundle(bundle).digest
    with pytest.raises(TrainingError, match="features: found a value that is no number"):
        add_precisions(bundle, drawn, ["fp16"])
    assert open_bundle(bundle).digest == before


def test_an_answer_that_is_no_number_costs_more_than_every_limit(tmp_path: Path) -> None:
    opened = open_bundle(class_student(tmp_path / "b"))
    exact = {"features": np.full((1, 3), 0.3, np.float32), "tumor": np.zeros(1, np.float32)}
    dark = exact | {"features": np.zeros((1, 3), np.float32)}  # shares of nothing
    with (
        open_runtime(opened, engine="onnxruntime", precision="fp32", threads=1) as runtime,
        pytest.raises(TrainingError, match="probability: found a value that is no number"),
    ):
        costs(runtime, dark, exact, [Bag(np.array([0]))])


@pytest.mark.parametrize(
    ("cheap", "changes"),
    [
        ([[0.401, 0.399, 0.2], [0.2, 0.401, 0.399]], 0),
        ([[0.399, 0.401, 0.2], [0.2, 0.401, 0.399]], 1),  # another class
        ([[0.4002, 0.3998, 0.2], [0.2, 0.401, 0.399]], 1),  # two that are equal: none is named
        ([[0.3995, 0.3985, 0.202], [0.202, 0.3995, 0.3985]], 2),  # below the floor of 0.4
    ],
)
def test_slides_whose_named_class_changes_are_counted(
    tmp_path: Path, cheap: list[list[float]], changes: int
) -> None:
    exact = {"features": np.array([[0.401, 0.399, 0.2], [0.2, 0.401, 0.399]], np.float32)}
    bags = [Bag(np.array([0])), Bag(np.array([1]))]
    opened = open_bundle(class_student(tmp_path / "b"))
    with open_runtime(opened, engine="onnxruntime", precision="fp32", threads=1) as runtime:
        said = exact | {"tumor": np.zeros(2, np.float32)}
        found = costs(runtime, said | {"features": np.array(cheap, np.float32)}, said, bags)
    assert found.class_changes == changes
    assert found.score_shift <= 0.0021


def test_the_manifest_and_the_card_say_how_many_slides_changed_their_class(
    bundle: Path, drawn: Material
) -> None:
    first = replace(drawn, bags=drawn.bags[:1])
    add_precisions(bundle, first, ["fp16"])
    at, means = drawn.bags[0].tiles, []
    for name in ("fp32", "fp16"):
        with open_runtime(open_bundle(bundle), engine="onnxruntime", precision=name) as runtime:  # type: ignore[arg-type]
            seen = runtime.run("encoder", {"tiles": drawn.held_out[at]})["features"]
        means.append(seen.astype(np.float64).mean(axis=0))
    feature = int(np.abs(means[1] - means[0]).argmax())
    apart = means[1][feature] - means[0][feature]
    of_two_classes(bundle, feature, (means[0][feature] + means[1][feature]) / 2, 0.008 / apart)
    (stated,) = add_precisions(bundle, first, ["fp16"])
    assert stated.score_shift == pytest.approx(0.002, abs=5e-4)
    assert stated.class_changes == 1
    assert open_bundle(bundle).manifest.precisions == (stated,)
    why = "fp16: the predicted class of 1 slide(s) changed"
    assert stated.within(PrecisionLimits()) == why
    card = (bundle / "card.md").read_text()
    assert f"| {stated.score_shift:.4f} | 1 | {stated.heatmap_spearman:.5f} |" in card
    assert why in card


def of_two_classes(bundle: Path, feature: int, middle: float, slope: float) -> None:
    """Gives the bundle an aggregator of two classes, equally probable where the mean of a feature
    is `middle`; the logit of the second rises by `slope`."""
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["features", "which"], ["one"], axis=1),
            helper.make_node("Sub", ["one", "middle"], ["above"]),
            helper.make_node("ReduceMean", ["above", "over"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "slope"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probability"], axis=0),
        ],
        "two",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [2])],
        [
            numpy_helper.from_array(np.array([feature, feature]), "which"),
            numpy_helper.from_array(np.array(middle, np.float32), "middle"),
            numpy_helper.from_array(np.array([0], np.int64), "over"),
            numpy_helper.from_array(np.array([0, slope], np.float32), "slope"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9),
              bundle / "aggregator.onnx")  # fmt: skip
    content = json.loads((bundle / "manifest.json").read_text())
    content["graphs"]["aggregator"] = {
        "file": "aggregator.onnx",
        "inputs": [{"name": "features", "dtype": "float32", "shape": ["N", 64]}],
        "outputs": [{"name": "probability", "dtype": "float32", "shape": [2]}],
    }
    codes = [{"value": v, "scheme": "99TEST", "meaning": v} for v in ("kind", "first", "second")]
    content["outputs"] = [
        {"kind": "class", "name": "kind", "tensor": "probability", "code": codes[0],
         "classes": codes[1:], "floor": 0.5},
        content["outputs"][0],
    ]  # fmt: skip
    content["probe"]["tolerance"] = {
        key: value for key, value in content["probe"]["tolerance"].items() if "encoder" in key
    } | {"aggregator/probability": 1e-2}
    content |= {"precisions": [], "shipped_precision": "fp32", "compilers": []}
    with np.load(bundle / "probe.npz") as probe:
        tiles = probe["encoder/in/tiles"]
    write_probe(("encoder", "aggregator"), {"tiles": tiles}, bundle)
    write_manifest(content, bundle)
    write_sums(bundle)


@pytest.fixture(scope="module")
def other_study(tmp_path_factory: pytest.TempPathFactory) -> SlideStudy:
    """A slide to calibrate with, where the phantom is measured on."""
    folder = tmp_path_factory.mktemp("other")
    pixels = draw(5, rows=2048, cols=3072).pixels
    write_slide(pixels, folder, mpp=MPP, levels=3, seed="tests: other")
    return SlideStudy(folder)


def test_the_command_calibrates_and_measures_on_slides_also_where_one_was_killed(
    bundle: Path,
    phantom_study: PhantomStudy,
    other_study: SlideStudy,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (bundle / ".encoder.int8.onnx.1234abcd.part").write_bytes(b"half")
    folders = str(other_study.folder), str(phantom_study.folder)
    arguments = ["precisions", str(bundle), "--calibration", folders[0], "--measure", folders[1]]
    assert main([*arguments, "--precisions", "int8"]) == 0
    assert "| int8 |" in capsys.readouterr().out
    (precision,) = open_bundle(bundle).manifest.precisions
    assert precision.data.startswith("1 slides")


def test_tiles_to_calibrate_with_and_to_measure_on_are_of_other_slides(
    phantom_study: PhantomStudy, other_study: SlideStudy
) -> None:
    wanted = open_bundle("default").manifest.input
    found = slide_material([other_study.folder], [phantom_study.folder], wanted)
    assert found.told == f"1 slides, {len(found.held_out)} tiles; calibrated on 1 others"
    known = {tile.tobytes() for tile in found.calibration}
    assert len(known) > 20
    assert not known & {tile.tobytes() for tile in found.held_out}


@pytest.mark.parametrize("of", ["the same files", "a copy of some", "a copy with other UIDs"])
def test_a_slide_to_calibrate_with_is_not_measured_on(
    of: str, phantom_study: PhantomStudy, other_study: SlideStudy, tmp_path: Path
) -> None:
    again = phantom_study.folder
    if of == "a copy of some":
        again = tmp_path / "copied"
        again.mkdir()
        shutil.copyfile(phantom_study.paths[0], again / "one.dcm")
    elif of == "a copy with other UIDs":
        again = tmp_path / "renamed"
        pixels = phantom_study.phantom.pixels
        write_slide(pixels, again, mpp=MPP, levels=3, seed="tests: renamed")
    wanted = open_bundle("default").manifest.input
    sides = [other_study.folder, phantom_study.folder], [again]
    with pytest.raises(TrainingError, match=r"found the slide of .* again, expected each slide on"):
        slide_material(*sides, wanted)


def test_slides_without_tissue_and_bundles_that_are_none_are_refused(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--calibration", str(tmp_path), "--measure", str(tmp_path)]
    assert main(["precisions", str(bundle), *arguments]) != 0
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / ".somebody.part").write_bytes(b"else's")
    assert main(["precisions", str(tmp_path / "none"), *arguments]) != 0
    assert "neither a shipped bundle" in capsys.readouterr().err
    assert (tmp_path / "none" / ".somebody.part").exists()


@pytest.fixture
def of_two(bundle: Path) -> Path:
    """The shipped encoder behind an aggregator that reads both grids and where tiles lie."""
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["features", "first"], ["fine"], axis=1),
            helper.make_node("Gather", ["positions", "first"], ["places"], axis=1),
            helper.make_node("Cast", ["places"], ["rows"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["fine", "rows"], ["weighted"]),
            helper.make_node("ReduceMean", ["weighted", "over"], ["one"], keepdims=0),
            helper.make_node("Gather", ["features_coarse", "first"], ["wide"], axis=1),
            helper.make_node("ReduceMean", ["wide", "over"], ["other"], keepdims=0),
            helper.make_node("Mul", ["other", "ten"], ["more"]),
            helper.make_node("Add", ["one", "more"], ["risk"]),
        ],
        "both",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 64]),
            helper.make_tensor_value_info("positions", TensorProto.INT64, ["N", 2]),
            helper.make_tensor_value_info("features_coarse", TensorProto.FLOAT, ["M", 64]),
        ],
        [helper.make_tensor_value_info("risk", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.array([0]), "first"),
            numpy_helper.from_array(np.array([0]), "over"),
            numpy_helper.from_array(np.array(10, np.float32), "ten"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9),
              bundle / "aggregator.onnx")  # fmt: skip
    content = json.loads((bundle / "manifest.json").read_text())
    content["input"]["coarse_mpp"] = 1.0
    content["graphs"]["aggregator"] = {
        "file": "aggregator.onnx",
        "inputs": [
            {"name": "features", "dtype": "float32", "shape": ["N", 64]},
            {"name": "positions", "dtype": "int64", "shape": ["N", 2]},
            {"name": "features_coarse", "dtype": "float32", "shape": ["M", 64]},
        ],
        "outputs": [{"name": "risk", "dtype": "float32", "shape": [1]}],
    }
    risk = {"kind": "score", "name": "risk", "tensor": "risk", "direction": "none",
            "code": {"value": "r", "scheme": "99TEST", "meaning": "Risk score"},
            "unit": {"value": "{score}", "scheme": "UCUM", "meaning": "score"}}  # fmt: skip
    content["outputs"] = [risk, content["outputs"][0]]
    content["probe"]["tolerance"] = {
        key: value for key, value in content["probe"]["tolerance"].items() if "encoder" in key
    } | {"aggregator/risk": 1e-2}
    content |= {"precisions": [], "shipped_precision": "fp32", "compilers": []}
    content["precision_limits"] = {"score_shift": 100.0}
    with np.load(bundle / "probe.npz") as probe:
        tiles = probe["encoder/in/tiles"]
    known = run_graph(bundle / "encoder.onnx", {"tiles": tiles})["features"]
    places = np.stack([np.arange(len(tiles)), np.zeros(len(tiles), np.int64)], axis=1)
    given = {"tiles": tiles, "features_coarse": known[::2].copy(), "positions": places}
    write_probe(("encoder", "aggregator"), given, bundle)
    write_manifest(content, bundle)
    write_sums(bundle)
    return bundle


def test_of_two_magnifications_a_form_is_measured_on_both_grids_and_costs_what_a_node_would_see(
    of_two: Path, phantom_study: PhantomStudy, other_study: SlideStudy
) -> None:
    folders = str(other_study.folder), str(phantom_study.folder)
    words = ["precisions", str(of_two), "--calibration", folders[0], "--measure", folders[1]]
    assert main([*words, "--precisions", "fp16"]) == 0
    opened = open_bundle(of_two)
    (stated,) = opened.manifest.precisions
    seen, scores = [], []
    for name in ("fp32", "fp16"):
        with open_runtime(opened, engine="onnxruntime", precision=name, threads=1) as runtime:  # type: ignore[arg-type]
            looked = look(phantom_study.paths, runtime)
            answer = predict(phantom_study.paths, runtime)
        assert isinstance(looked, Seen)
        assert isinstance(answer, Prediction)
        seen.append(looked)
        scores.append(answer.scores["risk"])
    fine, coarse = (len(cells) for cells in seen[0].cells)
    assert fine > 2 * coarse > 10
    assert f"1 slides, {fine + coarse} tiles, {coarse} of them at 1 um a pixel" in stated.data
    assert stated.score_shift == pytest.approx(abs(scores[0] - scores[1]), rel=0.02, abs=2e-5)
    assert stated.score_shift > 1e-4, "a form without a cost shows nothing"
    worst = []
    for exact, cheap in zip(*(one.values for one in seen), strict=True):
        a, b = exact["features"].astype(float), cheap["features"].astype(float)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        worst.append(((a * b).sum(axis=1) / lengths).min())
    assert stated.feature_cosine == pytest.approx(min(worst), abs=2e-6)


def test_tiles_of_one_grid_or_of_no_place_cannot_measure_a_student_that_reads_them(
    of_two: Path,
) -> None:
    opened = open_bundle(of_two)
    tiles = opened.probe()["encoder/in/tiles"]
    at, cells = np.arange(len(tiles)), np.zeros((len(tiles), 2), np.int32)
    with open_runtime(opened, engine="onnxruntime", precision="fp32", threads=1) as runtime:
        exact = runtime.run("encoder", {"tiles": tiles})
        with pytest.raises(TrainingError, match="found tiles of one magnification, expected two"):
            costs(runtime, exact, exact, [Bag(at, cells)])
        with pytest.raises(TrainingError, match="found tiles of no place"):
            costs(runtime, exact, exact, [Bag(at, None, at)])
        assert costs(runtime, exact, exact, [Bag(at, cells, at, cells)]).score_shift == 0
