from __future__ import annotations

import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit
from students import Change, student
from tiny_slides import Edit, Pixels, noise, planted, write_level

from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime
from inference import heatmap, predict
from inference.errors import SlideError
from inference.types import NotAssessable, Prediction, Progress, Reason

GLASS = (243, 243, 243)
STRIDE = 32


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with student(tmp_path / "bundle") as opened:
        yield opened


REDS = np.linspace(128, 156, 20, dtype=np.uint8)


def stained() -> Pixels:
    """Glass with a block of tissue at rows 320-960, cols 640-1280, redder to the right."""
    pixels = np.full((1280, 1920, 3), GLASS, np.uint8)
    pixels[320:960, 640:1280] = (0, 100, 99)
    pixels[320:960, 640:1280, 0] = REDS.repeat(STRIDE)[None]
    return pixels


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_level(tmp_path / "slide.dcm", stained(), frame=(100, 120))


def test_a_slide_becomes_scores_survival_heatmap_and_outline(slide: Path, runtime: Runtime) -> None:
    result = predict.predict([slide], runtime)
    assert isinstance(result, Prediction)
    assert result.stride_px == STRIDE
    (tumor,) = result.heatmaps
    assert tumor.values.shape == (40, 60)
    expected = np.full((40, 60), np.nan, np.float32)
    expected[10:30, 20:40] = REDS[None] / np.float32(255)
    core = np.s_[10:30, 20:40]
    assert np.allclose(tumor.values[core], expected[core], atol=1e-6)
    outside = tumor.values.copy()
    outside[9:31, 19:41] = np.nan  # smoothing may take in half a cell of glass at the rim
    assert np.isnan(outside).all()
    assert result.tiles_analyzed == np.isfinite(tumor.values).sum()
    assert [(p.row, p.col) for p in tumor.top_patches] == [(10, 39), (11, 39), (12, 39)]
    assert tumor.top_patches[0].value == pytest.approx(156 / 255)
    assert set(result.scores) == {"risk"}
    assert result.percentiles["risk"] == pytest.approx(
        100 * np.clip(result.scores["risk"], 0, 1), abs=1e-3
    )
    assert all(0 <= value <= 1 for value in result.survivals["survival"])
    (outline,) = result.tissue_outlines
    assert np.abs(outline.min(0) - (320, 640)).max() <= 16
    assert np.abs(outline.max(0) - (960, 1280)).max() <= 16
    assert result.tissue_area_mm2 == pytest.approx(0.32 * 0.32, rel=0.1)
    assert [level.used_as for level in result.levels] == ["tiles and tissue"]
    assert result.warnings == ()


def test_the_score_is_that_of_the_analyzed_tiles_alone(slide: Path, runtime: Runtime) -> None:
    result = predict.predict([slide], runtime)
    assert isinstance(result, Prediction)
    cells = np.argwhere(np.isfinite(result.heatmaps[0].values)) * STRIDE
    pixels = stained()
    tiles = np.stack([pixels[r : r + STRIDE, c : c + STRIDE] for r, c in cells])
    features = runtime.run("encoder", {"tiles": tiles})["features"]
    expected = runtime.run("aggregator", {"features": features})
    assert result.scores["risk"] == pytest.approx(float(expected["risk"][0]), abs=1e-6)
    assert result.survivals["survival"] == pytest.approx(expected["survival"].tolist(), abs=1e-6)


