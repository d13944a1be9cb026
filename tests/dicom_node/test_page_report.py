"""What the page says of a report: who and which, numbers with what they need, what was left out."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from page_results import manifest, refusal, region_of, save, write_results
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from specimens import code

from dicom_node.view.names import whole_name
from dicom_node.view.page.cards.glossary import glossary
from dicom_node.view.page.drawing import nice_length
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.reading import gathered, read_report
from dicom_node.view.segments import border, overlays
from inference.phantom.draw import Kind
from inference.slide.slide import open_slide
from slides import PhantomStudy, base_level

LOWER = ("371885007", "SCT", "+/-, range of lower measurement uncertainty")
UPPER = ("371886008", "SCT", "+/-, range of upper measurement uncertainty")


@pytest.fixture
def report(phantom_study: PhantomStudy, tmp_path: Path) -> Dataset:
    return dcmread(write_results(phantom_study, tmp_path, warnings=()).sr)


def page_of(report: Dataset, study: PhantomStudy, folder: Path) -> str:
    """The page of a report without heatmaps."""
    sr = save(report, folder / "changed.dcm")
    page = write_page(folder / "p.html", slide_paths=study.paths, sr_path=sr)
    return page.read_text("utf-8")


def card(page: str, heading: str) -> str:
    """The words of a card."""
    found = re.search(rf"<h2>{re.escape(heading)}</h2>(.*?)</section>", page, re.DOTALL)
    assert found, heading
    return words(found[1])


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", markup))).strip()


def row(page: str, name: str) -> str:
    """The row of a number, as markup."""
    found = re.search(rf'<tr><th scope="row">{re.escape(name)}.*?</tr>', page, re.DOTALL)
    assert found, name
    return found[0]


def item(
    kind: str, name: tuple[str, str, str], said: str, relationship: str = "CONTAINS"
) -> Dataset:
    """A content item that says something."""
    made = Dataset()
    made.ValueType, made.RelationshipType = kind, relationship
    made.ConceptNameCodeSequence = Sequence([code(*name)])
    if kind == "TEXT":
        made.TextValue = said
        return made
    value = Dataset()
    value.NumericValue = said
    value.MeasurementUnitsCodeSequence = Sequence([code("1", "UCUM", "no units")])
    made.MeasuredValueSequence = Sequence([value])
    return made


def silence(report: Dataset) -> None:
    """Takes out what a report says beside its numbers."""
    report.ContentSequence = Sequence(
        [i for i in report.ContentSequence if i.ValueType != "TEXT" or "OBS" in i.RelationshipType]
    )
    part = next(i for i in report.ContentSequence if _is(i, "126010"))
    for group in part.ContentSequence:
        said = [i for i in group.ContentSequence if not _is(i, "UNCERTAINTY")]
        group.ContentSequence = Sequence(said)


def numbers_of(report: Dataset) -> dict[str, Dataset]:
    """The NUM items of the first group by their names."""
    part = next(i for i in report.ContentSequence if _is(i, "126010"))
    group = next(i for i in part.ContentSequence if _is(i, "125007"))
    return {
        i.ConceptNameCodeSequence[0].CodeMeaning: i
        for i in group.ContentSequence
        if i.ValueType == "NUM"
    }


def _is(item: Dataset, value: str) -> bool:
    names = item.get("ConceptNameCodeSequence")
    return bool(names) and names[0].get("CodeValue") == value


def test_the_page_says_whose_slide_it_is_and_which(report, phantom_study, tmp_path):
    report.PatientBirthDate, report.PatientSex = "19610302", "F"
    page = page_of(report, phantom_study, tmp_path)
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]*)</dd>", page))
    uid = str(dcmread(base_level(phantom_study.folder), stop_before_pixels=True).SOPInstanceUID)
    assert shown["Patient"] == "Phantom, Drawn"
    assert shown["Born"] == "1961-03-02"
    assert shown["Sex"] == "female"
    assert shown["Slide"] == "PHANTOM-A-1"
    assert shown["Specimen"] == "PHANTOM-A-1-S"
    assert shown["Stain"] == "hematoxylin, eosin"
    assert shown["Study date"] == "2020-01-01"
    assert shown["Image UID ends in"] == f"…{uid[-12:]}"
    assert shown["Node"] == "dicom-node with tiny, 0, bundle 1.0.0, engine test"
    assert shown["Report made"] == "2026-01-02 03:04 UTC"


def test_the_block_is_named_where_a_sampling_step_names_it(report, phantom_study, tmp_path):
    folder = tmp_path / "of a block"
    folder.mkdir()
    for path in phantom_study.paths:
        ds = dcmread(path)
        step = Dataset()
        parent = item("TEXT", ("111705", "DCM", "Parent Specimen Identifier"), "S26-0815-A3")
        kind = Dataset()
        kind.ConceptNameCodeSequence = Sequence([code("111707", "DCM", "Parent specimen type")])
        kind.ConceptCodeSequence = Sequence([code("430856003", "SCT", "Tissue block")])
        step.SpecimenPreparationStepContentItemSequence = Sequence([parent, kind])
        specimen = ds.SpecimenDescriptionSequence[0]
        specimen.SpecimenPreparationSequence.append(step)
        specimen.SpecimenShortDescription = "Colon, <left>"
        ds.save_as(folder / path.name)
    sr = save(report, tmp_path / "sr.dcm")
    page = write_page(tmp_path / "p.html", slide_paths=sorted(folder.iterdir()), sr_path=sr)
    text = page.read_text("utf-8")
    assert "<dt>Block</dt><dd>S26-0815-A3</dd>" in text
    assert "<dt>Described as</dt><dd>Colon, &lt;left&gt;</dd>" in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Hong^Gildong=洪^吉洞=홍^길동", "Hong, Gildong · 洪 吉洞 · 홍 길동"),
        ("^Gildong", "Gildong"),
        ("Hong", "Hong"),
        ("", ""),
    ],
)
def test_a_name_in_one_line_keeps_its_parts(name, shown):
    assert whole_name(name) == shown


def test_a_report_that_does_not_tell_when_it_was_made_has_the_date_of_its_slide(
    report, phantom_study, tmp_path
):
    del report.InstanceCreationDate
    page = page_of(report, phantom_study, tmp_path)
    assert "<dt>Date of the slide</dt><dd>2026-01-02 03:04 UTC</dd>" in page
    assert "date of the slide 2026-01-02 03:04 UTC" in page
    assert "eport made" not in page


def test_a_rank_has_no_bar_of_a_probability_and_says_what_it_is_among(
    report, phantom_study, tmp_path
):
    page = page_of(report, phantom_study, tmp_path)
    rank = row(page, "Percentile Ranking of measurement")
    assert "<svg" not in rank
    assert "91 of 100" in words(rank)
    assert "A rank, not a probability, among: none" in words(rank)
    assert "<title>3-year OS probability: 25 %</title>" in row(page, "3-year OS probability")
    assert 'class="part" width="25.0"' in row(page, "3-year OS probability")


def test_every_number_of_a_model_for_research_is_marked(report, phantom_study, tmp_path):
    page = page_of(report, phantom_study, tmp_path)
    mark = '<span class="mark">research</span>'
    for name in ("Risk score", "Percentile Ranking of measurement", "1-year OS probability"):
        assert mark in row(page, name)
    assert mark not in row(page, "Tissue analyzed")
    figures = re.findall(r"<figcaption>.*?</figcaption>", page)
    assert len(figures) == 2
    assert all(mark in figure for figure in figures)
    banner = re.search(r'class="banner"[^>]*>([^<]*)', page)
    assert banner is not None
    assert "Not for diagnosis" in banner[1]


@pytest.mark.parametrize("name", ["PD-L1 level", "Tiles of tumor", "Lymphocytes, spacing"])
def test_a_score_is_a_result_whatever_it_is_called(name, report, phantom_study, tmp_path):
    numbers_of(report)["Risk score"].ConceptNameCodeSequence[0].CodeMeaning = name
    page = page_of(report, phantom_study, tmp_path)
    assert '<span class="mark">research</span>' in row(page, name)
    assert name in card(page, "Result")
    assert name not in card(page, "What was analyzed, and what not")


def test_an_interval_is_shown_below_its_number(report, phantom_study, tmp_path):
    below = [
        item("NUM", LOWER, "0.23", "HAS PROPERTIES"),
        item("NUM", UPPER, "0.5", "HAS PROPERTIES"),
    ]
    numbers_of(report)["Risk score"].ContentSequence = Sequence(below)
    page = page_of(report, phantom_study, tmp_path)
    assert "Interval 1 to 1.73 score" in words(row(page, "Risk score"))
    assert "states no interval" not in page


def test_ends_of_an_interval_are_shown_as_they_are_said(report, phantom_study, tmp_path):
    ends = [("L", "99TEST", "Lower limit"), ("U", "99TEST", "Upper limit")]
    below = [item("NUM", e, v, "HAS PROPERTIES") for e, v in zip(ends, ("0.9", "1.4"), strict=True)]
    numbers_of(report)["Risk score"].ContentSequence = Sequence(below)
    page = page_of(report, phantom_study, tmp_path)
    assert "Interval 0.9 to 1.4 score" in words(row(page, "Risk score"))


def test_a_report_without_an_interval_is_said_to_have_none(report, phantom_study, tmp_path):
    silence(report)
    assert "states no interval" in card(page_of(report, phantom_study, tmp_path), "Result")


def test_what_was_left_out_is_read_from_the_report(report, phantom_study, tmp_path):
    said = [
        (("LEFT-OUT", "99DICOMNODE", "What was left out"), "12 of 84 places: too little tissue."),
        (("LEFT-OUT", "99DICOMNODE", "What was left out"), "A level of 96 x 64 px: too coarse."),
        (("LIMIT", "99DICOMNODE", "Limit of the model"), "Lung only."),
        (("PERFORMANCE", "99DICOMNODE", "Measured performance"), "C-index 0.56 (0.49 to 0.63)."),
        (("NEW", "99DICOMNODE", "Something new"), "What no page knows <yet>."),
    ]
    report.ContentSequence.extend([item("TEXT", name, text) for name, text in said])
    page = page_of(report, phantom_study, tmp_path)
    analyzed = card(page, "What was analyzed, and what not")
    assert "12 of 84 places: too little tissue. A level of 96 x 64 px: too coarse." in analyzed
    assert "Tiles analyzed 9" in analyzed
    assert "does not say" not in analyzed
    limits = card(page, "Limits, and how good the model was where it was measured")
    assert "Lung only." in limits
    assert "C-index 0.56 (0.49 to 0.63)." in limits
    assert "Something new What no page knows <yet>." in card(page, "Comments")


def test_what_is_said_of_many_numbers_stands_once_and_of_a_few_at_each():
    few = [(name, "Not assessed") for name in ("a", "b", "c")]
    assert gathered([*few, ("use", "For Research")]) == [*few, ("use", "For Research")]
    assert gathered([*few, ("use", "For Research"), ("d", "Not assessed")]) == [
        ("a, and 3 more", "Not assessed"), ("use", "For Research"),
    ]  # fmt: skip


def test_a_report_that_is_silent_on_what_was_left_out_is_said_to_be(
    report, phantom_study, tmp_path
):
    silence(report)
    page = page_of(report, phantom_study, tmp_path)
    assert "does not say which tissue was left out" in card(page, "What was analyzed, and what not")


def test_a_refusal_says_why_once(phantom_study, tmp_path):
    page = page_of(refusal(phantom_study), phantom_study, tmp_path)
    report_column = page[page.index('class="report"') : page.index('class="slides"')]
    assert report_column.count("No prediction") == 1
    assert words(report_column).count("Found 0.01 mm² of tissue.") == 1
    assert "Nothing was analyzed" in report_column


def test_a_model_of_maps_alone_is_said_to_give_no_score(phantom_study, tmp_path):
    results = write_results(phantom_study, tmp_path, manifest("tumor", scores=False), warnings=())
    page = page_of(dcmread(results.sr), phantom_study, tmp_path)
    assert "No score" in card(page, "Result")
    assert "No prediction" not in page


def test_a_map_says_that_it_explains_no_number_only_where_there_is_one(phantom_study, tmp_path):
    shown = {}
    for scores in (True, False):
        folder = tmp_path / str(scores)
        folder.mkdir()
        results = write_results(phantom_study, folder, manifest("tumor", scores=scores))
        report = dcmread(results.sr)
        area = item("NUM", ("AREA", "99TEST", "Area of tiles in the region"), "0.2")
        report.ContentSequence.append(area)
        page = write_page(
            folder / "p.html",
            slide_paths=phantom_study.paths,
            sr_path=save(report, folder / "changed.dcm"),
            seg_paths=results.segs,
        ).read_text("utf-8")
        assert "Area of tiles in the region" in page
        shown[scores] = "does not say why the slide has the numbers" in page
    assert shown == {True: True, False: False}


def test_the_words_that_stand_on_a_page_are_explained_and_no_others():
    shown = words(glossary('<p title="probability">Risk score of a tile</p>'))
    assert "Risk score" in shown
    assert "Tile, patch" in shown
    assert "Percentile" not in shown
    assert "Probability" not in shown
    assert glossary("<p>nothing</p>") == ""


def test_every_picture_says_what_it_shows(phantom_study, tmp_path):
    results = write_results(phantom_study, tmp_path, manifest("tumor", "attention"))
    page = write_page(
        tmp_path / "p.html",
        slide_paths=phantom_study.paths,
        sr_path=results.sr,
        seg_paths=results.segs,
    ).read_text("utf-8")
    pictures = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(pictures) >= 7
    assert all(len(text) > 15 for text in pictures)
    drawings = re.findall(r'<svg [^>]*role="img">(<title>[^<]{10,}</title>)?', page)
    assert len(drawings) >= 6
    assert all(drawings)


def test_the_colors_of_what_was_drawn_are_drawings_that_printers_keep(
    report, phantom_study, tmp_path
):
    sr = save(report, tmp_path / "sr.dcm")
    truth = phantom_study.phantom.truth
    page = write_page(
        tmp_path / "p.html", slide_paths=phantom_study.paths, sr_path=sr, truth=truth
    ).read_text("utf-8")
    legend = page[page.index("<h2>What was drawn</h2>") :]
    legend = legend[: legend.index("</section>")]
    swatches = dict(re.findall(r'fill="(rgb[^"]+)"/></svg>([a-z]+)<', legend))
    assert swatches["rgb(196, 40, 60)"] == "tumor"
    assert len(swatches) == len(Kind)


def test_what_nobody_reads_beside_a_result_stands_at_the_end(report, phantom_study, tmp_path):
    page = page_of(report, phantom_study, tmp_path)
    assert "12" * 32 not in words(page[: page.index("How it was made")])
    made = card(page, "How it was made")
    assert "12" * 32 in made
    assert "Patch 1 x 24.72, y 48.94 mm" in made
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions
    assert not any("mm" in caption for caption in captions)


def test_a_report_of_research_says_so_wherever_it_stands(report):
    assert read_report(report).is_research
    assert read_report(report).algorithm[0] == ("Algorithm", "Tiny student")


def test_of_several_students_each_page_shows_the_maps_of_its_own_report(phantom_study, tmp_path):
    segs = []
    for name in ("tumor", "attention"):
        (tmp_path / name).mkdir()
        results = write_results(phantom_study, tmp_path / name, manifest(name))
        segs += results.segs
    page = write_page(
        tmp_path / "p.html",
        slide_paths=phantom_study.paths,
        sr_path=results.sr,
        seg_paths=segs,
    ).read_text("utf-8")
    assert "<h2>Where the model looked: " in page
    assert "<h2>Heatmap: " not in page


def test_the_border_of_a_mask_is_drawn_in_straight_pieces():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    assert sorted(border(mask)) == [
        ((1, 1), (1, 3)), ((1, 1), (2, 1)), ((1, 3), (2, 3)), ((2, 1), (2, 3)),
    ]  # fmt: skip
    assert list(border(np.zeros((2, 2), bool))) == []


def test_a_region_without_a_tile_is_nowhere(phantom_study, tmp_path):
    with open_slide(phantom_study.paths) as slide:
        geometry = slide.geometry
    seg = save(region_of(phantom_study, at_least=2.0), tmp_path / "region.dcm")
    (region,) = overlays([seg], geometry, (64, 96)).regions
    assert region.borders == ()
    assert region.area_mm2 == 0


@pytest.mark.parametrize(
    ("at_most", "length"), [(0.34, 0.2), (5.0, 5), (4.99, 2), (0.0999, 0.05), (12, 10)]
)
def test_a_scale_bar_has_a_length_that_people_count_in(at_most, length):
    assert nice_length(at_most) == pytest.approx(length)
