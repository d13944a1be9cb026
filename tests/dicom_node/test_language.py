"""Objects in German: every kind is valid, says nothing in English, and codes what English does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from case_inputs import making as case_making
from form_inputs import EDITS, built, slide_files
from pydicom import Dataset
from pypdf import PdfReader
from result_inputs import PROVENANCE, manifest, prediction, refusal, to_bytes, volume
from validators import ended, run

from dicom_node.config.languages import Language
from dicom_node.results.build import build_objects
from dicom_node.results.case import build_case
from dicom_node.results.files import write
from dicom_node.results.identity import Provenance
from dicom_node.results.language.catalog import entries
from dicom_node.results.language.tree import language_of
from dicom_node.results.making import BuiltObject, Former, Making
from dicom_node.results.sources import predecessor_in
from dicom_node.results.sr.report import build_report
from dicom_node.results.withdrawal.rejection import Rejected, rejection_of
from dicom_node.results.withdrawal.report import withdrawal_of
from dicom_node.results.withdrawal.summary import withdrawal_of_page
from dicom_node.results.withdrawal.told import Cause, Told
from dicom_node.view.page.words import words_of
from dicom_node.view.reading import read_report
from inference.slide.files import SlideFiles
from inference.types import Condition, Found, LevelAccount, Reason
from slides import PhantomStudy

GERMAN = replace(PROVENANCE, language="de")
REPORTS = ("report", "report-enhanced", "report-text")
SPOKEN = ("TextValue", "SeriesDescription", "ContentDescription", "SegmentLabel", "DocumentTitle",
          "SegmentDescription", "DerivationDescription", "AnnotationGroupLabel")  # fmt: skip
NAMED = {"112039", "111001", "111003", "122405", "111002"}
"""Tracking Identifier and what names the algorithm: no prose, the same in every language."""
WHOLE = [e for e in entries() if e.literal >= 12 and e.translated["de"] != e.en]


@pytest.fixture(scope="module", params=["predicted", "refused"])
def both(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Dataset], dict[str, Dataset], Path]:
    """All kinds in English and in German, and the folder of the German ones."""
    folder = tmp_path_factory.mktemp("german")
    slide = slide_files(phantom_study.folder, folder / "slide", EDITS["latin"])
    made: list[dict[str, Dataset]] = []
    languages: tuple[Language, ...] = ("en", "de")
    for language in languages:
        objects = built(slide, refused=request.param == "refused", language=language)
        made.append({name: one.dataset for name, one in objects.items()})
    for name, dataset in made[1].items():
        write(dataset, folder / f"{name}.dcm")
    return made[0], made[1], folder


def texts(dataset: Dataset) -> Iterator[str]:
    """What people read of an object, without what only names something."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                named = item.get("ConceptNameCodeSequence")
                if not named or named[0].get("CodeValue") not in NAMED:
                    yield from texts(item)
        elif element.keyword in SPOKEN:
            yield str(element.value)


def english_in(text: str) -> list[str]:
    """Templates of the catalog that are still in a text, which is not of the bundle."""
    ours = text.partition("[Originalwortlaut]")[0]
    found = (e for e in WHOLE if e.pattern.search(ours))
    return [e.en for e in found if len(e.kinds) == 0 or e.literal > 20]


def assert_german(datasets: dict[str, Dataset]) -> None:
    for name, dataset in datasets.items():
        for text in texts(dataset):
            assert english_in(text) == [], f"{name}: {text}"


def test_nothing_in_a_german_object_is_english_but_the_words_of_the_bundle(both):
    assert_german(both[1])
    said = " ".join(text for dataset in both[1].values() for text in texts(dataset))
    assert "NUR FÜR FORSCHUNGSZWECKE" in said
    assert "[Originalwortlaut] Tests only. Predicts nothing about a patient." in said


def test_a_german_report_states_its_language_and_english_stays_american(both):
    english, german, _ = both
    for name in REPORTS:
        assert language_of(german[name]) == "de"
        assert language_of(english[name]) == "en"
        (stated,) = [i for i in german[name].ContentSequence if name_code(i) == "121049"]
        assert stated.ConceptCodeSequence[0].CodeValue == "de-DE"
        assert stated.ConceptCodeSequence[0].CodingSchemeDesignator == "RFC5646"


def name_code(item: Dataset) -> str:
    return str((item.get("ConceptNameCodeSequence") or [Dataset()])[0].get("CodeValue"))


def coded(dataset: Dataset) -> list[tuple[str, str]]:
    """Codes with their meanings, and numbers, in their order; the stated language apart."""
    found = []
    for element in dataset.iterall():
        if element.keyword in (
            "CodeValue",
            "CodeMeaning",
            "NumericValue",
            "CodingSchemeDesignator",
        ):
            found.append((element.keyword, str(element.value)))
    apart = {"en-US", "de-DE", "English (United States)", "German (Germany)"}
    return [pair for pair in found if pair[1] not in apart]


