"""The pixel path: shared graph writing, expression, the cross-fitted teachers, simulated slides."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import open_bundle  # noqa: E402
from engines.manifest.reading import read_manifest  # noqa: E402  # after the check for torch
from training.default_student import (  # noqa: E402
    aggregator,
    augment,
    data,
    expression,
    measure,
    shipped,
    simulate,
    teacher,
)
from training.default_student.__main__ import digest  # noqa: E402
from training.errors import TrainingError  # noqa: E402
from training.learning.graphs import run, write_graph, write_manifest, write_probe, write_sums  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "engines" / "bundles" / "default"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Out(NamedTuple):
    total: torch.Tensor
    each: torch.Tensor


class Sums(torch.nn.Module):
    def forward(self, features):
        return Out(features.sum(dim=0), torch.sigmoid(features.mean(dim=1)))


class Frozen(torch.nn.Module):
    """Holds the number of its example: what an exported Python size does."""

    def forward(self, features):
        return features.sum(dim=0) / len(features)


def written(module, out, name="aggregator", outputs=("total", "each")):
    return write_graph(
        name,
        module,
        (torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),),
        out,
        inputs=("features",),
        outputs=outputs,
        dynamic={"features": {0: "N"}, "each": {0: "N"}},
    )


def test_a_graph_of_named_outputs_runs_at_sizes_it_was_not_exported_at(tmp_path):
    path = written(Sums(), tmp_path)
    features = np.arange(21, dtype=np.float32).reshape(7, 3)
    found = run(path, {"features": features})
    assert list(found) == ["total", "each"]
    assert found["total"] == pytest.approx(features.sum(axis=0))
    assert found["each"].shape == (7,)
    assert not any(node.doc_string for node in onnx.load(path).graph.node)


def test_a_graph_that_froze_the_size_of_its_example_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="difference of"):
        written(Frozen(), tmp_path, outputs=("total",))


def test_a_graph_with_an_output_too_many_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="found 1 inputs and 2 outputs"):
        written(Sums(), tmp_path, outputs=("total",))


def test_the_probe_feeds_one_graph_with_the_outputs_of_the_one_before(tmp_path):
    written(torch.nn.Linear(3, 3), tmp_path, name="first", outputs=("hidden",))
    write_graph(
        "second",
        Sums(),
        (torch.ones(2, 3),),
        tmp_path,
        inputs=("hidden",),
        outputs=("total", "each"),
        dynamic={"hidden": {0: "N"}, "each": {0: "N"}},
    )
    write_probe(("first", "second"), {"features": np.ones((4, 3), np.float32)}, tmp_path)
    with np.load(tmp_path / "probe.npz", allow_pickle=False) as probe:
        assert np.array_equal(probe["second/in/hidden"], probe["first/out/hidden"])
        assert set(probe.files) == {
            "first/in/features",
            "first/out/hidden",
            "second/in/hidden",
            "second/out/total",
            "second/out/each",
        }
    with pytest.raises(TrainingError, match="no values for"):
        write_probe(("second",), {"features": np.ones((4, 3), np.float32)}, tmp_path)
    write_sums(tmp_path)
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3


def test_the_counts_of_the_spots_are_those_of_the_tiles(shared, tmp_path):
    folder = shared / "data" / "her2st_spots"
    found = expression.load(folder)
    assert found.counts.shape == (1193, 9803)
    assert (found.section == "B4").sum() == 283
    (tmp_path / "counts.npz").symlink_to(folder / "counts.npz")
    lines = (folder / "spots.csv").read_text().splitlines()
    (tmp_path / "spots.csv").write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(TrainingError, match="counts of other spots"):
        expression.load(tmp_path)


def test_targets_are_standardized_in_each_section_and_selected_without_the_held_out(shared):
    found = expression.load(shared / "data" / "her2st_spots")
    training = np.isin(found.section, ("C2", "C3", "C4", "C5"))
    targets = expression.targets(found, training)
    assert targets.values.shape == (1193, expression.TARGETS)
    for section in np.unique(found.section):
        of = targets.values[found.section == section]
        assert np.abs(of.mean(axis=0)).max() < 0.1
    changed = expression.Expression(
        found.genes,
        np.where(training[:, None], found.counts, 0) + 1,
        found.total,
        found.section,
    )
    unchanged = expression.Expression(found.genes, found.counts + 1, found.total, found.section)
    assert (
        expression.targets(changed, training).names == expression.targets(unchanged, training).names
    )


def test_the_null_exchanges_expression_within_sections_only(shared):
    found = expression.load(shared / "data" / "her2st_spots")
    null = found.permuted(0)
    for section in np.unique(found.section):
        at = found.section == section
        assert np.sort(null.total[at]).tolist() == np.sort(found.total[at]).tolist()
    assert (null.total != found.total).mean() > 0.9


def test_the_teacher_of_expression_tells_epithelium_of_sections_it_did_not_see(shared):
    folder = shared / "data" / "her2st_spots"
    found = expression.load(folder)
    with (folder / "spots.csv").open(newline="") as stream:
        share = np.array([float(row["prop_Epithelial"]) for row in csv.DictReader(stream)])
    tumor = ((share - 0.15) / 0.5).clip(0, 1)
    training = np.isin(found.section, ("C2", "C3", "C4", "C5"))
    clear = (tumor == 0) | (tumor > 0.8)
    taught = teacher.cross_fitted(
        expression.targets(found, training).values, tumor, found.section, training
    )
    assert np.isnan(taught.out_of_fold).tolist() == (~training).tolist()
    of_c, of_b = training & clear, (found.section == "B4") & clear
    assert measure.auc(tumor[of_c], taught.out_of_fold[of_c]) > 0.95
    assert measure.auc(tumor[of_b], taught.elsewhere[of_b]) > 0.95


def test_a_soft_target_does_not_depend_on_the_label_of_its_own_section():
    rng = np.random.default_rng(0)
    seen, section = rng.normal(size=(60, 4)), np.repeat(["a", "b", "c"], 20)
    tumor, training = rng.random(60), np.ones(60, bool)
    other = np.where(section == "a", 1 - tumor, tumor)
    first = teacher.cross_fitted(seen, tumor, section, training).out_of_fold
    second = teacher.cross_fitted(seen, other, section, training).out_of_fold
    assert first[section == "a"] == pytest.approx(second[section == "a"])
    assert not np.allclose(first[section == "b"], second[section == "b"])
    with pytest.raises(TrainingError, match="found 1 training section"):
        teacher.cross_fitted(seen, tumor, section, section == "a")


def library(unit, seed, *, expressed):
    rng = np.random.default_rng(seed)
    programs = rng.poisson(20, (50, 6)).astype(np.float32)
    blank = np.full((50, 6), np.nan, np.float32)
    return simulate.Library(
        unit,
        rng.normal(size=(2, 50, 64)).astype(np.float32),
        rng.random(50).astype(np.float32),
        rng.random(50).astype(np.float32) / 4,
        programs if expressed else blank,
        np.full(50, 1000 if expressed else np.nan, np.float32),
    )


def sources():
    return [
        [library("C2", 1, expressed=True), library("C3", 2, expressed=True)],
        [library("lung", 3, expressed=False)],
    ]


def test_a_simulated_slide_is_a_bag_of_one_section_and_has_no_outcome():
    slides = simulate.cohort(sources(), 24, 0)
    assert set(slides.unit) == {"C2", "C3", "lung"}
    assert set(vars(slides)) == {"features", "tiles", "unit"}
    for at in range(len(slides.tiles)):
        bag = slides.features[at, : slides.tiles[at]]
        assert slides.means()[at] == pytest.approx(bag.mean(axis=0), abs=1e-5)
    assert not slides.features[0, slides.tiles[0] :].any()


def test_the_aggregator_gives_the_mean_feature_of_a_slide_and_nothing_else():
    features = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    assert aggregator.Center()(features).tolist() == [4.5, 5.5, 6.5]


def some_tiles(images):
    """Tiles that are tumor and not by turns."""
    count = len(images)
    tumor = (np.arange(count) % 2).astype(np.float32)
    unknown = np.full((count, 1), np.nan, np.float32)
    return data.TileSet(
        source="drawn",
        mpp=0.5,
        images=images,
        tumor=tumor,
        fraction=tumor,
        lymphoid=tumor,
        tissue=np.full(count, -1),
        cells=unknown,
        expression=unknown,
        teacher=unknown[:, 0],
        split=np.full(count, "test"),
        group=np.arange(count).astype(str),
    )


def test_a_bundle_of_before_keeps_its_encoder_and_loses_what_was_fitted_to_outcomes(tmp_path):
    root = Path(shutil.copytree(SHIPPED, tmp_path / "before"))
    content = json.loads((root / "manifest.json").read_text("utf-8"))
    content["performance"][0] |= {"figure": "C-index, distilled"}
    content["precisions"][0]["score_shift"] = 0.004
    write_manifest(content, root)
    write_sums(root)
    images = open_bundle(root).probe()["encoder/in/tiles"]
    made = shipped.without_outcomes(open_bundle(root), some_tiles(images), tmp_path / "after")
    after = open_bundle(made)
    for name in ("encoder.onnx", "encoder.int8.onnx", "encoder.fp16.onnx"):
        assert (made / name).read_bytes() == (SHIPPED / name).read_bytes()
    assert [output.kind for output in after.manifest.outputs] == ["map"]
    assert "C-index" not in (made / "manifest.json").read_text() + (made / "card.md").read_text()
    assert {form.score_shift for form in after.manifest.precisions} == {0.0}
    assert after.manifest.training.digest == shipped.MANIFEST
    assert after.manifest.heatmaps[0].uncertainty.how == "calibration"


def test_calibration_is_one_and_nought_where_probabilities_are_right_and_lower_where_too_high():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000)
    truth = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)
    right = 1 / (1 + np.exp(-logit))
    assert measure.calibration(truth, right) == pytest.approx((1, 0), abs=0.06)
    too_high = 1 / (1 + np.exp(-(logit + 1)))
    assert measure.calibration(truth, too_high) == pytest.approx((1, -1), abs=0.06)


def test_a_correlation_that_depth_explains_vanishes_beyond_depth():
    rng = np.random.default_rng(0)
    depth = rng.normal(size=2000)
    first, second = (depth[:, None] + 0.5 * rng.normal(size=(2000, 1)) for _ in range(2))
    assert measure.mean_correlation(first, second) > 0.7
    assert abs(measure.partial_correlation(first, second, depth)) < 0.06


def test_views_are_the_same_by_seed_and_differ_from_the_tile():
    images = np.random.default_rng(0).integers(0, 255, (10, 224, 224, 3), dtype=np.uint8)
    zoom = np.ones(10, np.float32)
    first, again = (
        augment.views(images, zoom, 64, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert first.shape == (10, 3, 64, 64)
    assert torch.equal(first, again)
    assert first.min() >= 0
    assert first.max() <= 255


def test_the_shipped_manifest_names_the_code_and_data_that_are_here(shared):
    manifest = read_manifest((SHIPPED / "manifest.json").read_text("utf-8"))
    assert manifest.training.digest == shipped.MANIFEST
    assert f"sha256:{digest(shared / 'data')}" == shipped.CODE_AND_DATA, (
        "the shipped bundle was made by other code or data: make it again with "
        "python -m training.default_student"
    )


def test_moving_or_rewording_code_does_not_change_its_digest_and_another_number_does(tmp_path):
    texts = {
        "a/code.py": '"""Doc."""\nfrom x import y\nLIMIT = 3\n',
        "b/renamed.py": '"""Another."""\nimport z\n# why\nLIMIT = 3\n',
        "c/code.py": '"""Doc."""\nfrom x import y\nLIMIT = 4\n',
    }
    found = {}
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
        found[name] = data.digest([path])
    assert found["a/code.py"] == found["b/renamed.py"] != found["c/code.py"]
