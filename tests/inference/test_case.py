"""A case: one bag of the tiles of several slides, and what is said of it and of each slide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import write_sums
from case_students import by_hand, case_student
from tiny_slides import Pixels, write_level

from engines.bundle import open_bundle
from engines.errors import BundleRejected
from engines.manifest.claims import Applicability
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.answers import require_answerable
from inference.case import archive
from inference.case.predict import Looked, bag, of_any_amount, predict_case
from inference.case.values import CaseResult
from inference.seen import Seen
from inference.types import NotAssessable, Prediction, Reason

GLASS = (243, 243, 243)
STRIDE = 32
WHY = NotAssessable(Reason.INCOMPLETE, "Files are missing.", None, ())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case_student(tmp_path_factory.mktemp("bundles") / "cases")


@pytest.fixture(scope="module")
def runtime(bundle: Path) -> Iterator[Runtime]:
    with open_runtime(open_bundle(bundle), engine="onnxruntime") as opened:
        yield opened


def tissue(rows: int, reddest: int) -> Pixels:
    """Glass with a block of tissue of so many rows and 640 columns, redder to the right."""
    pixels = np.full((1280, 1920, 3), GLASS, np.uint8)
    pixels[320 : 320 + rows, 640:1280] = (0, 100, 99)
    reds = np.linspace(128, reddest, 20, dtype=np.uint8).repeat(STRIDE)
    pixels[320 : 320 + rows, 640:1280, 0] = reds[None]
    return pixels


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By key; the third is glass alone."""
    folder = tmp_path_factory.mktemp("slides")
    drawn = {"bb": tissue(512, 140), "aa": tissue(640, 156), "cc": tissue(0, 0)}
    return {
        key: write_level(folder / f"{key}.dcm", pixels, frame=(100, 120))
        for key, pixels in drawn.items()
    }


def looked(slides: dict[str, Path], runtime: Runtime, *keys: str, **options: Path) -> list[Looked]:
    made_for = of_any_amount(runtime.manifest.applicability)
    return [
        (key, predict.look([slides[key]], runtime, made_for=made_for, **options)) for key in keys
    ]


def features_of(slides: dict[str, Path], runtime: Runtime, *keys: str) -> np.ndarray:
    found = dict(looked(slides, runtime, *keys))
    seen = [one for key in sorted(found) if isinstance(one := found[key], Seen)]
    return np.concatenate([np.array(one.values[0]["features"]) for one in seen])


def test_a_case_is_what_the_aggregator_says_of_the_features_of_all_slides_by_key(
    slides: dict[str, Path], bundle: Path, runtime: Runtime
) -> None:
    features = features_of(slides, runtime, "aa", "bb")
    expected = by_hand(bundle, features)
    result = predict_case(looked(slides, runtime, "bb", "aa"), runtime)
    assert result.refusal is None
    assert result.scores["risk"] == pytest.approx(float(expected["risk"][0]), abs=1e-7)
    assert [key for key, _ in result.used] == ["aa", "bb"]
    alone = {
        key: predict_case(looked(slides, runtime, key), runtime).scores["risk"]
        for key in ("aa", "bb")
    }
    assert len({*alone.values(), result.scores["risk"]}) == 3
    tiles = {key: told.tiles_analyzed for key, told in result.used}
    mean = sum(alone[key] * tiles[key] for key in tiles) / sum(tiles.values())
    assert result.scores["risk"] == pytest.approx(mean, abs=1e-5)
    assert result.numbers is not None
    assert result.numbers.percentiles["risk"] == 100
    areas = [told.tissue_area_mm2 for _, told in result.used]
    assert result.numbers.tissue_area_mm2 == pytest.approx(sum(areas))


def test_a_map_of_the_aggregator_is_cut_into_the_slides_it_is_of(
    slides: dict[str, Path], bundle: Path, runtime: Runtime
) -> None:
    expected = by_hand(bundle, features_of(slides, runtime, "aa", "bb"))["attention"]
    result = predict_case(looked(slides, runtime, "aa", "bb"), runtime)
    maps = [{h.name: h for h in told.heatmaps} for _, told in result.used]
    found = [one["attention"].values[~np.isnan(one["attention"].values)] for one in maps]
    assert [len(values) for values in found] == [told.tiles_analyzed for _, told in result.used]
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-7)
    assert found[0].max() == 1
    assert found[1].max() == pytest.approx(140 / 156, abs=0.01), "of the reddest in the case"
    assert maps[1]["tumor"].values[~np.isnan(maps[1]["tumor"].values)].max() < 0.6


def test_the_order_of_the_slides_changes_nothing(slides: dict[str, Path], runtime: Runtime) -> None:
    def saved(*keys: str) -> object:
        result = predict_case(looked(slides, runtime, *keys), runtime)
        return result.scores, [key for key, _ in result.used]

    assert saved("aa", "bb") == saved("bb", "aa")