def test_cells_with_a_quarter_of_tissue_are_analyzed_and_others_are_not(tmp_path: Path) -> None:
    """Tiles of 4 um per pixel: cells of 256 base pixels, of which the outer columns hold little."""

    def coarse(values: dict[str, Any]) -> None:
        values["input"]["mpp"] = 4.0

    pixels = np.full((1280, 1536, 3), GLASS, np.uint8)
    first, last = 512 - 256 * 15 // 100, 1024 + 256 * 35 // 100
    pixels[256:1024, first:last] = (150, 100, 99)
    path = write_level(tmp_path / "s.dcm", pixels, frame=(256, 256))
    with student(tmp_path / "b", coarse) as runtime:
        result = predict.predict([path], runtime)
    assert isinstance(result, Prediction)
    assert result.stride_px == 256
    analyzed = np.argwhere(np.isfinite(result.heatmaps[0].values))
    assert analyzed.tolist() == [[r, c] for r in (1, 2, 3) for c in (2, 3, 4)]
    values = result.heatmaps[0].values[1:4, 2:5]
    glass, tissue = 243 / 255, 150 / 255
    assert np.allclose(values[:, :2], tissue, atol=2 / 255)
    assert np.allclose(values[:, 2], 0.35 * tissue + 0.65 * glass, atol=4 / 255)


def test_the_same_slide_gives_the_same_bytes(slide: Path, runtime: Runtime, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        predict.save(predict.predict([slide], runtime), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_prediction_comes_back_from_its_file_as_it_was(
    slide: Path, runtime: Runtime, tmp_path: Path
) -> None:
    result = predict.predict([slide], runtime)
    assert isinstance(result, Prediction)
    predict.save(result, tmp_path / "p.npz")
    found = predict.load(tmp_path / "p.npz")
    assert isinstance(found, Prediction)
    for ours, theirs in zip(result.heatmaps, found.heatmaps, strict=True):
        assert np.array_equal(ours.values, theirs.values, equal_nan=True)
        assert (ours.name, ours.top_patches) == (theirs.name, theirs.top_patches)
    for line, other in zip(result.tissue_outlines, found.tissue_outlines, strict=True):
        assert np.array_equal(line, other)
    assert replace(result, heatmaps=(), tissue_outlines=()) == replace(
        found, heatmaps=(), tissue_outlines=()
    )


def test_a_refusal_comes_back_from_its_file_as_it_was(tmp_path: Path, runtime: Runtime) -> None:
    path = write_level(tmp_path / "s.dcm", noise(64, 64), mpp=1.0)
    result = predict.predict([path], runtime)
    assert isinstance(result, NotAssessable)
    predict.save(result, tmp_path / "r.npz")
    assert predict.load(tmp_path / "r.npz") == result


def test_a_file_of_another_kind_is_no_prediction(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="expected a saved prediction"):
        predict.load(tmp_path / "x.npz")


def refusal(
    tmp_path: Path, pixels: Pixels, *, change: Change | None = None, mpp: float = 0.5
) -> NotAssessable:
    path = write_level(tmp_path / "s.dcm", pixels, mpp=mpp)
    with student(tmp_path / "b", change) as runtime:
        result = predict.predict([path], runtime)
    assert isinstance(result, NotAssessable)
    assert result.geometry is not None
    return result


def test_a_slide_with_less_detail_than_the_model_needs_is_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, stained(), mpp=1.0)
    assert found.reason == Reason.SPACING_TOO_COARSE
    assert "1.000 um per pixel; the model needs 0.525" in found.detail


def test_an_empty_slide_is_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, np.full((1280, 1920, 3), GLASS, np.uint8))
    assert found.reason == Reason.NO_TISSUE
    assert found.levels[0].used_as == "tiles and tissue"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [("minimum_tissue_mm2", 0.5, "the model needs 0.5 mm2"), ("minimum_tiles", 500, "500")],
)
def test_too_little_tissue_is_refused(
    tmp_path: Path, key: str, value: float, sentence: str
) -> None:
    def change(values: dict[str, Any]) -> None:
        values["applicability"] = {"minimum_tissue_mm2": 0, key: value}

    found = refusal(tmp_path, stained(), change=change)
    assert found.reason == Reason.TOO_LITTLE_TISSUE
    assert sentence in found.detail


def test_an_unreadable_frame_is_refused_with_its_number(
    tmp_path: Path, slide: Path, runtime: Runtime
) -> None:
    slide.write_bytes(slide.read_bytes()[:-1000])
    result = predict.predict([slide], runtime)
    assert isinstance(result, NotAssessable)
    assert result.reason == Reason.FRAMES_UNREADABLE
    assert "Frame 208 of instance" in result.detail