def test_codes_meanings_and_numbers_are_the_same_in_both(both):
    english, german, _ = both
    assert set(english) == set(german)
    for name in english:
        assert coded(english[name]) == coded(german[name]), name
        assert english[name].SOPInstanceUID != german[name].SOPInstanceUID, name


def test_german_objects_are_valid_and_dcmtk_shows_them(both, tmp_path):
    _, german, folder = both
    for name in german:
        lines = run("dciodvfy", "-new", folder / f"{name}.dcm").splitlines()
        assert [line for line in lines if "Error" in line] == [], name
    for name in REPORTS:
        done = ended("dsr2html", folder / f"{name}.dcm", tmp_path / "page.html")
        assert done.returncode == 0, done.stderr


def test_the_german_page_is_german_and_writes_numbers_with_a_comma(both):
    document = both[1]["summary"]
    reader = PdfReader(io.BytesIO(document.EncapsulatedDocument))
    text = " ".join(reader.pages[0].extract_text().split())
    assert reader.trailer["/Root"]["/Lang"] == "de"
    assert "NUR FÜR FORSCHUNGSZWECKE. Nicht für Diagnostik oder Behandlung." in text
    assert "Angaben des Befundberichts" in text
    assert "KI-Kurzbefund eines Schnitts" in text
    for label in ("Patienten-ID", "Präparat", "Studiendatum"):
        assert label in text
    for english in ("AI summary", "Drawn here", "What the report says", "holds all", "not stated"):
        assert english not in text
    if "heatmap-tumor" in both[1]:
        assert "Risikowert" in text
    else:
        assert "Keine Vorhersage möglich:" in text


def test_numbers_become_text_with_a_comma_and_stay_with_a_point_where_they_are_numbers(both):
    german = both[1]
    numbers = [str(e.value) for e in german["report"].iterall() if e.keyword == "NumericValue"]
    if not numbers:
        pytest.skip("of a refusal there are none")
    assert any("." in number for number in numbers)
    assert all("," not in number for number in numbers)
    said = list(texts(german["report-text"]))
    for number in numbers:
        if "." in number:
            assert any(text.startswith(number.replace(".", ",")) for text in said), number


def test_what_takes_a_german_report_back_is_german(both):
    german = both[1]
    told = Told(
        Cause.BUNDLE, "its threshold was wrong", datetime(2026, 3, 4, tzinfo=UTC), "0.1", "de"
    )
    made = {name: withdrawal_of(german[name], told, f"{name}-withdrawn") for name in REPORTS}
    made["summary"] = withdrawal_of_page(german["summary"], told, "summary-withdrawn")
    one = german["report"]
    rejected = [Rejected(str(one.SOPClassUID), str(one.SOPInstanceUID), str(one.SeriesInstanceUID))]
    made["set"] = rejection_of(rejected, one, told, "set-withdrawn")
    assert_german(made)
    for name in REPORTS:
        said = list(texts(made[name]))
        assert language_of(made[name]) == "de"
        assert (
            "Dieser Befundbericht und seine Karten dürfen nicht verwendet werden. Grund: das "
            "Modell, das ihn erstellt hat, ist fehlerhaft: its threshold was wrong."
        ) in said
        assert str(made[name].SeriesDescription).startswith("ZURÜCKGEZOGEN: KI-Befundbericht")
    page = PdfReader(io.BytesIO(made["summary"].EncapsulatedDocument)).pages[0].extract_text()
    assert "Zurückgezogen: kein Bild." in page
    assert "[Originalwortlaut] Objektträger" not in page


def test_an_english_report_is_taken_back_in_english_by_a_german_node(both):
    told = Told(Cause.SLIDE, "", datetime(2026, 3, 4, tzinfo=UTC), "0.1", "de")
    again = withdrawal_of(both[0]["report"], told, "report-withdrawn")
    assert language_of(again) == "en"
    assert any(
        text.startswith("This report and its maps must not be used") for text in texts(again)
    )


