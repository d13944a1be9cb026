"""The forms of a report say what the report says: the same sentences, numbers and places."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator

import numpy as np
import pytest
from form_inputs import EDITS, built, slide_files
from letters_of_the_world import DECODED
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.sr.coding import Code
from pypdf import PdfReader
from reportlab.lib.styles import ParagraphStyle

from dicom_node.results import codes
from dicom_node.results.overlay import font_files as fonts
from dicom_node.results.pdf.direction import as_handed_over
from dicom_node.results.pdf.fonts import marked, paragraph
from dicom_node.results.pdf.identity import date, person
from dicom_node.results.pdf.page import Page, page_bytes
from dicom_node.results.pdf.said import Said, Section, said_by
from slides import PhantomStudy

REPORTS = frozenset({"report-enhanced", "report-text", "summary"})


@pytest.fixture(scope="module", params=[False, True], ids=["predicted", "refused"])
def forms(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("said")
    slide = slide_files(phantom_study.folder, folder, EDITS["japanese"])
    made = built(slide, refused=request.param, wanted=REPORTS)
    return {name: one.dataset for name, one in made.items()}


def items(parent: Dataset) -> Iterator[Dataset]:
    for item in parent.get("ContentSequence") or ():
        yield item
        yield from items(item)


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def told(report: Dataset) -> list[tuple[str, str]]:
    """Every name and value that a reader is shown, in their order; no places and no pictures."""
    found = []
    for item in items(report):
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            unit = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
            shown = "" if unit == "1" else " " + unit.strip("{}")
            found.append((name(item), f"{measured.NumericValue}{shown}"))
        elif item.ValueType == "TEXT":
            found.append((name(item), str(item.TextValue)))
        elif item.ValueType == "CODE":
            found.append((name(item), str(item.ConceptCodeSequence[0].CodeMeaning)))
        elif item.ValueType == "UIDREF":
            found.append((name(item), str(item.UID)))
    return found


def text_of(summary: Dataset) -> str:
    """The page's text, in its lines one after the other."""
    (page,) = PdfReader(io.BytesIO(summary.EncapsulatedDocument)).pages
    return page.extract_text()


def squeezed(text: str) -> str:
    """Without what a line break changes; of two code points for one character, the usual one."""
    return "".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("form", ["report-enhanced", "report-text"])
def test_a_form_tells_every_name_and_value_of_the_report_in_its_order(forms, form):
    expected = told(forms["report"])
    assert len(expected) > 20
    assert told(forms[form]) == expected


@pytest.mark.parametrize("form", ["report-enhanced", "report-text"])
def test_a_form_holds_no_item_that_its_class_has_no_place_for(forms, form):
    kinds = {item.ValueType for item in items(forms[form])}
    allowed = {"CONTAINER", "TEXT", "CODE", "UIDREF", "IMAGE", "COMPOSITE"}
    assert kinds <= (allowed if form == "report-text" else allowed | {"NUM", "SCOORD"})


def test_a_form_has_flags_evidence_and_dates_of_its_report(forms):
    for form in (forms["report-enhanced"], forms["report-text"]):
        for keyword in (
            "CompletionFlag",
            "VerificationFlag",
            "PreliminaryFlag",
            "ContentDate",
            "ContentTime",
            "CurrentRequestedProcedureEvidenceSequence",
            "SoftwareVersions",
        ):
            assert form[keyword].value == forms["report"][keyword].value, keyword


def test_a_region_in_pixels_is_where_the_report_has_it_on_the_slide(phantom_study, tmp_path):
    for turned in ("turned", "turned twice", "latin"):
        slide = slide_files(phantom_study.folder, tmp_path / turned, EDITS[turned])
        made = built(slide, wanted=REPORTS)
        source = dcmread(slide.base_path, stop_before_pixels=True)
        spacing = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        origin = source.TotalPixelMatrixOriginSequence[0]
        at = [origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem]
        right, down = np.array(source.ImageOrientationSlide, float).reshape(2, 3)[:, :2]
        regions = [i for i in items(made["report"].dataset) if i.ValueType == "SCOORD3D"]
        pixels = [i for i in items(made["report-enhanced"].dataset) if i.ValueType == "SCOORD"]
        assert len(regions) == len(pixels) == 4
        for region, place in zip(regions, pixels, strict=True):
            assert place.PixelOriginInterpretation == "VOLUME"
            assert place.GraphicType == "POLYLINE"
            (image,) = place.ContentSequence
            assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
            col, row = np.array(place.GraphicData, float).reshape(-1, 2).T
            mm = np.outer(col * float(spacing[1]), right) + np.outer(row * float(spacing[0]), down)
            expected = np.array(region.GraphicData, float).reshape(-1, 3)[:, :2]
            np.testing.assert_allclose(np.array(at, float) + mm, expected, atol=1e-4)