def test_a_refused_header_needs_no_pixels(tmp_path: Path, runtime: Runtime) -> None:
    def gray(ds: Dataset) -> None:
        ds.PhotometricInterpretation = "MONOCHROME2"

    path = write_level(tmp_path / "s.dcm", noise(64, 64), edit=gray)
    result = predict.predict([path], runtime)
    assert isinstance(result, NotAssessable)
    assert result.reason == Reason.PHOTOMETRIC_INTERPRETATION


HEMATOXYLIN = ("12710003", "SCT", "hematoxylin stain")
EOSIN = ("36879007", "SCT", "water soluble eosin stain")
DAB = ("113159008", "SCT", "diaminobenzidine stain")


def staining(*substances: tuple[str, str, str]) -> Edit:
    """Staining steps as PS3.16 TID 8003 writes them."""

    def coded(values: tuple[str, str, str]) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = values
        return item

    def edit(ds: Dataset) -> None:
        step = Dataset()
        step.SpecimenPreparationStepContentItemSequence = []
        for substance in substances:
            content = Dataset()
            content.ValueType = "CODE"
            content.ConceptNameCodeSequence = [coded(("424361007", "SCT", "Using substance"))]
            content.ConceptCodeSequence = [coded(substance)]
            step.SpecimenPreparationStepContentItemSequence.append(content)
        specimen = Dataset()
        specimen.SpecimenIdentifier = "S1"
        specimen.SpecimenPreparationSequence = [step]
        ds.SpecimenDescriptionSequence = [specimen]

    return edit


def h_and_e(values: dict[str, Any]) -> None:
    values["applicability"]["stains"] = [
        dict(zip(("value", "scheme", "meaning"), stain, strict=True))
        for stain in (HEMATOXYLIN, EOSIN)
    ]


@pytest.mark.parametrize(
    ("substances", "is_refused", "warned"),
    [
        ((HEMATOXYLIN, EOSIN), False, False),
        ((("C-22968", "SRT", "hematoxylin stain"),), False, False),  # the retired code
        ((HEMATOXYLIN, DAB), True, False),  # immunohistochemistry is counterstained
        ((), False, True),
    ],
)
def test_a_stain_that_the_model_does_not_know_is_refused_and_an_unstated_one_said(
    tmp_path: Path, substances: Any, is_refused: bool, warned: bool
) -> None:
    path = write_level(tmp_path / "s.dcm", stained(), edit=staining(*substances))
    with student(tmp_path / "b", h_and_e) as runtime:
        result = predict.predict([path], runtime)
    if is_refused:
        assert isinstance(result, NotAssessable)
        assert result.reason == Reason.STAIN
        assert "diaminobenzidine stain (113159008, SCT)" in result.detail
    else:
        assert isinstance(result, Prediction)
        assert any("stain is not stated" in w for w in result.warnings) == warned


MEASURED = {
    "auroc": 0.97,
    "false_alarms": 2,
    "ordinary_count": 40,
    "hits": 27,
    "foreign_count": 30,
}


def compared(limit: float, measured: dict[str, float] | None) -> Callable[[dict[str, Any]], None]:
    """A student that compares slides with ones of the mean color of `stained`."""

    def change(values: dict[str, Any]) -> None:
        mean = [142 / 255, 100 / 255, 99 / 255]
        values["out_of_distribution"] = {"mean": mean, "std": [0.1] * 3, "limit": limit}
        if measured is not None:
            values["out_of_distribution"]["measured"] = measured

    return change


@pytest.mark.parametrize(("limit", "flagged"), [(1.0, False), (0.001, True)])
def test_a_slide_unlike_the_training_slides_is_flagged_with_what_the_flag_is_worth(
    tmp_path: Path, slide: Path, limit: float, flagged: bool
) -> None:
    with student(tmp_path / "b", compared(limit, MEASURED)) as runtime:
        result = predict.predict([slide], runtime)
    assert isinstance(result, Prediction)
    said = [w for w in result.warnings if "unlike the training slides" in w]
    assert bool(said) == flagged
    if flagged:
        assert "27 of 30 foreign slides and of 2 of 40 ordinary ones" in said[0]