def test_a_case_report_is_german(tmp_path):
    whole = case_making(tmp_path, None, Reason.TOO_LITTLE_TISSUE, None)
    german = replace(
        whole,
        provenance=replace(whole.provenance, language="de"),
        slides={key: replace(one, provenance=replace(one.provenance, language="de"))
                for key, one in whole.slides.items()},
    )  # fmt: skip
    objects = build_case(german)
    report = next(b.dataset for b in objects if b.kind == "report")
    said = list(texts(report))
    assert any(
        text.startswith("1 von 3 Schnitten des Falls nicht verwendet: Schnitt 2") for text in said
    )
    assert any(text.startswith("Schnitt 1: Objektträger A26 00000000;") for text in said)
    assert "KI-Fallbericht" in report.SeriesDescription
    assert_german({b.kind: b.dataset for b in objects})


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_german_name_in_the_sentence_that_says_it(reason):
    source = volume()
    result = replace(refusal(source), reason=reason)
    report = build_report(
        source, result, manifest(), GERMAN,
        segmentations=[], input_uids=[str(source.SOPInstanceUID)], series_number=1,
    )  # fmt: skip
    (said,) = [t for t in texts(report) if t.startswith("Nein. ")]
    assert english_in(said) == []


def test_cautions_of_the_analysis_and_levels_left_aside_are_german():
    source = volume()
    levels = (
        LevelAccount("1.2", "VOLUME", 4000, 6000, 0.5, 1, "tiles and tissue"),
        LevelAccount("1.3", "THUMBNAIL", 40, 60, None, 1, "left aside: THUMBNAIL"),
        LevelAccount("1.4", "VOLUME", 40, 60, 50.0, 1,
                     "left aside: It covers 1.500 mm where the base level covers 3.000 mm."),
    )  # fmt: skip
    cautions = (
        "The stain is not stated in the slide; the model is made for hematoxylin stain.",
        "2 of 50 tiles could not be read and were left out; the first: Frame 3 of instance 1.2.3 "
        "cannot be read: the JPEG stream ends before its end-of-image marker.",
        "The level of 40 x 60 pixels was left aside: It does not state where it lies.",
    )
    condition = Condition(blurred=Found(3, 50), bubbles=Found(1, 50))
    result = replace(prediction(source), levels=levels, warnings=cautions, condition=condition)
    report = build_report(
        source, result, manifest(), GERMAN,
        segmentations=[], input_uids=[str(source.SOPInstanceUID)], series_number=1,
    )  # fmt: skip
    assert_german({"report": report})
    said = list(texts(report))
    assert (
        "Vorsicht: 2 von 50 Kacheln waren nicht lesbar und wurden weggelassen; die erste: Frame 3 "
        "der Instanz 1.2.3 ist nicht lesbar: der JPEG-Datenstrom endet vor seiner Endmarke."
    ) in said
    out = next(text for text in said if "Nicht gelesen" in text)
    assert "THUMBNAIL mit 60 x 40 px (THUMBNAIL)." in out
    assert "(Sie umfasst 1,500 mm, wo die Basisebene 3,000 mm umfasst.)." in out
    found = "Kacheln unscharf 3 von 50 angesehenen, mit Luftblasen 1 von 50."
    assert f"Trotzdem untersucht: {found}" in out


def objects_in(
    provenance: Provenance, formers: tuple[Former, ...] = (), **named
) -> list[BuiltObject]:
    source = volume()
    path = Path("unused")
    slide = SlideFiles("slide", (path,), (str(source.SOPInstanceUID),), path)
    return build_objects(
        Making(
            source, prediction(source), manifest(), provenance, slide, 0, formers=formers, **named
        )
    )


def test_the_same_language_gives_the_same_bytes_and_another_one_names_what_it_replaces():
    english = objects_in(PROVENANCE)
    former = tuple(Former(b.kind, str(b.dataset.SOPInstanceUID), b.dated_at) for b in english)
    later = replace(PROVENANCE, created_at=datetime(2026, 5, 1, tzinfo=UTC))
    again = objects_in(later, former)
    assert [to_bytes(b.dataset) for b in again] == [to_bytes(b.dataset) for b in english]
    report = next(b.dataset for b in english if b.kind == "report")
    german = objects_in(replace(later, language="de"), former, predecessors={"report": report})
    new = next(b.dataset for b in german if b.kind == "report")
    assert {b.kind for b in german} == {b.kind for b in english}
    assert not {str(b.dataset.SOPInstanceUID) for b in german} & {
        f.sop_instance_uid for f in former
    }
    assert predecessor_in(new) == report.SOPInstanceUID


def test_the_page_of_view_finds_the_cautions_of_a_german_report():
    source = volume()
    caution = "The stain is not stated in the slide; the model is made for hematoxylin stain."
    report = build_report(
        source, replace(prediction(source), warnings=(caution,)), manifest(), GERMAN,
        segmentations=[], input_uids=[str(source.SOPInstanceUID)], series_number=1,
    )  # fmt: skip
    words = words_of(read_report(report))
    assert words.cautions == (
        "Die Färbung ist im Schnitt nicht angegeben; das Modell ist für hematoxylin stain "
        "bestimmt.",
    )
    assert not any("Vorsicht" in text for _, text in words.others)