def test_the_page_tells_every_number_and_sentence_and_the_patient(forms):
    page = squeezed(text_of(forms["summary"]))
    for label in ("Yamada Tarou / 山田 太郎 / やまだ たろう", "PHANTOM-A-1", "RESEARCH USE ONLY."):
        assert squeezed(label) in page, label
    said = said_by(forms["report"])
    for section in said.sections:
        for number in section.numbers:
            assert squeezed(number.name) in page
            assert squeezed(number.value) in page
        for sentence in section.sentences:
            assert squeezed(sentence) in page, sentence
    assert str(forms["report"].SOPInstanceUID) in page
    assert ("Notpredictable:" in page) == bool(said.reason)


def test_a_refusal_has_no_number_on_its_page(forms):
    said = said_by(forms["report"])
    if said.reason:
        assert [n for s in said.sections for n in s.numbers] == []
        assert "Drawn here" not in text_of(forms["summary"])


def test_a_refusal_says_why_under_its_title_and_is_no_finding_of_the_model(forms):
    said = said_by(forms["report"])
    if said.reason:
        finding, _ = squeezed(text_of(forms["summary"])).split(squeezed("What the report says"))
        assert squeezed(f"Not predictable: {said.reason}{said.why}") in finding
        assert [s.finding for s in said.sections if s.finding] == ["Not predictable"]
        assert squeezed("Assessment by the model") not in finding, "the title says it"
    else:
        assert "Drawn here: 0.0039 to 1." in text_of(forms["summary"])


def test_a_slide_whose_pixels_are_damaged_has_its_page_without_a_picture(phantom_study, tmp_path):
    def damage(ds: Dataset) -> None:
        ds.PixelData = encapsulate([b"\xff\xd8no picture\xff\xd9"] * int(ds.NumberOfFrames))

    slide = slide_files(phantom_study.folder, tmp_path, damage)
    (page,) = (b.dataset for b in built(slide, refused=True, wanted=frozenset({"summary"})).values()
               if b.kind == "summary")  # fmt: skip
    assert squeezed("its pixels cannot be read") in squeezed(text_of(page))


def test_every_font_of_the_page_is_embedded(forms):
    (page,) = PdfReader(io.BytesIO(forms["summary"].EncapsulatedDocument)).pages
    faces = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert len(faces) >= 3
    for face in faces:
        assert "/FontFile2" in face["/FontDescriptor"]
        assert "Kurinto" in face["/BaseFont"]


def page_of(patient: str, sentences: tuple[str, ...] = ()) -> bytes:
    section = Section("slide", "Finding", (), (), sentences, ())
    return page_saying(Said((), True, "", (section,), (), ()), patient)


def page_saying(said: Said, patient: str = "Yamada") -> bytes:
    return page_bytes(
        Page(
            (("Patient", patient),), said, "No picture.", "20260304", "node", "", "", "2.25.1", "x"
        )
    )


@pytest.mark.parametrize(
    "script",
    [
        "Japanese",
        "Japanese in half width",
        "Korean",
        "Chinese with code extensions",
        "GBK with a backslash inside",
        "Latin 1",
        "Latin 2",
        "Latin 3",
        "Latin 5",
        "Cyrillic",
        "Greek",
        "Thai",
    ],
)
def test_a_name_of_any_script_is_read_back_from_the_page(script):
    patient = person(DECODED[script].text)
    (page,) = PdfReader(io.BytesIO(page_of(patient))).pages
    assert squeezed(patient) in squeezed(page.extract_text())


def test_limits_of_the_model_stay_on_a_page_that_has_no_room_for_all():
    limits = ("Limit of the model: no lung was seen.", "Limit of the model: no child was seen.")
    results = tuple(f"Result: number {n} {'of many words ' * 20}" for n in range(60))
    section = Section("slide", "Finding", (), (), (*results, *limits), ())
    said = Said((), True, "", (section,), (), (), limits=limits)
    (page,) = PdfReader(io.BytesIO(page_saying(said))).pages
    text = " ".join(page.extract_text().split())
    assert all(limit in text for limit in limits)
    shown = [n for n in range(60) if f"Result: number {n} " in text]
    assert shown == list(range(len(shown))), "the first of the others, in their order"
    assert 5 < len(shown) < 60
    assert f"{60 - len(shown)} more sentences have no room here: read the report." in text


