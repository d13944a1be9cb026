"""The shipped student: sound, small, honest about itself, and as good as its card says."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from engines.bundle import open_bundle
from engines.errors import BundleRejected
from engines.runtime import open_runtime
from inference.phantom.plan import Kind

SHIPPED = Path(__file__).parents[2] / "engines" / "bundles" / "default"
LUNG_AUC_FLOOR = 0.98
CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
TISSUES = ["Adipose tissue", "Debris", "Lymphocytic tissue", "Mucus", "Smooth muscle",
           "Normal mucosa", "Stroma", "Tumor epithelium"]  # fmt: skip
PROBE_KINDS = [kind for kind in Kind if kind != Kind.GLASS]


@pytest.fixture(scope="module")
def bundle():
    return open_bundle("default")


@pytest.fixture(scope="module")
def runtime(bundle):
    with open_runtime(bundle, engine="onnxruntime", precision="fp32", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def lung_tiles(shared):
    """Every second test tile of LC25000, [N, 224, 224, 3], and whether it shows tumor [N]."""
    folder = shared / "data" / "lc25000_lung_clean"
    with (folder / "tiles.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"][::2]
    assert len(rows) > 200
    tiles = np.stack([pixels(folder / row["file"]) for row in rows])
    return tiles, np.array([row["label"] != "lung_n" for row in rows])


@pytest.fixture(scope="module")
def colon_tiles(shared):
    paths = sorted((shared / "data" / "tiles_crc_val_he_7k_32").glob("*.png"))
    assert len(paths) == 32
    return np.stack([pixels(path) for path in paths])


@pytest.fixture(scope="module")
def breast_tiles(shared):
    """Spots of patient B that are plainly epithelium or plainly not, at 0.5 um per pixel."""
    pytest.importorskip("torch", reason="needs torch, of the extra `training`")
    from training.default_student import data  # after the check for torch
    from training.default_student.augment import centered

    spots = data.spots(shared / "data" / "her2st_spots").part("test")
    clear = spots.clear
    return centered(spots.images[clear], spots.mpp, 224), spots.tumor[clear] > 0.5


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def encode(runtime, tiles):
    """Features [N, D] and tumor probability [N]."""
    parts = [
        runtime.run("encoder", {"tiles": np.ascontiguousarray(tiles[at : at + 32])})
        for at in range(0, len(tiles), 32)
    ]
    return tuple(np.concatenate([part[name] for part in parts]) for name in ("features", "tumor"))


def distance(bundle, features):
    """Distance of a slide of these tiles over the limit, as the manifest defines it."""
    reference = bundle.manifest.out_of_distribution
    z = (features.mean(axis=0) - np.array(reference.mean)) / np.array(reference.std)
    return np.sqrt(np.mean(z**2)) / reference.limit


def auc(truth, score):
    return np.mean(
        (score[truth][:, None] > score[~truth]) + (score[truth][:, None] == score[~truth]) / 2
    )


def test_the_bundle_is_research_and_at_most_15_mb(bundle):
    assert (bundle.manifest.name, bundle.manifest.status) == ("default", "research")
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 15e6


def test_the_sums_name_every_other_file_in_the_format_of_sha256sum():
    listed = {}
    for line in (SHIPPED / "SHA256SUMS").read_text().splitlines():
        digest, name = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line).groups()
        listed[name] = digest
    files = {path for path in SHIPPED.iterdir() if path.name != "SHA256SUMS"}
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", ["encoder", "aggregator"])
def test_the_graphs_are_valid_self_contained_onnx_without_paths_of_the_maker(bundle, name):
    model = onnx.load(bundle.file(bundle.manifest.graphs[name].file), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 18
    assert not any(node.doc_string for node in model.graph.node)
    assert not any(weight.external_data for weight in model.graph.initializer)


def test_every_precision_costs_no_more_than_the_manifest_says(bundle):
    manifest = bundle.manifest
    assert {p.name for p in manifest.precisions} == {"bf16", "fp16", "int8"}
    assert manifest.shipped_precision == "int8"
    for precision in manifest.precisions:
        assert precision.within(manifest.precision_limits) == ""
    tiles = bundle.probe()["encoder/in/tiles"]
    exact = bundle.probe()["encoder/out/features"]
    for engine, name in [("openvino", "int8"), ("onnxruntime", "fp16")]:
        with open_runtime(bundle, engine=engine, precision=name, threads=1) as runtime:
            cheap = runtime.run("encoder", {"tiles": tiles})["features"]
        lengths = np.linalg.norm(cheap, axis=1) * np.linalg.norm(exact, axis=1)
        claimed = manifest.precision(name, engine).feature_cosine
        # Drawn tiles were among those that were measured, these very ones were not.
        assert ((cheap * exact).sum(1) / lengths).min() > claimed - 0.005


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_probe_passes_with_room_to_spare(bundle, engine):
    with open_runtime(bundle, engine=engine, precision="fp32") as runtime:
        differences = runtime.sit_probe()
    tolerance = bundle.manifest.probe.tolerance
    assert all(difference < tolerance[key] / 4 for key, difference in differences.items())


def test_the_probe_notices_one_kernel_changed_by_a_tenth(bundle, tmp_path):
    for path in SHIPPED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(tmp_path / "encoder.onnx")
    weights = next(w for w in model.graph.initializer if len(w.dims) == 4 and w.dims[0] == 128)
    values = numpy_helper.to_array(weights).copy()
    values[0] *= 1.1
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "encoder.onnx")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(tmp_path.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    with (
        pytest.raises(BundleRejected, match="is off by"),
        open_runtime(open_bundle(tmp_path), engine="onnxruntime", precision="fp32"),
    ):
        pass


def test_card_and_manifest_say_that_nothing_was_fitted_to_an_outcome(bundle):
    card = " ".join((SHIPPED / "card.md").read_text(encoding="utf-8").split())
    assert "Research only" in card
    assert "fitted to no outcome" in card
    assert "predicts nothing about a patient" in card
    assert "No outcome is simulated" in bundle.manifest.training.simulated
    assert "Not for diagnosis" in bundle.manifest.intended_use
    assert not re.search(r"C-index|hazard|percentiles", card)


def test_the_card_states_every_metric_of_the_manifest_with_its_interval(bundle):
    card = (SHIPPED / "card.md").read_text(encoding="utf-8")
    assert len(bundle.manifest.performance) >= 8
    for metric in bundle.manifest.performance:
        assert metric.low <= metric.value <= metric.high
        interval = f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
        who = f"| {metric.subgroup} | {metric.count} | {metric.data} |"
        assert f"| {metric.figure} | {interval} {who}" in card


def test_figures_of_the_student_stand_beside_those_of_twin_null_and_teacher():
    card = (SHIPPED / "card.md").read_text(encoding="utf-8")
    assert "| figure | data | student | twin | null | teacher |" in card
    for figure in ("tumor AUC", "Spearman with epithelium", "tissue class accuracy"):
        rows = re.findall(rf"^\| {figure} \|[^|]+\|(.+)\|$", card, re.MULTILINE)
        beside = [row for row in rows if row.count("|") == 3]
        assert beside
        assert all(re.match(r" \d\.\d{3} \(", cell) for r in beside for cell in r.split("|")[:3])


def test_it_gives_a_map_of_tumor_and_one_of_tissue_that_is_measured(bundle):
    (tumor,), (tissue,) = bundle.manifest.heatmaps, bundle.manifest.class_maps
    assert (tumor.name, tumor.threshold, tumor.floor, tumor.classes) == ("tumor", 0.5, 0.1, ())
    assert (tissue.name, tissue.threshold, tissue.floor, tissue.top_patches) == (
        "tissue", None, 0, 0
    )  # fmt: skip
    assert [code.meaning for code in tissue.classes] == [*TISSUES[:1], "Background", *TISSUES[1:]]
    assert tissue.background == ("Background",)
    measures = bundle.manifest.measures
    for quantity, unit in (("area", "mm2"), ("share", "%")):
        of_one = [m for m in measures if m.quantity == quantity and not m.near]
        assert [m.classes for m in of_one] == [(name,) for name in TISSUES]
        assert {m.unit.value for m in of_one} == {unit}
    (ratio,) = (m for m in measures if m.quantity == "ratio")
    assert (ratio.classes, ratio.over) == (("Tumor epithelium",), ("Stroma",))
    (around,) = (m for m in measures if m.near)
    assert (around.classes, around.near) == (("Lymphocytic tissue",), ("Tumor epithelium",))
    assert len(measures) == 18
    assert bundle.manifest.graphs["aggregator"].outputs[0].name == "center"


def test_classes_and_measures_are_of_the_large_intestine_alone_where_they_were_measured(bundle):
    for output in (*bundle.manifest.class_maps, *bundle.manifest.measures):
        assert [(organ.value, organ.scheme) for organ in output.organs] == [("14742008", "SCT")]


def test_the_tumor_map_is_of_the_organs_with_a_figure_on_tiles_it_never_saw(bundle):
    organs = [(organ.value, organ.scheme) for organ in bundle.manifest.heatmaps[0].organs]
    assert organs == [("14742008", "SCT"), ("39607008", "SCT"), ("76752008", "SCT")]
    measured = {m.subgroup for m in bundle.manifest.performance if m.figure == "tumor AUC"}
    assert measured == {"colon", "lung", "breast", "drawings"}
    assert bundle.manifest.applicability.organs == ()  # the others get a report that says why


def test_every_share_has_an_interval_and_none_is_certain(bundle):
    shares = [m for m in bundle.manifest.measures if m.quantity == "share" and not m.near]
    assert all(2 < m.uncertainty.half_width < 50 for m in shares)  # percent


def test_no_code_value_is_used_for_two_outputs(bundle):
    values = [m.code.value for m in bundle.manifest.measures]
    assert len(set(values)) == len(values)


def test_the_tissue_of_the_colon_tiles_is_told_as_often_as_the_card_says(bundle, runtime, shared):
    paths = sorted((shared / "data" / "tiles_crc_val_he_7k_32").glob("*.png"))
    tiles = np.stack([pixels(path) for path in paths])
    told = runtime.run("encoder", {"tiles": tiles})["classes"]
    assert told.sum(axis=1) == pytest.approx(1, abs=1e-5)
    truth = np.array([CLASSES.index(path.name.split("-")[0]) for path in paths])
    right = told.argmax(axis=1) == truth
    rows = {(m.figure, m.subgroup): m for m in bundle.manifest.performance}
    assert rows["tissue class accuracy", "colon"].value == pytest.approx(right.mean(), abs=1e-4)
    assert right.sum() >= 27  # at most two fewer than the network that taught it
    assert rows["tumor AUC by tissue class", "colon"].value == pytest.approx(
        auc(truth == 8, told[:, 8]), abs=1e-4
    )
    with open_runtime(bundle, engine="openvino", precision="int8", threads=1) as cheap:
        same = cheap.run("encoder", {"tiles": tiles})["classes"].argmax(axis=1)
    assert (same == told.argmax(axis=1)).sum() >= 31


def test_the_calibration_it_states_is_that_of_the_shipped_graph(bundle, runtime, shared):
    pytest.importorskip("torch", reason="needs torch, of the extra `training`")
    from training.default_student import data, measure  # after the check for torch
    from training.default_student.augment import centered

    spots = data.spots(shared / "data" / "her2st_spots").part("test")
    _, score = encode(runtime, centered(spots.images, spots.mpp, 224))
    slope, intercept = measure.calibration(spots.tumor.astype(float), score.astype(float))
    stated = bundle.manifest.heatmaps[0].uncertainty
    assert (stated.slope, stated.intercept) == pytest.approx((slope, intercept), abs=0.02)
    assert stated.count == len(spots)


def test_the_breast_figure_of_the_card_is_what_the_shipped_graph_gives(
    bundle, runtime, breast_tiles
):
    tiles, tumor = breast_tiles
    rows = {(m.figure, m.subgroup): m for m in bundle.manifest.performance}
    stated = rows["tumor AUC", "breast"]
    assert stated.count == len(tumor)
    _, score = encode(runtime, tiles)
    assert auc(tumor, score) == pytest.approx(stated.value, abs=0.01)


def test_one_tile_and_ten_thousand_tiles_both_make_a_slide(bundle, runtime):
    features = bundle.probe()["aggregator/in/features"]
    for count in (1, 10_000):
        many = np.resize(features, (count, features.shape[1]))
        center = runtime.run("aggregator", {"features": many})["center"]
        assert center == pytest.approx(many.mean(axis=0), abs=1e-3)


def test_the_drawn_tumor_tile_stands_out_of_the_drawn_tiles(bundle):
    tumor = bundle.probe()["encoder/out/tumor"]
    assert PROBE_KINDS[int(tumor.argmax())] is Kind.TUMOR
    assert tumor.max() > 0.5
    assert np.all(np.delete(tumor, tumor.argmax()) < 0.5)


def test_lung_tumor_is_told_from_benign_lung_on_groups_not_trained_on(runtime, lung_tiles):
    tiles, tumor = lung_tiles
    _, score = encode(runtime, tiles)
    assert auc(tumor, score) >= LUNG_AUC_FLOOR


def test_real_slides_like_the_training_tiles_are_not_flagged(
    bundle, runtime, lung_tiles, colon_tiles
):
    for tiles in (lung_tiles[0], colon_tiles):
        assert distance(bundle, encode(runtime, tiles)[0]) < 1


@pytest.mark.parametrize("kind", ["inverted lung", "inverted colon", "noise"])
def test_tiles_that_are_no_stained_tissue_are_flagged(
    bundle, runtime, lung_tiles, colon_tiles, kind
):
    rng = np.random.default_rng(0)
    tiles = {
        "inverted lung": 255 - lung_tiles[0][::5],
        "inverted colon": 255 - colon_tiles,
        "noise": rng.integers(0, 256, (16, 224, 224, 3), dtype=np.uint8),
    }[kind]
    assert distance(bundle, encode(runtime, tiles)[0]) > 1
