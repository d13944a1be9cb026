"""Reports say one class of a slide or case: which stands out, or that none does, and how sure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from class_students import CLASSES, DIAGNOSIS, class_student, diagnosis
from form_inputs import ALL_KINDS
from nodes import dicom_node
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE
from tissue_students import slide
from validators import dciodvfy_errors, ended, run, template_errors

from dicom_node.config.languages import Language
from dicom_node.results.build import objects_of
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject, Making
from dicom_node.view.page.overview import SlideEntry, write_overview
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.reading import Group, read_groups
from engines.bundle import open_bundle
from engines.runtime import Runtime, open_runtime
from inference import predict
from inference.case.predict import of_any_amount, predict_case
from inference.slide.files import SlideFiles
from inference.types import Prediction

SHARES = ("34.6", "23.7", "41.7")
"""Percent of red, green and blue of 432 drawn tiles of tumor and 84 of the glass around."""
KNOWS = (
    "The model knows these 3 classes only: what is none of them cannot be found, and the "
    "probabilities say nothing of it."
)
EACH = (
    "Probability of each class: Glioblastoma, IDH-wildtype 41.7 %; Astrocytoma, IDH-mutant 34.6 %; "
    "Oligodendroglioma 23.7 %."
)
NOT_KNOWN = "The uncertainty of these probabilities is not known."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SlideFiles:
    return slide(tmp_path_factory.mktemp("slides") / "aa", ["TTTTTTTT"] * 6)


def objects(
    root: Path,
    files: SlideFiles,
    *,
    wanted: frozenset[str] = frozenset(),
    language: Language = "en",
    probabilities: tuple[float, ...] | None = None,
) -> dict[str, BuiltObject]:
    """What is made of the slide with this student; with other probabilities, of these."""
    source = dcmread(files.base_path, stop_before_pixels=True)
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        result = predict.predict(files.paths, runtime)
        assert isinstance(result, Prediction), result
        if probabilities is not None:
            result = replace(result, probabilities={"diagnosis": probabilities})
        told = replace(PROVENANCE, language=language)
        built, trouble = objects_of(
            result,
            lambda r: Making(source, r, runtime.manifest, told, files, 0, wanted=wanted),
        )
    assert trouble == ""
    return {one.kind: one for one in built}


def texts(report: Dataset, name: str = "Result") -> list[str]:
    return [
        str(item.TextValue)
        for item in report.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


def of_class(report: Dataset) -> Group:
    [group] = [g for g in read_groups(report) if g.finding == "Glioma diagnosis"]
    return group


def coded(report: Dataset) -> list[tuple[str, str, str]]:
    """Value, scheme and meaning of what is said under the code of the diagnosis."""
    found = []

    def walk(parent: Dataset) -> None:
        for item in parent.get("ContentSequence") or ():
            names = item.get("ConceptNameCodeSequence")
            if item.ValueType == "CODE" and names and names[0].CodeValue == DIAGNOSIS["value"]:
                code = item.ConceptCodeSequence[0]
                found.append((code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning))
            walk(item)

    walk(report)
    return found


@pytest.fixture(scope="module")
def whole(files: SlideFiles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuiltObject]:
    root = class_student(tmp_path_factory.mktemp("bundles") / "plain")
    return objects(root, files, wanted=ALL_KINDS)


def test_the_report_holds_the_class_coded_and_the_probability_of_each_under_its_own_code(
    whole: dict[str, BuiltObject],
) -> None:
    report = whole["report"].dataset
    glioblastoma = CLASSES[2]
    assert coded(report) == [
        (glioblastoma["value"], glioblastoma["scheme"], glioblastoma["meaning"])
    ]
    group = of_class(report)
    assert [(m.code[0], m.value, m.unit) for m in group.measurements] == [
        (code["value"], share, "%") for code, share in zip(CLASSES, SHARES, strict=True)
    ]
    assert all(m.is_probability and m.is_of_class for m in group.measurements)
    assert ("Uncertainty of the numbers", "Not known") in group.evaluations
    assert ("Intended use", "For Research") in group.evaluations
    assert group.result == (("Glioma diagnosis", "Glioblastoma, IDH-wildtype"),)
    assert KNOWS in group.comments


def test_the_top_of_the_report_says_class_probabilities_and_what_is_not_known(
    whole: dict[str, BuiltObject],
) -> None:
    assert texts(whole["report"].dataset)[0] == (
        "Glioma diagnosis: Glioblastoma, IDH-wildtype is the most probable class, with 41.7 %. "
        f"{EACH} A class is named from 40 % on. {NOT_KNOWN} {KNOWS}"
    )
    assert not any("No score" in text for text in texts(whole["report"].dataset))


def test_validators_find_no_error_in_the_report_and_its_forms(
    whole: dict[str, BuiltObject], tmp_path: Path
) -> None:
    for kind, one in whole.items():
        path = tmp_path / f"{kind}.dcm"
        write(one.dataset, path)
        errors = [line for line in run("dciodvfy", "-new", path).splitlines() if "Error" in line]
        assert errors == [], kind
    assert dciodvfy_errors(tmp_path / "report.dcm") == []
    assert template_errors(tmp_path / "report.dcm") == []
    for kind in ("report", "report-enhanced", "report-text"):
        done = ended("dsr2html", tmp_path / f"{kind}.dcm", tmp_path / "page.html")
        assert done.returncode == 0, done.stdout + done.stderr
        page = (tmp_path / "page.html").read_text(encoding="utf-8", errors="replace")
        assert "Glioblastoma, IDH-wildtype" in page, kind


def test_every_form_of_the_report_says_the_class_and_every_probability(
    whole: dict[str, BuiltObject],
) -> None:
    for kind in ("report", "report-enhanced", "report-text"):
        report = whole[kind].dataset
        assert coded(report)[0][0] == CLASSES[2]["value"], kind
        said = str(report)
        for share in SHARES:
            assert share in said, kind
    text = str(whole["report-text"].dataset)
    assert "'41.7 %'" in text
    assert "NUM" not in [
        i.ValueType for i in whole["report-text"].dataset.ContentSequence
    ]  # fmt: skip


def test_the_document_has_the_class_as_its_finding(whole: dict[str, BuiltObject]) -> None:
    document = whole["summary"].dataset
    pdf = pypdfium2.PdfDocument(bytes(document.EncapsulatedDocument))
    words = pdf[0].get_textpage().get_text_range().replace("\r\n", "\n")
    assert "Glioma diagnosis\nGlioblastoma, IDH-wildtype\n" in words
    for share in SHARES:
        assert f"{share} %" in words
    assert "Uncertainty of the numbers: Not known" in words
    assert "Glioma diagnosis: Glioblastoma, IDH-wildtype\n" not in words, "said once"
    flowing = " ".join(words.split())
    assert flowing.count(KNOWS) == flowing.count(NOT_KNOWN) == 1


def test_page_and_overview_show_the_class_before_the_numbers(
    whole: dict[str, BuiltObject], files: SlideFiles, tmp_path: Path
) -> None:
    write(whole["report"].dataset, tmp_path / "report.dcm")
    page = write_page(
        tmp_path / "page.html", slide_paths=files.paths, sr_path=tmp_path / "report.dcm",
        seg_paths=[], condition=None,
    ).read_text()  # fmt: skip
    row = (
        '<tr><th scope="row">Glioma diagnosis</th>'
        '<td class="words" colspan="2">Glioblastoma, IDH-wildtype</td></tr>'
    )
    assert page.count(row) == 1
    assert page.index(row) < page.index('<td class="value">41.7</td>')
    assert page.count(KNOWS) == 1, "said once"
    entry = SlideEntry("page.html", files.paths, tmp_path / "report.dcm")
    over = write_overview(tmp_path / "index.html", [entry]).read_text()
    shown = [over.index(f'<td class="value">{share}</td>') for share in ("41.7", "34.6", "23.7")]
    assert over.index(row) < shown[0] < shown[1] < shown[2], "the most probable first"


@pytest.mark.parametrize(
    ("floor", "values", "sentence"),
    [
        (0.5, None, "Glioma diagnosis: no class stands out, because the most probable one, "
         "Glioblastoma, IDH-wildtype, has only 41.7 %."),
        (0.5, (0.49999, 0.3, 0.20001), "Glioma diagnosis: no class stands out, because the most "
         "probable one, Astrocytoma, IDH-mutant, has only 49.999 %."),
        (0.4, (0.45, 0.1, 0.45), "Glioma diagnosis: no class stands out, because Astrocytoma, "
         "IDH-mutant and Glioblastoma, IDH-wildtype are equally probable, with 45 %."),
    ],
)  # fmt: skip
def test_no_class_is_a_result_coded_and_in_words(
    floor: float,
    values: tuple[float, ...] | None,
    sentence: str,
    files: SlideFiles,
    tmp_path: Path,
) -> None:
    root = class_student(tmp_path / "b", output=diagnosis(floor=floor))
    report = objects(root, files, probabilities=values)["report"].dataset
    assert coded(report) == [("NO-CLASS", "99DICOMNODE", "No class stands out")]
    [told] = [text for text in texts(report) if text.startswith("Glioma diagnosis")]
    assert told.startswith(sentence)
    assert f"A class is named from {round(100 * floor)} % on." in told
    assert sentence in of_class(report).comments
    assert len(of_class(report).measurements) == 3
    write(report, tmp_path / "report.dcm")
    assert dciodvfy_errors(tmp_path / "report.dcm") == []


def known(**values: Any) -> dict[str, Any]:
    return {"uncertainty": values}


@pytest.mark.parametrize(
    ("uncertainty", "each", "sure"),
    [
        (known(how="interval", low_tensor="low", high_tensor="high", source="slides resampled"),
         "Glioblastoma, IDH-wildtype 41.7 % (31.7 to 51.7 %)",
         "In brackets the 95 % interval of the probability: slides resampled."),
        (known(how="interval", half_width=0.1, level=0.9, source="slides resampled"),
         "Oligodendroglioma 23.7 % (13.7 to 33.7 %)",
         "In brackets the 90 % interval of the probability: slides resampled."),
        (known(how="calibration", slope=0.9, intercept=-0.1, data="patients", count=80),
         "Oligodendroglioma 23.7 %.",
         "No interval of these probabilities is known; calibration: slope 0.90 and intercept -0.10 "
         "(1 and 0 would be perfect), on 80 of: patients."),
        (known(how="calibration", slope=1, intercept=-0.7, data="patients", count=80),
         "Oligodendroglioma 23.7 %.",
         "No interval of these probabilities is known; calibration: slope 1.00 and intercept -0.70 "
         "(1 and 0 would be perfect), on 80 of: patients."),
    ],
)  # fmt: skip
def test_what_is_known_of_the_probabilities_stands_beside_them(
    uncertainty: dict[str, Any], each: str, sure: str, files: SlideFiles, tmp_path: Path
) -> None:
    root = class_student(tmp_path / "b", output=diagnosis(**uncertainty), half_width=0.1)
    report = objects(root, files)["report"].dataset
    [told] = [text for text in texts(report) if text.startswith("Glioma diagnosis")]
    assert each in told
    assert f" {sure} {KNOWS}" in told
    group = of_class(report)
    assert ("Uncertainty of the numbers", "Not known") not in group.evaluations
    intervals = [dict(m.details).get("Interval of the number") for m in group.measurements]
    if uncertainty["uncertainty"]["how"] == "interval":
        assert intervals == ["24.6 to 44.6", "13.7 to 33.7", "31.7 to 51.7"]
    else:
        assert intervals == [None] * 3
    write(report, tmp_path / "report.dcm")
    assert dciodvfy_errors(tmp_path / "report.dcm") == []
    assert template_errors(tmp_path / "report.dcm") == []


def test_small_probabilities_are_told_as_such_and_no_floor_is_said_to_be_none(
    files: SlideFiles, tmp_path: Path
) -> None:
    root = class_student(tmp_path / "b", output=diagnosis(floor=0))
    report = objects(root, files, probabilities=(0.99999, 1e-5, 0.0))["report"].dataset
    [told] = [text for text in texts(report) if text.startswith("Glioma diagnosis")]
    assert "Oligodendroglioma below 0.01 %; Glioblastoma, IDH-wildtype below 0.01 %." in told
    assert "No floor is stated by the model: its most probable class is named, however low" in told


def test_the_german_report_says_every_sentence_in_german_and_the_same_codes(
    whole: dict[str, BuiltObject], files: SlideFiles, tmp_path: Path
) -> None:
    root = class_student(tmp_path / "b")
    report = objects(root, files, language="de")["report"].dataset
    assert coded(report) == coded(whole["report"].dataset)
    assert texts(report)[0] == (
        "Gliom-Diagnose: Glioblastom, IDH-Wildtyp ist die wahrscheinlichste Klasse, mit 41,7 %. "
        "Wahrscheinlichkeit jeder Klasse: Glioblastom, IDH-Wildtyp 41,7 %; Astrozytom, IDH-mutiert "
        "34,6 %; Oligodendroglioma 23,7 %. Eine Klasse wird ab 40 % benannt. Die Unsicherheit "
        "dieser Wahrscheinlichkeiten ist nicht bekannt. Das Modell kennt nur diese 3 Klassen: was "
        "keine davon ist, kann nicht gefunden werden, und die Wahrscheinlichkeiten sagen darüber "
        "nichts."
    )
    tied = objects(root, files, language="de", probabilities=(0.45, 0.1, 0.45))["report"].dataset
    assert texts(tied)[0].startswith(
        "Gliom-Diagnose: keine Klasse sticht hervor, weil Astrozytom, IDH-mutiert und Glioblastom, "
        "IDH-Wildtyp gleich wahrscheinlich sind, mit 45 %."
    )
    low = objects(root, files, language="de", probabilities=(0.39, 0.3, 0.31))["report"].dataset
    assert texts(low)[0].startswith(
        "Gliom-Diagnose: keine Klasse sticht hervor, weil die wahrscheinlichste, Astrozytom, "
        "IDH-mutiert, nur 39 % hat."
    )


def test_a_student_with_a_score_beside_says_both(files: SlideFiles, tmp_path: Path) -> None:
    report = objects(class_student(tmp_path / "b", scores=True), files)["report"].dataset
    said = texts(report)
    assert said[0].startswith("Glioma diagnosis: Glioblastoma")
    assert said[1].startswith("Risk score 1.48 (uncertainty: not known).")


@pytest.fixture(scope="module")
def of_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    root = class_student(
        tmp_path_factory.mktemp("bundles") / "case", output=diagnosis(floor=0.3), unit="case"
    )
    with open_runtime(open_bundle(root), engine="onnxruntime") as runtime:
        yield runtime


def test_a_case_has_one_class_in_its_first_groups_and_its_slides_have_none(
    of_cases: Runtime, files: SlideFiles, tmp_path: Path
) -> None:
    study = str(dcmread(files.base_path, stop_before_pixels=True).StudyInstanceUID)
    both = [files, slide(tmp_path / "bb", ["SSSSSSSS"] * 6, study_uid=study)]
    made_for = of_any_amount(of_cases.manifest.applicability)
    looked = [(f.key, predict.look(f.paths, of_cases, made_for=made_for)) for f in both]
    case = predict_case(looked, of_cases)
    built, trouble = objects_of_case(
        case,
        lambda r: CaseMaking(
            result=r,
            slides={
                f.key: OneSlide(f, dcmread(f.base_path, stop_before_pixels=True), place, PROVENANCE)
                for place, f in enumerate(both, start=1)
            },
            manifest=of_cases.manifest,
            provenance=PROVENANCE,
            number=0,
            notes=(),
            wanted=frozenset({"summary", "report-text"}),
        ),
    )
    assert trouble == ""
    [report] = [one.dataset for one in built if one.kind == "report"]
    # The mean of purple and pink, of as many tiles each.
    assert [m.value for m in of_class(report).measurements] == ["38.3", "25.4", "36.3"]
    assert coded(report) == [tuple(CLASSES[0][k] for k in ("value", "scheme", "meaning"))]
    [told] = [text for text in texts(report) if text.startswith("Glioma diagnosis")]
    assert told.startswith("Glioma diagnosis: Astrocytoma, IDH-mutant is the most probable class")
    write(report, tmp_path / "case.dcm")
    assert dciodvfy_errors(tmp_path / "case.dcm") == []
    assert template_errors(tmp_path / "case.dcm") == []


def test_analyze_prints_the_class_and_its_json_holds_it(files: SlideFiles, tmp_path: Path) -> None:
    root = class_student(tmp_path / "b")
    folder = files.base_path.parent
    done = dicom_node("analyze", str(folder), "--out", str(tmp_path / "a"), "--bundle", str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    first = next(n for n, line in enumerate(lines) if "Glioma diagnosis Glioblastoma" in line)
    assert "classes of diagnosis" in lines[first]
    assert "Astrocytoma" in lines[first + 2], "the class, then the numbers"
    assert "34.6 %" in " ".join(lines[first : first + 6])
    assert any(KNOWS in line for line in lines)
    done = dicom_node(
        "analyze", str(folder), "--out", str(tmp_path / "j"), "--bundle", str(root), "--json"
    )
    [answer] = json.loads(done.stdout)
    [group] = [g for g in answer["report"] if g["group"] == "classes of diagnosis 1"]
    rows = {row["name"]: (row["value"], row["unit"]) for row in group["rows"]}
    assert rows["Glioma diagnosis"] == ("Glioblastoma, IDH-wildtype", "")
    assert rows["Oligodendroglioma"] == ("23.7", "%")