@pytest.mark.parametrize(
    "measured",
    [
        None,  # as in every bundle made before the field was there
        MEASURED | {"auroc": 0.94},
        MEASURED | {"false_alarms": 3},  # 7.5 %
        MEASURED | {"false_alarms": 0, "ordinary_count": 19},  # too few to see 5 %
        MEASURED | {"hits": 3, "foreign_count": 3},
    ],
)
def test_a_student_whose_limit_was_not_proven_says_nothing_of_the_distance(
    tmp_path: Path, slide: Path, measured: dict[str, float] | None
) -> None:
    with student(tmp_path / "b", compared(0.001, measured)) as runtime:
        result = predict.predict([slide], runtime)
    assert isinstance(result, Prediction)
    assert not any("unlike" in w or "distance" in w for w in result.warnings)


def test_the_shipped_student_says_nothing_of_the_distance_of_the_sound_slide(shared: Path) -> None:
    base = shared / "cases" / "wsm" / "base"
    if not base.is_dir():
        pytest.skip("needs ../shared/cases/wsm, which is not here")
    with open_runtime(open_bundle("default"), engine="onnxruntime") as runtime:
        result = predict.predict(sorted(base.glob("*.dcm")), runtime)
    assert isinstance(result, Prediction)
    assert not any("unlike" in w for w in result.warnings)


