from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the training extra")

from engines.bundle import SHIPPED, open_bundle  # noqa: E402
from engines.errors import BundleRejected  # noqa: E402
from engines.manifest.precision import PrecisionLimits  # noqa: E402
from engines.runtime import open_runtime  # noqa: E402
from inference.phantom.draw import draw  # noqa: E402
from slides import PhantomStudy  # noqa: E402
from training.bundle.costs import costs  # noqa: E402
from training.bundle.precisions import Material, add_precisions, table  # noqa: E402
from training.cli import main  # noqa: E402

TILE_PX = 224


@pytest.fixture(scope="module")
def drawn() -> Material:
    """Tiles of two drawn slides: one to calibrate with, one to measure on."""
    held_out = tiles_of(seed=2)
    rng = np.random.default_rng(0)
    return Material(
        calibration=tiles_of(seed=1)[:32],
        held_out=held_out,
        bags=[rng.choice(len(held_out), 40, replace=False) for _ in range(4)],
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
    bags = [np.arange(1, len(classes)), np.arange(4)]
    with open_runtime(opened, engine="onnxruntime", precision="fp32", threads=1) as runtime:
        assert costs(runtime, exact, exact, bags).tile_classes == 1
        found = costs(runtime, exact | {"classes": classes}, exact, bags)
    assert (found.tile_classes, found.heatmap_spearman) == (0.75, pytest.approx(1))


def test_the_command_calibrates_and_measures_on_slides(
    bundle: Path, phantom_study: PhantomStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(phantom_study.folder)
    arguments = ["precisions", str(bundle), "--calibration", folder, "--measure", folder]
    assert main([*arguments, "--precisions", "int8"]) == 0
    assert "| int8 |" in capsys.readouterr().out
    (precision,) = open_bundle(bundle).manifest.precisions
    assert precision.data.startswith("1 slides")


def test_slides_without_tissue_and_bundles_that_are_none_are_refused(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--calibration", str(tmp_path), "--measure", str(tmp_path)]
    assert main(["precisions", str(bundle), *arguments]) != 0
    assert main(["precisions", str(tmp_path / "none"), *arguments]) != 0
    assert "neither a shipped bundle" in capsys.readouterr().err
