"""Reports, regions and pages say what tissue a slide is made of, as validators and readers see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pypdfium2
import pytest
from bundles import TILE_PX
from form_inputs import ALL_KINDS
from opening import all_open
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE
from tissue_students import (
    MPP,
    SIDE,
    TILE_MM2,
    measure,
    measures,
    of_organ,
    slide,
    tissue_map,
    tissue_student,
    unit,
)
from validators import dciodvfy_errors, run, template_errors

from dicom_node.results.build import objects_of
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write
from dicom_node.results.kinds import kind_of
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.sr.counted.composition import of_measures
from dicom_node.results.sr.counted.tissue import of_tissue
from dicom_node.view.classes import class_maps
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.reading import Group, read_groups
from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.case.predict import of_any_amount, predict_case
from inference.slide.files import SlideFiles
from inference.slide.slide import open_slide
from inference.types import Prediction

ROWS = ["TTTTSSSS", "TTTTSSSS", "TTTTSSSS", "TTLLSSSS", "SSLLSS..", "SSSSSSSS"]
LETTER = SIDE * SIDE
TILES = {"Tumor": 14 * LETTER, "Stroma": 28 * LETTER, "Lymphocytes": 4 * LETTER}
SURE = {"how": "interval", "source": "tiles of other slides", "half_width": 4.0}


@dataclass
class Made:
    """A result and its objects, in memory and as files."""

    result: Prediction
    built: dict[str, BuiltObject]
    files: dict[str, Path]
    slide: SlideFiles
    trouble: str

    def texts(self, name: str) -> list[str]:
        """Sentences at the top of the report under this name."""
        return [
            str(item.TextValue)
            for item in self.built["report"].dataset.ContentSequence
            if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == name
        ]

    def composition(self) -> Group:
        """The group of what is counted."""
        [group] = [g for g in read_groups(self.built["report"].dataset)
                   if g.title == "composition tissue 1"]  # fmt: skip
        return group


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Runtime]]:
    folder, colon = tmp_path_factory.mktemp("bundles"), [of_organ("colon")]
    near = measure(
        "tumor at lymphocytes", "share", "Tumor", near=["Lymphocytes"], unit=unit("1"),
        uncertainty=SURE | {"source": "tests", "level": 0.9, "half_width": 0.05}, organs=colon,
    )  # fmt: skip
    sure = measure("share of Tumor", "share", "Tumor", uncertainty=SURE, organs=colon)
    bundles = {
        "whole": tissue_student(folder / "whole"),
        "colon": tissue_student(folder / "colon", [tissue_map(), *measures()[2:], sure, near]),
        "colon map": tissue_student(folder / "map", [tissue_map(organs=colon), *measures()]),
        "classes alone": tissue_student(folder / "alone", threshold=None),
        "case": tissue_student(folder / "case", unit="case"),
    }
    with all_open(bundles) as runtimes:
        yield runtimes


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SlideFiles]:
    folder = tmp_path_factory.mktemp("slides")
    first = slide(folder / "aa", ROWS, "colon")
    study = str(dcmread(first.base_path, stop_before_pixels=True).StudyInstanceUID)
    return {
        "colon": first,
        "lung": slide(folder / "bb", ["TTTTTSSS"] * 6, "lung", study_uid=study),
        "stroma": slide(folder / "cc", ["SSSSSSSS"] * 5, "colon", study_uid=study),
    }


def made(
    runtime: Runtime, files: SlideFiles, folder: Path, wanted: frozenset[str] = frozenset()
) -> Made:
    result = predict.predict(files.paths, runtime)
    assert isinstance(result, Prediction), result
    source = dcmread(files.base_path, stop_before_pixels=True)
    built, trouble = objects_of(
        result,
        lambda r: Making(source, r, runtime.manifest, PROVENANCE, files, 0, wanted=wanted),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for one in built:
        write(one.dataset, folder / f"{one.kind}.dcm")
    paths = {one.kind: folder / f"{one.kind}.dcm" for one in built}
    return Made(result, {one.kind: one for one in built}, paths, files, trouble)


@pytest.fixture(scope="module")
def whole(
    runtimes: dict[str, Runtime],
    slides: dict[str, SlideFiles],
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    folder = tmp_path_factory.mktemp("whole")
    found = made(runtimes["whole"], slides["colon"], folder, ALL_KINDS)
    assert found.trouble == ""
    return found


def test_validators_find_no_error_in_the_report_its_forms_and_the_segmentations(
    whole: Made,
) -> None:
    for kind, path in whole.files.items():
        errors = [line for line in run("dciodvfy", "-new", path).splitlines() if "Error" in line]
        assert errors == [], kind
    assert dciodvfy_errors(whole.files["region-tumor"]) == []
    assert template_errors(whole.files["report"]) == []


def test_the_report_holds_each_number_coded_with_its_unit_and_what_was_counted(
    whole: Made,
) -> None:
    group = whole.composition()
    assert group.finding == "Tissue"
    found = {m.name: (m.value, m.unit, m.counted) for m in group.measurements}
    assert found == {
        "area of Tumor": ("0.0323", "mm²", "Tumor"),
        "share of Tumor": ("30.4", "%", "Tumor"),
        "area of Stroma": ("0.0645", "mm²", "Stroma"),
        "share of Stroma": ("60.9", "%", "Stroma"),
        "area of Lymphocytes": ("0.00922", "mm²", "Lymphocytes"),
        "share of Lymphocytes": ("8.7", "%", "Lymphocytes"),
        "Tumor-stroma ratio": ("0.5", "ratio", "Tumor over Stroma"),
        "Lymphocytes at tumor": ("5.96", "%", "Lymphocytes in and around Tumor"),
    }
    share = next(m for m in group.measurements if m.name == "share of Tumor")
    assert ("Tiles counted", f"{TILES['Tumor']} of {46 * LETTER} tiles of tissue") in share.details
    assert ("Uncertainty of the numbers", "Not known") in group.evaluations
    assert share.code == ("SHARE OF TUMOR", "99TEST")


def test_the_top_of_the_report_says_the_composition_in_one_sentence_first(whole: Made) -> None:
    results = whole.texts("Result")
    assert results[0] == (
        "Composition of the tissue: Stroma 60.9 % (0.0645 mm2), Tumor 30.4 % (0.0323 mm2), "
        "Lymphocytes 8.7 % (0.00922 mm2); of 0.106 mm2 in 414 tiles, each counted whole for its "
        "most probable class. 94 more tiles are Glass. The uncertainty of these shares is not "
        "known."
    )
    assert "Tumor-stroma ratio: 0.5 (Tumor over Stroma, 126 over 252; uncertainty: not known)." in (
        results
    )
    assert not any(text.startswith(("area of", "share of")) for text in results), "said once"


def test_an_interval_and_where_a_number_was_measured_stand_beside_it(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = made(runtimes["colon"], slides["colon"], tmp_path)
    assert found.texts("Result")[0] == (
        "Composition of the tissue: Stroma 60.9 % (0.0645 mm2), Tumor 30.4 % (26.4 to 34.4 %; "
        "0.0323 mm2), Lymphocytes 8.7 % (0.00922 mm2); of 0.106 mm2 in 414 tiles, each counted "
        "whole for its most probable class. 94 more tiles are Glass. In brackets first the 95 % "
        "interval of the share: tiles of other slides. The uncertainty of the other shares is not "
        "known."
    )
    told = next(text for text in found.texts("Result") if text.startswith("tumor at"))
    assert told == (
        "tumor at lymphocytes: 15.6 % (Tumor in and around Lymphocytes, 10 of 64 tiles of tissue; "
        "90 % interval 10.6 to 20.6 %; tests). Measured on colon only."
    )
    share = next(m for m in found.composition().measurements if m.name == "share of Tumor")
    assert share.details[0] == ("Interval of the number", "26.4 to 34.4")
    near = next(m for m in found.composition().measurements if m.name == "tumor at lymphocytes")
    assert (near.value, near.unit, near.details[0][1]) == ("15.6", "%", "10.6 to 20.6")
    assert "Measured on colon only." in found.composition().comments
    assert dciodvfy_errors(found.files["report"]) == []


def test_another_organ_is_said_coded_and_in_words_and_the_rest_goes_on(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = made(runtimes["colon"], slides["lung"], tmp_path)
    why = "because it was measured on colon only; the slide is of lung."
    assert f"share of Tumor, tumor at lymphocytes: not assessed, {why}" in found.texts("Result")
    assert found.texts("Result")[0].startswith(
        "Composition of the tissue: Stroma 37.5 % (0.0415 mm2), not assessed: Tumor; no tile of "
        "Lymphocytes; of"
    )
    group = found.composition()
    assert ("share of Tumor", "Not assessed") in group.evaluations
    assert f"share of Tumor, tumor at lymphocytes: Not assessed, {why}" in group.comments
    assert "share of Tumor" not in {m.name for m in group.measurements}
    assert "share of Stroma" in {m.name for m in group.measurements}
    for kind in ("report", "region-tumor"):
        assert dciodvfy_errors(found.files[kind]) == []
    assert template_errors(found.files["report"]) == []


def test_of_a_map_that_must_not_speak_there_is_no_number_and_no_segment(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = made(runtimes["colon map"], slides["lung"], tmp_path)
    assert found.texts("Result")[0] == (
        "Composition of the tissue, and all that is counted on it: not assessed, because it was "
        "measured on colon only; the slide is of lung."
    )
    assert found.composition().measurements == ()
    assert {value for _, value in found.composition().evaluations[1:]} == {"Not assessed"}
    assert len(found.built["region-tumor"].dataset.SegmentSequence) == 1
    assert set(found.built) == {"heatmap-tumor", "region-tumor", "report"}
    assert dciodvfy_errors(found.files["report"]) == []


def test_what_cannot_be_divided_is_told_without_a_number(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = made(runtimes["whole"], slides["stroma"], tmp_path)
    why = "ot assessable, because no tile of Tumor was found."
    assert f"Lymphocytes at tumor: n{why}" in found.texts("Result")
    assert ("Lymphocytes at tumor", "Not assessed") in found.composition().evaluations
    assert f"Lymphocytes at tumor: N{why}" in found.composition().comments
    assert "no tile of Tumor, Lymphocytes" in found.texts("Result")[0]
    assert dciodvfy_errors(found.files["report"]) == []


def test_the_region_holds_a_segment_a_class_that_covers_its_tiles_and_no_glass(
    whole: Made,
) -> None:
    seg = hd.seg.segread(whole.files["region-tumor"])
    assert seg.SegmentsOverlap == "YES"
    assert [str(s.SegmentLabel) for s in seg.SegmentSequence] == [
        "Tumor probability >= 0.5 (research)",
        "Tumor (research)",
        "Stroma (research)",
        "Lymphocytes (research)",
    ]
    types = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in seg.SegmentSequence]
    assert types[1:] == ["TUMOR", "STROMA", "LYMPHOCYTES"]
    colors = {tuple(s.RecommendedDisplayCIELabValue) for s in seg.SegmentSequence}
    assert len(colors) == 4
    assert len({s.TrackingUID for s in seg.SegmentSequence}) == 4
    matrix = seg.get_total_pixel_matrix(combine_segments=False)
    assert matrix[..., 1:].sum(-1).max() == 1, "a tile is of one class"
    classes = whole.result.class_maps[0].classes
    for number, (name, tiles) in enumerate(TILES.items(), start=1):
        assert matrix[..., number].sum() == tiles, name
        assert np.array_equal(matrix[..., number] > 0, classes == number)
    row_mm, col_mm = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert row_mm == col_mm == pytest.approx(TILE_PX * MPP / 1000)


def test_a_slide_has_the_same_three_objects_and_the_report_names_every_segment(
    whole: Made,
) -> None:
    usual = [name for name in whole.built if (kind := kind_of(name)) and not kind.asked]
    assert usual == ["heatmap-tumor", "region-tumor", "report"]
    pictures = [i for i in whole.built["report"].dataset.ContentSequence if i.ValueType == "IMAGE"]
    named = [i.ReferencedSOPSequence[0].ReferencedSegmentNumber for i in pictures]
    assert [list(np.atleast_1d(n)) for n in named] == [[1], [1, 2, 3, 4]]


def test_classes_of_a_student_without_a_threshold_have_a_region_of_their_own(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    found = made(runtimes["classes alone"], slides["colon"], tmp_path)
    assert set(found.built) == {"heatmap-tumor", "region-tissue", "report"}
    region = found.built["region-tissue"].dataset
    assert [str(s.SegmentLabel) for s in region.SegmentSequence] == [
        "Tumor (research)", "Stroma (research)", "Lymphocytes (research)",
    ]  # fmt: skip
    assert str(region.SeriesDescription).startswith("Classes of tissue")
    assert region.ContentDescription == "Classes of tissue (research)"
    assert dciodvfy_errors(found.files["region-tissue"]) == []


def test_the_objects_come_out_the_same_a_second_time(
    whole: Made, runtimes: dict[str, Runtime], tmp_path: Path
) -> None:
    again = made(runtimes["whole"], whole.slide, tmp_path)
    for kind in ("heatmap-tumor", "region-tumor", "report"):
        assert again.files[kind].read_bytes() == whole.files[kind].read_bytes(), kind


def test_forms_of_the_report_hold_the_numbers_too(whole: Made) -> None:
    text = run("dsrdump", "+Pl", whole.files["report-text"])
    assert "Tumor over Stroma" in text
    assert "0.0323 mm2" in text
    enhanced = {i.ConceptNameCodeSequence[0].CodeMeaning: i
                for i in walk(whole.built["report-enhanced"].dataset)
                if i.ValueType == "NUM"}  # fmt: skip
    assert str(enhanced["Tumor-stroma ratio"].MeasuredValueSequence[0].NumericValue) == "0.5"
    with pypdfium2.PdfDocument(whole.built["summary"].dataset.EncapsulatedDocument) as pdf:
        said = pdf[0].get_textpage().get_text_range()
    assert "30.4 %, 0.0323 mm²" in said
    assert "Composition of the tissue: Stroma 60.9 %" in said
    assert len(pdf_lines_with(said, "Tumor-stroma ratio")) == 2, "its row, and its sentence"


def pdf_lines_with(text: str, wanted: str) -> list[str]:
    return [line for line in text.splitlines() if wanted in line]


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from walk(child)


def test_the_page_shows_the_classes_with_areas_and_colors(whole: Made, tmp_path: Path) -> None:
    segs = [whole.files["heatmap-tumor"], whole.files["region-tumor"]]
    with open_slide(whole.slide.paths) as opened:
        [found] = class_maps(segs, opened.geometry, (168, 192))
    assert {one.name for one in found.classes if one.is_drawn} == set(TILES)
    letter = SIDE * TILE_PX // 8
    place = {"Tumor": (4.5, 4.5), "Stroma": (4.5, 9.5), "Lymphocytes": (7.5, 6.5)}
    for one in found.classes:
        row, col = (int(at * letter) for at in place[one.name])
        assert tuple(found.pixels[row, col]) == (*one.rgb, 255)
    assert found.pixels[5, 5, 3] == 0, "glass"
    page = write_page(
        tmp_path / "page.html",
        slide_paths=whole.slide.paths,
        sr_path=whole.files["report"],
        seg_paths=segs,
    ).read_text()
    assert "Classes of tissue: tissue" in page
    assert page.count('<table class="composition">') == 2
    table, legend = page.split('<table class="composition">')[1:]
    for shown in (table, legend.partition("</table>")[0]):
        assert "Stroma: 60.9 % of the tissue" in shown
        assert '<td class="value">60.9</td>' in shown
    assert page.count('class="region"') == 1, "a class is no region with a border"


def test_the_report_of_a_case_sums_over_its_slides(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    runtime = runtimes["case"]
    made_for = of_any_amount(runtime.manifest.applicability)
    keys = {"aa": slides["colon"], "cc": slides["stroma"]}
    looked = [(k, predict.look(f.paths, runtime, made_for=made_for)) for k, f in keys.items()]
    result = predict_case(looked, runtime)
    parts = {
        key: OneSlide(files, dcmread(files.base_path, stop_before_pixels=True), n, PROVENANCE)
        for n, (key, files) in enumerate(keys.items())
    }
    built, trouble = objects_of_case(
        result, lambda r: CaseMaking(r, parts, runtime.manifest, PROVENANCE, number=2)
    )
    assert trouble == ""
    for number, one in enumerate(built):
        write(one.dataset, tmp_path / f"{number}.dcm")
        assert dciodvfy_errors(tmp_path / f"{number}.dcm") == []
    [report] = [one.dataset for one in built if one.kind == "report"]
    numbers = {m.name: m.value for g in read_groups(report) for m in g.measurements}
    stroma = 28 + 40
    assert numbers["share of Stroma"] == f"{100 * stroma / (stroma + 18):.3g}"
    assert numbers["area of Stroma"] == f"{stroma * LETTER * TILE_MM2:.3g}"
    assert numbers["Tumor-stroma ratio"] == f"{14 / stroma:.3g}"
    texts = [str(i.TextValue) for i in report.ContentSequence if i.ValueType == "TEXT"]
    [told] = [text for text in texts if text.startswith("Composition of the tissue")]
    assert told.startswith(f"Composition of the tissue: Stroma {100 * stroma / 86:.3g} %")
    regions = [one.dataset for one in built if one.kind == "region-tumor"]
    assert [len(r.SegmentSequence) for r in regions] == [4, 4]


def legends(found: Made, folder: Path) -> list[dict[str, list[str]]]:
    """Of each map of classes on the page: what stands beside the color of each class."""
    page = write_page(
        folder / "page.html",
        slide_paths=found.slide.paths,
        sr_path=found.files["report"],
        seg_paths=[p for kind, p in found.files.items() if kind.startswith(("heatmap", "region"))],
    ).read_text()
    tables = [t.partition("</table>")[0] for t in page.split('<table class="composition">')[1:]]
    return [
        {
            row.partition("</svg>")[2].partition("<")[0]: re.findall(r'value">([^<]*)<', row)
            for row in table.split("<tr>")[1:]
        }
        for table in tables
        if "swatch" in table
    ]


def areas_and_shares(*names: str, **changes: Any) -> list[dict[str, Any]]:
    label = changes.get("map", "")
    return [
        measure(f"{label} {quantity} of {name}", quantity, name, **changes)
        for name in names
        for quantity in ("area", "share")
    ]


LETTERS_DRAWN = ["TTTTTTTT"] * 2 + ["SSSSSSSS"] * 3 + ["LLLLLLLL"]


def test_the_page_tells_a_class_from_one_whose_name_is_its_beginning(tmp_path: Path) -> None:
    names = ("Tumor", "Tumor (in situ)", "Lymphocytes")
    codes = [{"value": n.upper(), "scheme": "99TEST", "meaning": n} for n in ("Glass", *names)]
    root = tissue_student(
        tmp_path / "student", [tissue_map(classes=codes), *areas_and_shares(*names)]
    )
    drawn = slide(tmp_path / "slide", LETTERS_DRAWN, "colon")
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        found = made(runtime, drawn, tmp_path / "made")
    [legend] = legends(found, tmp_path)
    assert legend == {
        "Tumor": ["0.0369", "33.3"],
        "Tumor (in situ)": ["0.0553", "50"],
        "Lymphocytes": ["0.0184", "16.7"],
    }


def test_classes_of_one_name_in_two_maps_have_each_their_own_numbers(tmp_path: Path) -> None:
    names = ("Tumor", "Stroma", "Lymphocytes")
    order = ("Glass", "Lymphocytes", "Tumor", "Stroma")
    codes = [{"value": n.upper(), "scheme": "99TEST", "meaning": n} for n in order]
    outputs = [
        tissue_map(),
        tissue_map(name="second (other)", classes=codes),
        *areas_and_shares(*names),
        *areas_and_shares(*names, map="second (other)"),
    ]
    root = tissue_student(tmp_path / "student", outputs)
    drawn = slide(tmp_path / "slide", LETTERS_DRAWN, "colon")
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        found = made(runtime, drawn, tmp_path / "made")
    shares = [{name: values[1] for name, values in one.items()} for one in legends(found, tmp_path)]
    assert shares == [
        {"Tumor": "33.3", "Stroma": "50", "Lymphocytes": "16.7"},
        {"Lymphocytes": "33.3", "Tumor": "50", "Stroma": "16.7"},
    ]
    first, second = (t for t in found.texts("Result") if "Composition of the tissue" in t)
    assert first.startswith("On the map tissue: Composition of the tissue: Stroma 50 %")
    assert second.startswith("On the map second (other): Composition of the tissue: Tumor 50 %")
    assert sentences(second, "de").startswith(
        "Auf der Karte second (other): Zusammensetzung des Gewebes: Tumor 50 % (0,0553 mm2), "
    )


def share(name: str, **changes: Any) -> dict[str, Any]:
    return measure(f"share of {name}", "share", name, uncertainty=SURE, **changes)


def sentences_of_a_case(folder: Path, *outputs: dict[str, Any]) -> list[str]:
    """What is said of a case of a slide of colon, 7 letters of 8 of it tumor, and one of lung."""
    root = tissue_student(folder / "student", [tissue_map(), *outputs], unit="case")
    keys = {
        "aa": slide(folder / "colon", ["TTTTTTTT"] * 3 + ["SSSSSSSL"], "colon"),
        "bb": slide(folder / "lung", ["SSSSSSSS"] * 6, "lung"),
    }
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        made_for = of_any_amount(runtime.manifest.applicability)
        looked = [(k, predict.look(f.paths, runtime, made_for=made_for)) for k, f in keys.items()]
        result = predict_case(looked, runtime)
        used = [one.result for one in result.slides if isinstance(one.result, Prediction)]
        assert result.numbers is not None
        return [
            *of_tissue(used, runtime.manifest, result.numbers),
            *of_measures(result.numbers, runtime.manifest),
        ]


def test_the_composition_of_a_case_is_of_the_slides_that_its_intervals_are_of(
    tmp_path: Path,
) -> None:
    organs = {"organs": [of_organ("colon")]}
    told, *measured = sentences_of_a_case(
        tmp_path, *(share(name, **organs) for name in ("Tumor", "Stroma", "Lymphocytes"))
    )
    assert told.startswith(
        "Composition of the tissue, of 1 of 2 slides: Tumor 75 % (71 to 79 %; 0.0553 mm2), "
        "Stroma 21.9 % (17.9 to 25.9 %; 0.0161 mm2), Lymphocytes 3.12 % (0 to 7.12 %; 0.0023 mm2)"
        "; of 0.0737 mm2 in 288 tiles"
    )
    assert len(measured) == 3
    assert all("1 of 2 slides used are not counted" in text for text in measured)


def test_too_few_tiles_of_a_case_are_those_of_the_slides_that_count(tmp_path: Path) -> None:
    told, *_ = sentences_of_a_case(
        tmp_path, share("Stroma", organs=[of_organ("colon")], least_tiles=400)
    )
    assert "Stroma 0.0161 mm2 (too few tiles for a share)" in told
    assert "in 288 tiles" in told


def test_a_class_that_is_counted_on_fewer_slides_than_others_is_told_apart(tmp_path: Path) -> None:
    told, *measured = sentences_of_a_case(
        tmp_path,
        measure("area of Tumor", "area", "Tumor"),
        share("Tumor", organs=[of_organ("colon")]),
        share("Stroma"),
        share("Lymphocytes"),
    )
    assert told.startswith(
        "Composition of the tissue: Stroma 68.8 % (64.8 to 72.8 %; 0.127 mm2), Lymphocytes 1.25 % "
        "(0 to 5.25 %; 0.0023 mm2), told below, of fewer slides: Tumor; of 0.184 mm2 in 720 tiles"
    )
    assert [text.partition(" (")[0] for text in measured] == [
        "area of Tumor: 0.0553 mm2",
        "share of Tumor: 75 %",
    ]
    assert "unten genannt, von weniger Schnitten: Tumor" in sentences(told, "de")


def test_a_share_of_too_few_tiles_is_said_nowhere_in_the_report(
    slides: dict[str, SlideFiles], tmp_path: Path
):
    outputs = [
        tissue_map(background=["Glass", "Stroma"]),
        measure("area of Tumor", "area", "Tumor"),
        measure("share of Tumor", "share", "Tumor", uncertainty=SURE),
    ]
    root = tissue_student(tmp_path / "few", outputs)
    few = slide(tmp_path / "dd", ["SSSSSSSS", "SSTSSSSS", "SSSSSSSS", "SSSSSSSS"])
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        found = made(runtime, few, tmp_path / "made")
    assert found.result.measures["share of Tumor"].value is None
    [result] = [t for t in found.texts("Result") if t.startswith("Composition")]
    area = f"{LETTER * TILE_MM2:.3g}"
    assert result.startswith(
        f"Composition of the tissue: Tumor {area} mm2 (too few tiles for a share); no tile of "
        f"Lymphocytes; of {area} mm2 in {LETTER} tiles"
    )
    assert "%" not in result
    assert "uncertainty" not in result
    page = write_page(
        tmp_path / "page.html",
        slide_paths=few.paths,
        sr_path=found.files["report"],
        seg_paths=[found.files["heatmap-tumor"], found.files["region-tumor"]],
    ).read_text()
    legend = page.partition('<table class="composition">')[2].partition("</table>")[0]
    assert f'<td class="value">{area}</td><td class="unit">mm²</td>' in legend
    assert "%" not in legend
    assert "100 %" not in page