@dataclass
class Altered:
    """A runtime whose outputs are altered after the real graphs have run."""

    real: Runtime
    tensor: str
    alter: Callable[[NDArray[Any]], NDArray[Any]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run(self, graph_name: str, arrays: Any) -> dict[str, NDArray[Any]]:
        outputs = self.real.run(graph_name, arrays)
        return {n: self.alter(a) if n == self.tensor else a for n, a in outputs.items()}


@pytest.mark.parametrize(
    ("tensor", "alter"),
    [
        ("risk", lambda a: a * np.float32("nan")),
        ("risk", lambda a: a + np.float32("inf")),
        ("survival", lambda a: a + np.float32(2)),
        ("survival", lambda a: np.array([0.3, 0.6], np.float32)),
        ("tumor", lambda a: a - np.float32(2)),
        ("tumor", lambda a: np.where(np.arange(len(a)) == 1, np.float32("nan"), a)),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    slide: Path, runtime: Runtime, tensor: str, alter: Any
) -> None:
    result = predict.predict([slide], Altered(runtime, tensor, alter))
    assert isinstance(result, NotAssessable)
    assert result.reason == Reason.MODEL_OUTPUT
    assert tensor in result.detail


def test_progress_counts_up_to_all_tiles(slide: Path, runtime: Runtime) -> None:
    seen: list[Progress] = []
    predict.predict([slide], runtime, progress=seen.append)
    done = [p.tiles_done for p in seen]
    assert done == sorted(done)
    assert seen[-1].tiles_done == seen[-1].tiles_total == 400
    assert seen[-1].tiles_per_s > 0


def test_equal_values_rank_in_raster_order() -> None:
    values = np.array([[0.5, np.nan, 0.9], [0.9, 0.5, 0.1]], np.float32)
    found = heatmap.top_patches(values, 4)
    assert [(p.row, p.col) for p in found] == [(0, 2), (1, 0), (0, 0), (1, 1)]
    assert len(heatmap.top_patches(values, 99)) == 5


def test_colors_get_lighter_with_the_value() -> None:
    rgb = heatmap.color(np.linspace(0, 1, 101, dtype=np.float32)).astype(float)
    lightness = rgb @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -0.8).all()
    assert lightness[-1] - lightness[0] > 150


# -- what is said ---------------------------------------------------------------------------------

NAME = "ZZPHINAME"


def talkative(values: dict[str, Any]) -> None:
    """A student that asks for all a header can say."""
    h_and_e(values)
    values["input"]["icc"] = "srgb"


def all_that_is_said(path: Path, runtime: Runtime) -> str:
    """Every sentence that comes out of a prediction, tracebacks included."""
    try:
        result = predict.predict([path], runtime)
    except SlideError as error:
        return f"{error} {error!r} " + "".join(traceback.format_exception(error))
    said = [repr(result.levels), repr(result.geometry)]
    said += [result.detail] if isinstance(result, NotAssessable) else result.warnings
    return " ".join(said)


def places(dataset: Dataset) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Way to every attribute and its VR."""
    for element in dataset:
        if element.keyword == "PixelData":
            continue
        yield (element.keyword,), element.VR
        for n, item in enumerate(element.value if element.VR == "SQ" else ()):
            for place, vr in places(item):
                yield (element.keyword, n, *place), vr


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_sparse", [False, True])
def test_no_value_of_a_header_is_said(tmp_path: Path, is_sparse: bool) -> None:
    def all_attributes(ds: Dataset) -> None:
        staining(HEMATOXYLIN, EOSIN)(ds)
        ds.OpticalPathSequence[0].ICCProfile = b"none"
        ds.ConcatenationUID = "1.2.3"
        ds.InConcatenationNumber = ds.InConcatenationTotalNumber = 1
        ds.ConcatenationFrameOffsetNumber = 0
        ds.PatientName = ds.PatientID = "A"

    pixels = np.full((128, 128, 3), (150, 100, 99), np.uint8)
    path = tmp_path / "ZZFILE.dcm"
    absent = {(0, 0)} if is_sparse else None
    write_level(path, pixels, frame=(64, 64), absent=absent, edit=all_attributes)
    original = path.read_bytes()
    found = list(places(dcmread(path)))
    assert len(found) > 60
    said: set[str] = set()
    with student(tmp_path / "bundle", talkative) as runtime:
        for place, vr in found:
            for planted_vr in {vr, "UT" if vr == "SQ" else "LO", "UN"}:
                for text in (f"{NAME}^ZZFIRST", f"A\\{NAME}\\{NAME}\\ZZFIRST"):
                    path.write_bytes(original)
                    planted(path, place, planted_vr, text)
                    sentence = all_that_is_said(path, runtime)
                    for secret in (NAME, "ZZFIRST", "ZZFILE", str(tmp_path)):
                        assert secret not in sentence, (place, planted_vr)
                    said.add(sentence)
    assert len(said) > 20


@pytest.mark.parametrize("has_offsets", [False, True])
def test_frames_of_no_length_are_unreadable_and_no_path_is_said(
    tmp_path: Path, runtime: Runtime, has_offsets: bool
) -> None:
    def emptied(ds: Dataset) -> None:
        item = b"\xfe\xff\x00\xe0"
        offsets = b"".join(struct.pack("<I", 8 * n) for n in range(ds.NumberOfFrames))
        table = offsets if has_offsets else b""
        empty = (item + bytes(4)) * ds.NumberOfFrames
        ds.PixelData = item + struct.pack("<I", len(table)) + table + empty

    path = write_level(
        tmp_path / "s.dcm", noise(64, 96), frame=(32, 32), syntax=JPEGBaseline8Bit, edit=emptied
    )
    result = predict.predict([path], runtime)
    assert isinstance(result, NotAssessable)
    assert result.reason == Reason.FRAMES_UNREADABLE
    assert str(tmp_path) not in result.detail
    assert "s.dcm" not in result.detail


def test_a_file_that_is_gone_or_a_folder_that_is_full_is_an_error_without_a_path(
    tmp_path: Path, slide: Path, runtime: Runtime
) -> None:
    occupied = tmp_path / "kept"
    occupied.write_text("not a folder")
    for path, kept in ((tmp_path / "gone.dcm", None), (slide, occupied)):
        with pytest.raises(OSError, match=r"(directory|exists)") as raised:
            predict.predict([path], runtime, resume=kept)
        assert raised.value.errno
        assert str(tmp_path) not in "".join(traceback.format_exception(raised.value))