def test_many_statements_of_one_value_are_counted_on_the_page():
    many = tuple((f"Share of tissue {n}", "Not assessed") for n in range(18))
    section = Section("slide", "Class of tissue", (), (*many, ("Use", "Research")), (), ())
    (page,) = PdfReader(io.BytesIO(page_saying(Said((), True, "", (section,), (), ())))).pages
    text = page.extract_text()
    assert text.count("18 values: Not assessed") == 1
    assert "Share of tissue" not in text
    assert "Use: Research" in text


def test_a_tissue_that_is_counted_has_its_name_in_the_language_of_the_report():
    counted = item("TEXT", codes.CLASSES_COUNTED, TextValue="Adipose tissue")
    area = item("NUM", Code("1", "99TEST", "Area of adipose tissue"), counted)
    value = Dataset()
    value.NumericValue = "1.5"
    value.MeasurementUnitsCodeSequence = [coded(codes.SQUARE_MM)]
    area.MeasuredValueSequence = [value]
    language = item("CODE", Code("121049", "DCM", "Language of Content Item and Descendants"))
    language.ConceptCodeSequence = [coded(Code("de-DE", "RFC5646", "German (Germany)"))]
    report = item("CONTAINER", Code("126000", "DCM", "Imaging Measurement Report"), language, area)
    ((number,),) = [section.numbers for section in said_by(report).sections]
    assert (number.name, number.counted, number.value) == (
        "Fläche von Fettgewebe", "Fettgewebe", "1,5 mm²",
    )  # fmt: skip


def item(kind: str, name: Code, *inside: Dataset, **values: str) -> Dataset:
    made = Dataset()
    made.ValueType, made.RelationshipType = kind, "CONTAINS"
    made.ConceptNameCodeSequence = [coded(name)]
    if inside:
        made.ContentSequence = list(inside)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def coded(code: Code) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = code[:3]
    return made


@pytest.mark.parametrize(
    ("text", "handed_over"),
    [
        ("שרון דבורה", "דבורה שרון"),
        ("نسيج-12", "نسيج-21"),  # the word is turned as a whole, and 12 is 12 again
        ("A נ 12.5 ב B", "A ב 12.5 נ B"),
        ("נ12.5 ב", "ב נ5.21"),
        ("12 נ", "12 נ"),
        ("Qabbani / قباني لنزار", "Qabbani / لنزار قباني"),
        ("Yamada 12", "Yamada 12"),
    ],
)
def test_words_from_right_to_left_are_handed_over_last_first_and_numbers_turned(text, handed_over):
    assert as_handed_over(text) == handed_over


def test_a_number_beside_letters_from_right_to_left_is_seen_as_it_is():
    (page,) = PdfReader(io.BytesIO(page_of("نسيج-12345 נ-678"))).pages
    text = page.extract_text()
    assert "12345" in text
    assert "678" in text
    for script in ("Hebrew", "Arabic"):
        assert paragraph(person(DECODED[script].text), ParagraphStyle("name")).style.shaping == 1
    assert paragraph("Yamada", ParagraphStyle("name")).style.shaping == 0


def test_a_character_of_no_font_is_written_by_its_number():
    assert "[U+E000]" in marked("A\ue000")
    assert "&lt;b&gt;" in marked("<b>"), "markup of a name is no markup of the page"


def test_a_page_stays_one_page_and_says_what_has_no_room():
    many = tuple(
        f"Sentence number {n} says a thing that is long enough for a line." for n in range(150)
    )
    (page,) = PdfReader(io.BytesIO(page_of("Someone", many))).pages
    text = page.extract_text()
    shown = sum(f"number {n} " in text for n in range(150))
    assert 40 < shown < 150
    assert f"{150 - shown} more sentences have no room here" in " ".join(text.split())
    few = tuple(many[:5])
    assert "more sentences" not in PdfReader(io.BytesIO(page_of("x", few))).pages[0].extract_text()


def test_fonts_that_are_not_there_are_told(monkeypatch):
    monkeypatch.setattr(fonts, "find_spec", lambda name: None)
    with pytest.raises(fonts.FontsMissing, match="install it again"):
        fonts.font_file("JP")


def test_names_and_dates_are_written_as_people_write_them():
    assert person("Buc^Jérôme^^Dr") == "Buc Jérôme Dr"
    assert person("Hong^Gildong=洪^吉洞=홍^길동") == "Hong Gildong / 洪 吉洞 / 홍 길동"
    assert person("=山田^太郎") == "山田 太郎"
    assert person("") == person(None) == "not stated"
    assert date("20260304") == "2026-03-04"
    assert date("unknown") == "unknown"
    assert date("") == "not stated"
