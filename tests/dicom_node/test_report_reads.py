"""A report is understood from its first sentences, and says how well each number is known."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE, manifest, prediction, refusal, to_bytes, volume
from validators import dciodvfy_errors, template_errors

from dicom_node.results import codes
from dicom_node.results.build import build_objects
from dicom_node.results.files import write
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import Making
from dicom_node.results.pdf.said import said_by
from dicom_node.results.sr.analyzed import analyzed
from dicom_node.results.sr.figures import calibration
from dicom_node.results.sr.outcome import calibrations_of
from engines.bundle import open_bundle
from engines.manifest.uncertainty import Calibrated
from engines.manifest.whole import Manifest
from inference.slide.files import SlideFiles
from inference.types import Condition, Found, LevelAccount, NotAssessable, Prediction, Reason

ORDER = [
    codes.SAID_SLIDE, codes.SAID_STATUS, codes.SAID_ASSESSABLE, codes.SAID_RESULT,
    codes.SAID_ANALYZED, codes.SAID_LEFT_OUT, codes.SAID_LIMIT, codes.SAID_PERFORMANCE,
]  # fmt: skip
ROW = {"figure": "AUC", "value": 0.8, "low": 0.7, "high": 0.9, "data": "drawn slides",
       "subgroup": "lung", "count": 40}  # fmt: skip
HALF = {"how": "interval", "half_width": 0.5, "source": "drawn again"}
MEMBERS = {"how": "ensemble", "tensor": "risk", "source": "five seeds"}
SLOPE = {"how": "calibration", "slope": 1.2, "intercept": -0.5, "data": "spots", "count": 30}


def model(**of_map: Any) -> Manifest:
    """The student of these tests: its map with other keys, and no number of a slide."""
    content = manifest().model_dump(mode="json")
    (tumor,) = (o for o in content["outputs"] if o["name"] == "tumor")
    content["outputs"] = [tumor | of_map]
    return Manifest.model_validate(content | {"limits": ["One."], "performance": [ROW]})


def known(uncertainty: dict[str, Any]) -> Manifest:
    """The student of these tests, its risk and its curve known so well."""
    content = manifest().model_dump(mode="json")
    for output in content["outputs"]:
        if output["name"] in ("risk", "os"):
            output["uncertainty"] = uncertainty
    return Manifest.model_validate(content)


def objects(
    result: Prediction | NotAssessable, student: Manifest, source: Dataset | None = None
) -> dict[str, Dataset]:
    header = source or volume()
    slide = SlideFiles("A", (Path("a.dcm"),), (header.SOPInstanceUID,), Path("a.dcm"))
    built = build_objects(Making(header, result, student, PROVENANCE, slide, number=0))
    return {b.kind: dcmread(io.BytesIO(to_bytes(b.dataset))) for b in built}


def first_texts(report: Dataset) -> list[tuple[str, str]]:
    """(code, sentence) of the texts that the report contains."""
    return [
        (str(i.ConceptNameCodeSequence[0].CodeValue), str(i.TextValue))
        for i in report.ContentSequence
        if i.ValueType == "TEXT" and i.RelationshipType == "CONTAINS"
    ]


def said(report: Dataset, code: Any) -> str:
    return " ".join(text for value, text in first_texts(report) if value == code.value)


@pytest.fixture(scope="module")
def of_a_map() -> dict[str, Dataset]:
    """Objects of a student that gives a map alone."""
    student = model(threshold=0.5, floor=0.1, uncertainty=SLOPE)
    level = ("1.2.3", "THUMBNAIL", 100, 150, None, 1)
    levels = (
        LevelAccount("1.2.4", "VOLUME", 4000, 6000, 0.499, 425, "tiles and tissue"),
        LevelAccount(*level, "left aside: a thumbnail"),
    )
    return objects(prediction(volume(), levels=levels, scores={}, percentiles={}), student)


def test_the_first_sentences_say_all_that_matters_in_the_order_of_a_reader(of_a_map):
    report = of_a_map["report"]
    found = [code for code, _ in first_texts(report)]
    in_order = [code for code, after in pairwise([*found, ""]) if code != after]
    assert in_order == [code.value for code in ORDER]
    first = [str(i.ConceptNameCodeSequence[0].CodeValue) for i in report.ContentSequence]
    assert first[: len(found)] == found, "nothing stands before them"
    assert said(report, codes.SAID_SLIDE).startswith("Container A26-000123 A1; specimen ")
    assert said(report, codes.SAID_STATUS).startswith("RESEARCH ONLY. ")
    assert "unlike the training slides" in said(report, codes.SAID_ASSESSABLE)
    assert said(report, codes.SAID_LIMIT) == "One."
    assert said(report, codes.SAID_PERFORMANCE) == (
        "AUC 0.800 (95 % interval 0.700 to 0.900), lung, n = 40: drawn slides."
    )


def test_a_student_of_a_map_alone_says_so_and_gives_the_share_above_its_threshold(of_a_map):
    result = prediction(volume())
    grid = result.heatmaps[0].values
    tiles, of = int((grid >= 0.5).sum()), int(np.isfinite(grid).sum())
    area = tiles * (224 * 0.000499) ** 2
    text = said(of_a_map["report"], codes.SAID_RESULT)
    assert "No score of the slide is given: this model gives a map only." in text
    assert f"Tumor probability is 0.5 or more in {tiles} of {of} tiles analyzed" in text
    assert "its uncertainty is not known" in text
    assert "nothing below 0.1 is shown; the region is drawn at 0.5" in text
    assert "slope 1.20 and intercept -0.50" in text
    numbers = measured(of_a_map["report"])
    assert numbers[codes.THRESHOLD.value] == 0.5
    assert numbers[codes.SHARE_ABOVE.value] == pytest.approx(100 * tiles / of, rel=0.005)
    assert numbers[codes.AREA_ABOVE.value] == pytest.approx(area, rel=0.005)


@pytest.mark.parametrize(
    ("unscanned", "tissue", "share"),
    [
        (0.0, 4.56789, "76.4 % of the scanned area"),
        (2.988012, 1.494006, "50 % of the scanned area"),
        (None, 1.494006, "25 % of the whole image"),
    ],
)
def test_tissue_is_a_share_of_what_was_scanned(unscanned: float | None, tissue: float, share: str):
    result = prediction(volume(), unscanned_mm2=unscanned, tissue_area_mm2=tissue)
    assert f"mm2 of tissue, {share}, in " in next(analyzed(result, manifest()))


def test_the_coded_threshold_is_the_one_that_the_sentence_says():
    report = objects(prediction(volume()), model(threshold=0.9996))["report"]
    assert " is 0.9996 or more in " in said(report, codes.SAID_RESULT)
    assert measured(report)[codes.THRESHOLD.value] == 0.9996


def test_what_was_analyzed_and_what_was_left_out_is_told_with_its_reason(of_a_map):
    text = said(of_a_map["report"], codes.SAID_ANALYZED)
    assert "4.57 mm2 of tissue, 76.4 % of the scanned area" in text
    assert "tiles of 112 x 112 um" in text
    assert "scanned at 0.499 um per pixel" in text
    assert "VOLUME of 6000 x 4000 px" in text
    left_out = said(of_a_map["report"], codes.SAID_LEFT_OUT)
    grid = prediction(volume()).heatmaps[0].values
    assert f"{int(np.isnan(grid).sum())} of {grid.size} places for a tile" in left_out
    assert "Not read: THUMBNAIL of 150 x 100 px (a thumbnail)." in left_out
    assert "unlike those the model was trained on was not judged" in left_out


def measured(report: Dataset) -> dict[str, float]:
    """Values of the measurements of the first group, by code."""
    return {
        str(item.ConceptNameCodeSequence[0].CodeValue): float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in first_group(report).ContentSequence
        if item.ValueType == "NUM"
    }


def first_group(report: Dataset) -> Dataset:
    (part,) = (
        i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return next(iter(part.ContentSequence))


def test_a_refusal_says_at_once_that_and_why_it_gives_no_number():
    refused = NotAssessable(Reason.SPACING_MISSING, "No spacing is stated.", None, ())
    report = objects(refused, model(threshold=0.5))["report"]
    assert said(report, codes.SAID_ASSESSABLE) == "No. Pixel spacing missing: No spacing is stated."
    assert said(report, codes.SAID_RESULT) == "None: no number is given."
    # Origin and orientation may be there: only what is missing is said to be.
    assert "position on the slide is unknown" not in report.to_json()
    assert "does not state all of them" in report.to_json()


@pytest.mark.parametrize(
    ("detail", "answer"),
    [
        ("No tissue was found on the slide.", "No. No tissue was found on the slide."),
        ("Blank. No tissue was found.", "No. No tissue found: Blank. No tissue was found."),
        ("Glass only.", "No. No tissue found: Glass only."),
    ],
)
def test_a_refusal_says_its_reason_once(detail: str, answer: str) -> None:
    refused = NotAssessable(Reason.NO_TISSUE, detail, None, ())
    report = objects(refused, model(threshold=0.5))["report"]
    assert said(report, codes.SAID_ASSESSABLE) == answer


def test_what_a_refusal_says_once_is_said_in_german() -> None:
    said_once = "No. No tissue was found on the slide."
    assert sentences(said_once, "de") == "Nein. Auf dem Schnitt wurde kein Gewebe gefunden."
    left_out = "Left out. No tissue was found on the slide."
    assert sentences(left_out, "de") == (
        "Nicht verwendet. Auf dem Schnitt wurde kein Gewebe gefunden."
    )


def test_the_page_writes_units_as_people_do_and_the_report_as_ucum(of_a_map) -> None:
    page = said_by(of_a_map["report"])
    (analyzed,) = (
        text for one in page.sections for text in one.sentences if text.startswith("What was anal")
    )
    assert "4.57 mm² of tissue" in analyzed
    assert "tiles of 112 x 112 µm" in analyzed
    assert "0.499 µm per pixel" in analyzed
    assert "mm2" in said(of_a_map["report"], codes.SAID_ANALYZED)


def test_the_report_names_the_pictures_that_came_with_it_and_cites_them_as_evidence(of_a_map):
    report = of_a_map["report"]
    pictures = {
        str(i.ConceptNameCodeSequence[0].CodeMeaning): str(
            i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        )
        for i in report.ContentSequence
        if i.ValueType == "IMAGE"
    }
    made = {k: str(of_a_map[k].SOPInstanceUID) for k in ("heatmap-tumor", "region-tumor")}
    assert pictures == {"Heatmap": made["heatmap-tumor"], "Region": made["region-tumor"]}
    evidence = str(report.CurrentRequestedProcedureEvidenceSequence)
    assert all(uid in evidence for uid in made.values())


def test_objects_of_a_map_alone_and_of_known_intervals_have_no_validator_errors(of_a_map, tmp_path):
    intervals = {"risk": ((0.7, 1.7),), "os": ((0.8, 0.95), (0.6, 0.8), (0.4, 0.6))}
    exact = objects(prediction(volume(), intervals=intervals), known(HALF))
    every = {**of_a_map, "report with intervals": exact["report"]}
    for name, made in every.items():
        path = tmp_path / f"{name}.dcm"
        write(made, path)
        assert dciodvfy_errors(path) == []
        if "report" in name:
            assert template_errors(path) == []


# ---- heatmap, region, attention ----------------------------------------------------------------


def test_below_the_floor_nothing_is_stored_and_label_and_description_say_what_it_is(of_a_map):
    seg = hd.seg.Segmentation.from_dataset(of_a_map["heatmap-tumor"])
    grid = prediction(volume()).heatmaps[0].values
    stored = seg.get_total_pixel_matrix(rescale_fractional=False)[..., 0]
    shown = np.nan_to_num(grid, nan=-1) >= 0.1
    np.testing.assert_array_equal(stored > 0, shown)
    assert np.abs(stored[shown] / 255 - grid[shown]).max() <= 0.5 / 255 + 1e-6
    segment = seg.SegmentSequence[0]
    assert segment.SegmentLabel == "Tumor probability per tile (research)"
    assert "not analyzed or below 0.1" in segment.SegmentDescription
    assert seg.SeriesDescription.startswith("Tumor probability map A26-000123 A1: ")
    assert "RecommendedDisplayCIELabValue" in segment


def test_the_region_is_binary_on_the_grid_of_the_heatmap_at_the_threshold_in_its_label(of_a_map):
    region, heatmap = of_a_map["region-tumor"], of_a_map["heatmap-tumor"]
    seg = hd.seg.Segmentation.from_dataset(region)
    grid = prediction(volume()).heatmaps[0].values
    drawn = seg.get_total_pixel_matrix(combine_segments=False)[..., 0]
    np.testing.assert_array_equal(drawn == 1, np.nan_to_num(grid, nan=-1) >= 0.5)
    assert (region.SegmentationType, heatmap.SegmentationType) == ("BINARY", "FRACTIONAL")
    assert region.SegmentSequence[0].SegmentLabel == "Tumor probability >= 0.5 (research)"
    for keyword in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "ImageOrientationSlide",
                    "TotalPixelMatrixOriginSequence", "FrameOfReferenceUID"):  # fmt: skip
        assert region[keyword].value == heatmap[keyword].value
    spacings = [
        o.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        for o in (region, heatmap)
    ]
    assert spacings[0] == spacings[1]
    assert len({int(o.SeriesNumber) for o in of_a_map.values()}) == len(of_a_map) == 3


def test_a_region_that_no_tile_reaches_comes_empty_and_the_report_says_nought():
    result = prediction(volume())
    low = tuple(replace_values(h) for h in result.heatmaps)
    made = objects(prediction(volume(), heatmaps=low), model(threshold=0.9))
    assert not made["region-tumor"].pixel_array.any()
    assert measured(made["report"])[codes.SHARE_ABOVE.value] == 0


def replace_values(heatmap: Any) -> Any:
    return type(heatmap)(heatmap.name, np.minimum(heatmap.values, 0.4), ())


def test_attention_is_a_map_of_its_own_and_no_finding():
    made = objects(prediction(volume()), model(shows="attention", threshold=None))
    assert set(made) == {"attention-tumor", "report"}
    seg = made["attention-tumor"]
    assert seg.SegmentSequence[0].SegmentLabel == "Attention of the model per tile (research)"
    assert "which is no finding" in said(made["report"], codes.SAID_RESULT)
    assert codes.SHARE_ABOVE.value not in measured(made["report"])


def test_an_even_map_of_attention_is_not_said_to_show_where_a_model_looked():
    result = prediction(volume())
    (heatmap,) = result.heatmaps
    even = replace(heatmap, values=np.where(np.isnan(heatmap.values), np.nan, 0.5), top_patches=())
    student = model(shows="attention", threshold=None)
    report = objects(replace(result, heatmaps=(even,)), student)["report"]
    told = said(report, codes.SAID_RESULT)
    assert "the model weighed all alike, and the map shows nothing." in told
    assert "looked" not in told
    assert sentences(told, "de").endswith("und die Karte zeigt nichts.")


def test_tiles_out_of_focus_are_counted_among_those_looked_at():
    condition = Condition(blurred=Found(20, 200), folded=Found(3, 480))
    report = objects(prediction(volume(), condition=condition), model())["report"]
    assert "tiles out of focus 20 of 200 looked at, folded 3 of 480." in said(
        report, codes.SAID_LEFT_OUT
    )


def test_a_map_without_a_threshold_has_no_region():
    assert set(objects(prediction(volume()), model())) == {"heatmap-tumor", "report"}


# ---- how well a number is known ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("uncertainty", "ends", "sentence"),
    [
        ({"how": "unknown"}, {}, "Risk score 1.23 (uncertainty: not known)."),
        (HALF, {"risk": ((0.73, 1.73),)}, "(95 % interval 0.73 to 1.73; drawn again)"),
        (MEMBERS, {"risk": ((0.9, 1.5),)}, "(members of an ensemble say 0.9 to 1.5; five seeds)"),
        (SLOPE, {}, "(interval not known; calibration: slope 1.20 and intercept -0.50"),
    ],
)
def test_a_number_carries_what_is_known_of_it_or_that_nothing_is(uncertainty, ends, sentence):
    report = objects(prediction(volume(), intervals=ends), known(uncertainty))["report"]
    assert sentence in said(report, codes.SAID_RESULT)


@pytest.mark.parametrize(
    ("slope", "intercept", "side"),
    [
        (1.112, -1.774, ", the values are too high there"),
        (1.0, -0.5, ", the values are too high there"),
        (0.99, 0.5, ", the values are too low there"),
        (0.47, -0.58, ""),  # too sure: below 0.25 too low, above it too high
        (0.47, 0.0, ""),
        (1.44, -1.39, ""),  # above 0.96 too low
        (1.0, 0.0, ""),
    ],
)
def test_values_are_said_to_be_too_high_or_low_only_where_all_of_them_are(slope, intercept, side):
    line = SLOPE | {"slope": slope, "intercept": intercept}
    report = objects(prediction(volume()), known(line))["report"]
    sentence = (
        f"(interval not known; calibration: slope {slope:.2f} and intercept {intercept:.2f} "
        f"(1 and 0 would be perfect{side}), on 30 of: spots)."
    )
    text = said(report, codes.SAID_RESULT)
    assert sentence in text
    told = {"": "", **{
        f", the values are too {word} there": f", die Werte sind dort zu {wort}"
        for word, wort in (("high", "hoch"), ("low", "niedrig"))
    }}  # fmt: skip
    assert f"(ideal wären 1 und 0{told[side]}), an 30 von:" in sentences(text, "de")


@pytest.mark.parametrize("slope", [0.3, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("intercept", [-3.0, -0.2, 0.2, 3.0])
def test_no_value_is_on_the_other_side_than_a_report_says(slope, intercept):
    said = calibration(Calibrated(**SLOPE | {"slope": slope, "intercept": intercept}))
    values = np.array([1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1 - 1e-6])
    line = slope * np.log(values / (1 - values)) + intercept
    came_true = 1 / (1 + np.exp(-line))
    assert ("too high" in said) == bool((values > came_true).all())
    assert ("too low" in said) == bool((values < came_true).all())


def test_of_classes_no_side_is_told_since_one_is_too_high_where_another_is_too_low():
    content = open_bundle("default").manifest.model_dump(mode="json")
    for output in content["outputs"]:
        if output["name"] in ("tumor", "tissue"):
            output["uncertainty"] = SLOPE | {"slope": 1.0, "intercept": -0.7}
    of_map, of_classes = calibrations_of(Manifest.model_validate(content))
    assert "(1 and 0 would be perfect, the values are too high there)" in of_map
    assert "(1 and 0 would be perfect)" in of_classes
    assert "too" not in of_classes


def test_the_shipped_map_of_tumor_is_said_to_be_too_high_on_breast():
    of_map, _ = calibrations_of(open_bundle("default").manifest)
    assert "(1 and 0 would be perfect, the values are too high there)" in of_map


def test_an_interval_stands_below_its_number_in_the_unit_of_the_number():
    intervals = {"risk": ((0.73, 1.73),), "os": ((0.8, 0.95), (0.6, 0.8), (0.4, 0.6))}
    report = objects(prediction(volume(), intervals=intervals), known(HALF))["report"]
    below = {
        str(i.ConceptNameCodeSequence[0].CodeMeaning): [
            str(child.TextValue) for child in i.get("ContentSequence") or ()
        ]
        for i in first_group(report).ContentSequence
        if i.ValueType == "NUM"
    }
    assert below["Risk score"] == ["0.73 to 1.73"]
    assert below["1-year OS probability"] == ["80 to 95"]
    assert below["Tissue analyzed"] == []


def test_a_percentile_is_said_to_be_a_rank_and_no_probability():
    report = objects(prediction(volume()), manifest())["report"]
    assert "It ranks above 91 of 100 of: phantom cohort" in said(report, codes.SAID_RESULT)
    assert "A rank is no probability." in said(report, codes.SAID_RESULT)


def test_a_rank_is_never_rounded_up():
    result = prediction(volume(), percentiles={"risk": 99.6, "tumor_fraction": 3.7})
    report = objects(result, manifest())["report"]
    assert "It ranks above 99 of 100 of: phantom cohort" in said(report, codes.SAID_RESULT)
    assert "It ranks above 3 of 100 of: phantom cohort" in said(report, codes.SAID_RESULT)
    (coded,) = (i for i in first_group(report).ContentSequence if is_percentile(i))
    assert coded.MeasuredValueSequence[0].NumericValue == 99


def is_percentile(item: Dataset) -> bool:
    return bool(
        item.ValueType == "NUM"
        and item.ConceptNameCodeSequence[0].CodeValue == codes.PERCENTILE.value
    )


def test_a_report_of_no_model_says_which_slide_and_that_it_was_not_assessed():
    header = volume()
    slide = SlideFiles("A", (Path("a.dcm"),), (header.SOPInstanceUID,), Path("a.dcm"))
    making = Making(header, refusal(header), None, PROVENANCE, slide, number=0)
    (report,) = (b.dataset for b in build_objects(making))
    assert [code for code, _ in first_texts(report)] == ["SLIDE", "ASSESSABLE", "RESULT"]
