"""Areas, shares and ratios of tissue: right numbers on drawn slides, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import manifest as tiny
from bundles import write_sums
from opening import all_open
from tiny_slides import write_level
from tissue_students import (
    SIDE,
    TILE_MM2,
    drawn,
    measure,
    measures,
    of_organ,
    slide,
    tissue_map,
    tissue_student,
)

from engines.bundle import open_bundle
from engines.manifest.first import upgraded
from engines.manifest.outputs import MeasureOutput
from engines.manifest.reading import manifest_of
from engines.manifest.whole import Manifest
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.archive import load, save
from inference.case import archive as case_archive
from inference.case.predict import of_any_amount, predict_case
from inference.composition.classes import assemble_classes, classes_fault
from inference.composition.measuring import Counted, around, count
from inference.composition.measuring import measure as measured
from inference.slide.files import SlideFiles
from inference.types import NOTHING, NotAssessable, Prediction, Reason

ROWS = ["TTTTSSSS", "TTTTSSSS", "TTTTSSSS", "TTLLSSSS", "SSLLSS..", "SSSSSSSS"]
"""14 letters of tumor, 28 of stroma, 4 of lymphocytes."""
LETTER = SIDE * SIDE
"""Tiles of a letter."""
TUMOR, STROMA, LYMPHOCYTES = 14 * LETTER, 28 * LETTER, 4 * LETTER
TISSUE = TUMOR + STROMA + LYMPHOCYTES


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    colon = [of_organ("colon"), of_organ("breast")]
    return {
        "everywhere": tissue_student(folder / "everywhere"),
        "measures": tissue_student(
            folder / "measures", [tissue_map(), *measures(), measure("colon", "area", "Tumor",
                                                                     organs=colon)]
        ),
        "map": tissue_student(folder / "map", [tissue_map(organs=colon), *measures()]),
        "cases": tissue_student(
            folder / "cases", [tissue_map(), *measures(organs=colon)], unit="case"
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SlideFiles]:
    folder = tmp_path_factory.mktemp("slides")
    return {
        "colon": slide(folder / "colon", ROWS, "colon"),
        "lung": slide(folder / "lung", ["TTSS", "TTSS", "TTSS", "TTSS", "TTSS", "TTSS"], "lung"),
        "nothing": slide(folder / "nothing", ROWS),
        "stroma": slide(folder / "stroma", ["SSSSSSS"] * 5, "colon"),
        "colon too": slide(folder / "colon too", ["TTTTTTLL"] * 4, "colon"),
    }


@pytest.fixture(scope="module")
def runtimes(bundles: dict[str, Path]) -> Iterator[dict[str, Runtime]]:
    with all_open(bundles) as runtimes:
        yield runtimes


def told(found: Prediction | NotAssessable) -> Prediction:
    assert isinstance(found, Prediction), found
    return found


@pytest.fixture(scope="module")
def colon(slides: dict[str, SlideFiles], runtimes: dict[str, Runtime]) -> Prediction:
    return told(predict.predict(slides["colon"].paths, runtimes["everywhere"]))


def values(found: Prediction) -> dict[str, float | None]:
    return {name: one.value for name, one in found.measures.items()}


def test_areas_shares_and_the_ratio_are_those_that_were_drawn(colon: Prediction) -> None:
    assert values(colon) == {
        "area of Tumor": pytest.approx(TUMOR * TILE_MM2),
        "share of Tumor": pytest.approx(14 / 46),
        "area of Stroma": pytest.approx(STROMA * TILE_MM2),
        "share of Stroma": pytest.approx(28 / 46),
        "area of Lymphocytes": pytest.approx(LYMPHOCYTES * TILE_MM2),
        "share of Lymphocytes": pytest.approx(4 / 46),
        "Tumor-stroma ratio": pytest.approx(0.5),
        # Of 36: six below the tumor and three beside it, one of them both, and one at its corner.
        # Beside them 126 of tumor, and of stroma ten at the right and six below.
        "Lymphocytes at tumor": pytest.approx(9 / (TUMOR + 9 + 16)),
    }
    assert colon.not_assessed == {}


def test_glass_is_in_no_share_and_the_map_knows_each_tile(colon: Prediction) -> None:
    [found] = colon.class_maps
    assert [found.tiles_of(place) for place in (1, 2, 3)] == [TUMOR, STROMA, LYMPHOCYTES]
    assert found.tiles_of(0) == colon.tiles_analyzed - TISSUE > 0, "the rim of the tissue"
    assert len(found.shares) == colon.tiles_analyzed == int((found.classes != NOTHING).sum())
    assert found.shares.sum(1) == pytest.approx(np.ones(len(found.shares)), abs=1e-5)
    analyzed = found.classes[found.classes != NOTHING]
    assert np.array_equal(found.shares.argmax(1), analyzed), "in raster order"
    assert all(m.of == TISSUE for name, m in colon.measures.items() if name.startswith("share"))


def test_tiles_that_reach_into_each_other_count_no_tissue_twice(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    """At 0.512 um a tile of 32 px is 16.384 um wide, in places of 31 px: 15.872 um."""
    path = write_level(tmp_path / "coarse.dcm", drawn(ROWS), frame=(128, 128), mpp=0.512)
    with open_runtime(open_bundle(bundles["everywhere"]), engine="onnxruntime") as runtime:
        found = told(predict.predict([path], runtime))
    assert found.stride_px == 31
    pixels = 14 * (SIDE * 32) ** 2
    drawn_mm2 = pixels * (0.512 / 1000) ** 2
    assert found.measures["area of Tumor"].value == pytest.approx(drawn_mm2, rel=0.06)
    tiles = found.measures["area of Tumor"].tiles
    assert found.measures["area of Tumor"].value == pytest.approx(tiles * (31 * 0.000512) ** 2)


def test_a_slide_of_another_organ_gets_no_number_and_the_sentence_why(
    slides: dict[str, SlideFiles], runtimes: dict[str, Runtime]
) -> None:
    found = {
        name: told(predict.predict(slides[name].paths, runtimes["measures"]))
        for name in ("colon", "lung", "nothing")
    }
    assert found["colon"].measures["colon"].value == pytest.approx(TUMOR * TILE_MM2)
    assert found["colon"].not_assessed == {}
    for name in ("lung", "nothing"):
        assert "colon" not in found[name].measures
        assert found[name].measures["share of Tumor"].value is not None, "the rest goes on"
        assert found[name].scores, "the rest goes on"
    start = "Not assessed, because it was measured on colon and breast only"
    assert found["lung"].not_assessed == {"colon": f"{start}; the slide is of lung."}
    assert found["nothing"].not_assessed["colon"].startswith(f"{start}. The slide names no organ")


def test_a_map_that_must_not_speak_of_an_organ_takes_all_that_is_counted_on_it_with_it(
    slides: dict[str, SlideFiles], runtimes: dict[str, Runtime]
) -> None:
    lung = told(predict.predict(slides["lung"].paths, runtimes["map"]))
    assert lung.class_maps == ()
    assert lung.measures == {}
    assert set(lung.not_assessed) == {
        "tissue",
        *(o.name for o in runtimes["map"].manifest.measures),
    }
    assert set(lung.not_assessed.values()) == {
        "Not assessed, because it was measured on colon and breast only; the slide is of lung."
    }
    assert [h.name for h in lung.heatmaps] == ["tumor"]


def test_what_would_be_divided_by_nothing_is_not_assessable(
    slides: dict[str, SlideFiles], runtimes: dict[str, Runtime]
) -> None:
    stroma = told(predict.predict(slides["stroma"].paths, runtimes["everywhere"])).measures
    assert stroma["area of Tumor"].value == 0
    assert stroma["share of Stroma"].value == 1
    assert stroma["Tumor-stroma ratio"].value == 0
    assert stroma["Lymphocytes at tumor"].value is None
    assert stroma["Lymphocytes at tumor"].why == (
        "Not assessable, because no tile of Tumor was found."
    )
    tumor = told(predict.predict(slides["colon too"].paths, runtimes["everywhere"])).measures
    assert tumor["Tumor-stroma ratio"].value is None
    assert tumor["Tumor-stroma ratio"].why == (
        "Not assessable, because no tiles of Stroma were found; 10 are needed."
    )


def of_counts(name: str, *counted: Counted) -> tuple[float | None, str]:
    known = {m["name"]: MeasureOutput.model_validate(m) for m in measures()}
    found = measured(known[name], counted)
    return found.value, found.why


@pytest.mark.parametrize(
    ("name", "counted", "value", "why"),
    [
        ("Tumor-stroma ratio", Counted(90, 10, 0, 1.0), 9.0, ""),
        ("Tumor-stroma ratio", Counted(90, 9, 0, 1.0), None, "9 tiles of Stroma were found; 10"),
        ("share of Tumor", Counted(1, 1, 0, 1.0), None, "1 tile of tissue was found; 10 are"),
        ("area of Tumor", Counted(1, 1, 0, 0.5), 0.5, ""),
        ("Lymphocytes at tumor", Counted(1, 9, 1, 1.0), None, "in and around Tumor; 10 are"),
    ],
)
def test_a_share_of_few_tiles_is_not_told_and_an_area_is(
    name: str, counted: Counted, value: float | None, why: str
) -> None:
    found, said = of_counts(name, counted)
    assert found == value
    assert why in said
    assert bool(said) == (value is None)


def test_slides_of_a_case_count_by_their_areas() -> None:
    fine, coarse = Counted(30, 60, 0, 1.0), Counted(10, 10, 0, 4.0)
    assert of_counts("share of Tumor", fine, coarse)[0] == pytest.approx(70 / 100)
    assert of_counts("area of Tumor", fine, coarse)[0] == pytest.approx(70)


def test_a_tile_touches_the_eight_around_it_and_none_across_the_edge() -> None:
    cells = np.zeros((4, 5), bool)
    cells[0, 4] = cells[3, 0] = True
    assert np.argwhere(around(cells)).tolist() == [
        [0, 3], [0, 4], [1, 3], [1, 4], [2, 0], [2, 1], [3, 0], [3, 1],
    ]  # fmt: skip


def test_near_counts_only_what_touches() -> None:
    of_map, output = tissue_map(), measures()[-1]
    shares = np.eye(4, dtype=np.float32)[[1, 3, 3, 2, 0]]
    cells = np.array([(0, 0), (1, 1), (0, 2), (1, 0), (0, 1)], np.int32)
    found = assemble_classes("tissue", cells, shares, (2, 3))
    assert found.classes.tolist() == [[1, 0, 3], [2, 3, NOTHING]]
    outputs = manifest_with(of_map, output)
    assert count(outputs.measures[-1], outputs.class_maps[0], found, 1.0) == Counted(1, 3, 1, 1.0)


def manifest_with(*outputs: dict[str, Any]) -> Manifest:
    content = upgraded(tiny())
    content["graphs"]["encoder"]["outputs"].append(
        {"name": "classes", "dtype": "float32", "shape": ["N", 4]}
    )
    content["probe"]["tolerance"]["encoder/classes"] = 1e-3
    content["outputs"] = [*content["outputs"], *outputs]
    return manifest_of(content)


def test_of_equal_probabilities_the_first_class_counts() -> None:
    even = np.full((1, 4), 0.25, np.float32)
    found = assemble_classes("tissue", np.zeros((1, 2), np.int32), even, (1, 1))
    assert found.classes.tolist() == [[0]]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0.5, np.nan], "a value for tissue that is no number"),
        ([1.2, -0.2], "gave -0.2 to 1.2 for tissue; expected 0 to 1"),
        ([0.5, 0.4], "whose probabilities are 0.9 to 0.9 together; expected 1"),
        ([0.505, 0.5], ""),
    ],
)
def test_classes_that_are_no_probabilities_are_refused(row: list[float], sentence: str) -> None:
    fault = classes_fault("tissue", np.array([row], np.float32))
    assert sentence in fault
    assert bool(sentence) == bool(fault)


def test_a_graph_that_gives_no_probabilities_gives_a_report_that_says_so(
    bundles: dict[str, Path], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    """Features are colors: their sum is not 1."""
    root = tissue_student(tmp_path / "colors", [])
    content = json.loads((root / "manifest.json").read_text())
    classes = tissue_map()["classes"][:3]
    content["outputs"].append(tissue_map(tensor="features", classes=classes))
    (root / "manifest.json").write_text(json.dumps(content))
    write_sums(root)
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        found = predict.predict(slides["colon"].paths, runtime)
    assert isinstance(found, NotAssessable)
    assert found.reason is Reason.MODEL_OUTPUT
    assert "classes of tissue whose probabilities are" in found.detail


def test_a_retry_and_the_file_give_the_same_bytes(
    slides: dict[str, SlideFiles],
    runtimes: dict[str, Runtime],
    colon: Prediction,
    tmp_path: Path,
) -> None:
    kept = tmp_path / "tiles"
    runtime, paths = runtimes["everywhere"], slides["colon"].paths
    first = told(predict.predict(paths, runtime, resume=kept, read="r"))
    again = told(predict.predict(paths, runtime, resume=kept, read="r"))
    for name, found in (("first", first), ("again", again), ("whole", colon)):
        save(found, tmp_path / name)
    files = [(tmp_path / name).read_bytes() for name in ("first", "again", "whole")]
    assert files[0] == files[1] == files[2]
    read = told(load(tmp_path / "first"))
    assert (read.measures, read.not_assessed) == (colon.measures, {})
    assert np.array_equal(read.class_maps[0].classes, colon.class_maps[0].classes)
    assert np.array_equal(read.class_maps[0].shares, colon.class_maps[0].shares)
    save(replace(read), tmp_path / "read")
    assert (tmp_path / "read").read_bytes() == files[0]


def test_a_case_sums_over_its_slides_and_says_which_it_leaves_out(
    slides: dict[str, SlideFiles], runtimes: dict[str, Runtime], tmp_path: Path
) -> None:
    runtime = runtimes["cases"]
    made_for = of_any_amount(runtime.manifest.applicability)

    def case(*names: str) -> Prediction:
        looked = [(n, predict.look(slides[n].paths, runtime, made_for=made_for)) for n in names]
        found = predict_case(looked, runtime)
        assert found.refusal is None
        case_archive.save(found, tmp_path / "case")
        read = case_archive.load(tmp_path / "case")
        assert found.numbers is not None
        assert read.numbers is not None
        assert read.numbers.measures == found.numbers.measures
        assert [len(s.result.class_maps) for s in read.slides] == [1] * len(names)
        return found.numbers

    both = case("colon", "colon too").measures
    tumor, lymphocytes = 14 + 24, 4 + 8
    assert both["area of Tumor"].value == pytest.approx(tumor * LETTER * TILE_MM2)
    assert both["share of Tumor"].value == pytest.approx(tumor / (tumor + 28 + lymphocytes))
    assert both["Tumor-stroma ratio"].value == pytest.approx(tumor / 28), "of both together"
    assert both["area of Tumor"].beside == ""
    mixed = case("colon", "lung").measures
    assert mixed["area of Tumor"].value == pytest.approx(TUMOR * TILE_MM2)
    assert mixed["area of Tumor"].beside == (
        "1 of 2 slides used are not counted: it was measured on colon and breast only, and they "
        "are of another organ or do not say of which."
    )
    none = case("lung", "nothing")
    assert none.measures == {}
    assert none.not_assessed["share of Tumor"] == (
        "Not assessed, because it was measured on colon and breast only; no slide used is of it."
    )