def test_a_slide_that_is_left_out_is_in_the_result_and_not_in_the_bag(
    slides: dict[str, Path], runtime: Runtime
) -> None:
    both = predict_case(looked(slides, runtime, "aa", "bb"), runtime)
    more = predict_case([*looked(slides, runtime, "aa", "bb", "cc"), ("dd", WHY)], runtime)
    assert more.scores == both.scores
    assert [(key, why.reason) for key, why in more.left_out] == [
        ("cc", Reason.NO_TISSUE), ("dd", Reason.INCOMPLETE),
    ]  # fmt: skip
    assert more.is_preliminary
    assert not both.is_preliminary


def test_a_case_without_a_slide_to_use_is_not_predictable(
    slides: dict[str, Path], runtime: Runtime
) -> None:
    result = predict_case([*looked(slides, runtime, "cc"), ("dd", WHY)], runtime)
    assert result.refusal is not None
    assert result.refusal[0] is Reason.NO_SLIDE
    assert result.scores == {}
    assert len(result.left_out) == 2


def test_the_least_tissue_is_asked_of_all_slides_together(
    slides: dict[str, Path], runtime: Runtime
) -> None:
    seen = looked(slides, runtime, "aa", "bb")
    areas = [one.told.tissue_area_mm2 for _, one in seen if isinstance(one, Seen)]
    between = Applicability(minimum_tissue_mm2=(max(areas) + sum(areas)) / 2)
    assert predict_case(seen, runtime, between).refusal is None
    too_much = Applicability(minimum_tissue_mm2=1.1 * sum(areas))
    refused = predict_case(seen, runtime, too_much)
    assert refused.refusal is not None
    assert refused.refusal[0] is Reason.TOO_LITTLE_TISSUE
    assert refused.refusal[1].startswith("Of all slides used together: ")
    tiles = Applicability(minimum_tissue_mm2=0, minimum_tiles=10_000)
    assert "needs 10000" in (predict_case(seen, runtime, tiles).refusal or ("", ""))[1]


def test_an_answer_of_the_model_that_is_no_number_refuses_the_case(
    slides: dict[str, Path], runtime: Runtime
) -> None:
    seen = looked(slides, runtime, "aa")
    key, one = seen[0]
    assert isinstance(one, Seen)
    spoilt = {**one.values[0], "features": np.full_like(one.values[0]["features"], np.nan)}
    broken = Seen(one.told, one.grid, one.cells, (spoilt,))
    result = predict_case([(key, broken), *looked(slides, runtime, "bb")], runtime)
    assert result.refusal is not None
    assert result.refusal[0] is Reason.MODEL_OUTPUT
    assert [k for k, _ in result.used] == ["aa", "bb"], "they were in the bag"
    assert not any(told.heatmaps for _, told in result.used)


def test_the_bag_of_one_slide_lies_where_its_tiles_were_kept_and_is_not_copied(
    slides: dict[str, Path], runtime: Runtime, tmp_path: Path
) -> None:
    ((_, one),) = looked(slides, runtime, "aa", resume=tmp_path / "kept")
    assert isinstance(one, Seen)
    assert bag(runtime.manifest, [one])["features"] is one.values[0]["features"]
    assert isinstance(one.values[0]["features"], np.memmap)


@pytest.mark.parametrize("refused", [False, True])
def test_a_saved_case_comes_back_and_equal_ones_are_equal_files(
    refused: bool, slides: dict[str, Path], runtime: Runtime, tmp_path: Path
) -> None:
    keys = ("cc",) if refused else ("aa", "bb")
    result = predict_case([*looked(slides, runtime, *keys), ("dd", WHY)], runtime)
    archive.save(result, tmp_path / "one.npz")
    back = archive.load(tmp_path / "one.npz")
    assert isinstance(back, CaseResult)
    assert (back.numbers, back.refusal) == (result.numbers, result.refusal)
    assert (back.numbers is None) == refused
    assert back.left_out == result.left_out
    for (_, told), (_, was) in zip(back.used, result.used, strict=True):
        assert isinstance(told, Prediction)
        assert told.geometry == was.geometry
        for one, other in zip(told.heatmaps, was.heatmaps, strict=True):
            assert np.array_equal(one.values, other.values, equal_nan=True)
    archive.save(back, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    predict.save(WHY, tmp_path / "slide.npz")
    with pytest.raises(ValueError, match="expected the result of a case"):
        archive.load(tmp_path / "slide.npz")


def test_a_case_of_tiles_by_their_places_is_refused_for_they_would_lie_over_each_other(
    tmp_path: Path,
) -> None:
    root = case_student(tmp_path / "cases")
    assert require_answerable(open_bundle(root))
    values = json.loads((root / "manifest.json").read_text())
    values["graphs"]["aggregator"]["inputs"].append(
        {"name": "positions", "dtype": "int64", "shape": ["N", 2]}
    )
    (root / "manifest.json").write_text(json.dumps(values))
    write_sums(root)
    with pytest.raises(BundleRejected, match="whole case from the positions of its tiles"):
        require_answerable(open_bundle(root))
