"""A class, such as a diagnosis, is given for the organs that it was measured on, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from class_students import CLASSES, DIAGNOSIS, class_student, diagnosis
from form_inputs import ALL_KINDS
from opening import all_open
from pydicom import Dataset, dcmread
from result_inputs import PROVENANCE
from tissue_students import of_organ, slide
from validators import dciodvfy_errors, template_errors

from dicom_node.commands.screen.control_slide import control_slide
from dicom_node.results.build import objects_of
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import BuiltObject, Making
from dicom_node.view.page.slide_page import write_page
from dicom_node.view.reading import read_groups
from engines.runtime import Runtime
from inference import archive, predict
from inference.case.predict import of_any_amount, predict_case
from inference.slide.files import SlideFiles
from inference.types import Prediction

ONLY = "Not assessed, because it was measured on lung only"
COLON = f"{ONLY}; the slide is of colon."
SILENT = f"{ONLY}. The slide names no organ, neither by a code nor in words."
MIXED = f"{ONLY}; 1 of 2 slides used are of another organ or do not say of which."


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Runtime]]:
    """Students made for every slide, with a diagnosis that was measured on lung, and on any."""
    folder = tmp_path_factory.mktemp("bundles")
    lung = diagnosis(organs=[of_organ("lung")])
    around = {"how": "interval", "half_width": 0.1, "source": "tests"}
    bundles = {
        "lung": class_student(folder / "lung", output=lung, scores=True),
        "any": class_student(folder / "any", scores=True),
        "case": class_student(folder / "case", output=lung | {"uncertainty": around}, unit="case"),
    }
    with all_open(bundles) as runtimes:
        yield runtimes


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SlideFiles]:
    folder = tmp_path_factory.mktemp("slides")
    found = {"lung": slide(folder / "lung", ["TTTTTTTT"] * 6, "lung")}
    study = str(dcmread(found["lung"].base_path, stop_before_pixels=True).StudyInstanceUID)
    for name, organ in (("other", "lung"), ("colon", "colon"), ("nothing", "")):
        found[name] = slide(folder / name, ["TTTTSSSS"] * 6, organ, study_uid=study)
    return found


def told(runtime: Runtime, files: SlideFiles) -> Prediction:
    found = predict.predict(files.paths, runtime)
    assert isinstance(found, Prediction), found
    return found


def objects(runtime: Runtime, files: SlideFiles) -> dict[str, BuiltObject]:
    source = dcmread(files.base_path, stop_before_pixels=True)
    built, trouble = objects_of(
        told(runtime, files),
        lambda r: Making(source, r, runtime.manifest, PROVENANCE, files, 0, wanted=ALL_KINDS),
    )
    assert trouble == ""
    return {one.kind: one for one in built}


def results(report: Dataset) -> list[str]:
    return [
        str(item.TextValue)
        for item in report.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == "Result"
    ]


def test_on_its_own_organ_a_class_is_what_it_is_without_a_scope(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles]
) -> None:
    found, everywhere = (told(runtimes[name], slides["lung"]) for name in ("lung", "any"))
    assert found.probabilities == everywhere.probabilities != {}
    assert found.not_assessed == {}
    said = results(objects(runtimes["lung"], slides["lung"])["report"].dataset)[0]
    assert said.startswith("Glioma diagnosis: Glioblastoma, IDH-wildtype is the most probable")
    assert said.endswith("Measured on lung only.")


@pytest.mark.parametrize(("name", "why"), [("colon", COLON), ("nothing", SILENT)])
def test_elsewhere_the_report_says_not_assessed_and_why_and_the_rest_goes_on(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], name: str, why: str, tmp_path: Path
) -> None:
    result = told(runtimes["lung"], slides[name])
    assert result.not_assessed == {"diagnosis": why}
    assert (result.probabilities, result.intervals) == ({}, {})
    archive.save(result, tmp_path / "kept.npz")
    assert archive.load(tmp_path / "kept.npz").not_assessed == {"diagnosis": why}
    built = objects(runtimes["lung"], slides[name])
    said = results(built["report"].dataset)
    assert said[0] == f"Glioma diagnosis: n{why[1:]}"
    assert said[1].startswith("Risk score")
    assert "heatmap-tumor" in built
    [group] = [g for g in read_groups(built["report"].dataset) if g.finding == "Glioma diagnosis"]
    assert group.result == (("Glioma diagnosis", "Not assessed"),)
    assert group.measurements == ()
    assert why in group.comments
    for kind in ("report", "report-enhanced", "report-text"):
        text = str(built[kind].dataset)
        assert not any(code["meaning"] in text for code in CLASSES), kind
        assert DIAGNOSIS["value"] in text, kind


def test_the_report_without_a_class_is_valid_and_the_page_shows_that_there_is_none(
    runtimes: dict[str, Runtime], slides: dict[str, SlideFiles], tmp_path: Path
) -> None:
    report = objects(runtimes["lung"], slides["colon"])["report"].dataset
    write(report, tmp_path / "report.dcm")
    assert dciodvfy_errors(tmp_path / "report.dcm") == []
    assert template_errors(tmp_path / "report.dcm") == []
    page = write_page(
        tmp_path / "page.html", slide_paths=slides["colon"].paths,
        sr_path=tmp_path / "report.dcm", seg_paths=[], condition=None,
    ).read_text()  # fmt: skip
    row = '<th scope="row">Glioma diagnosis</th><td class="words" colspan="2">Not assessed</td>'
    assert row in page
    assert "the slide is of colon." in page


@pytest.mark.parametrize("why", [COLON, SILENT, MIXED])
def test_why_there_is_no_class_is_said_in_german(why: str) -> None:
    said = sentences(f"Glioma diagnosis: n{why[1:]}", "de")
    assert said.startswith("Gliom-Diagnose: nicht beurteilt, weil nur an Lunge gemessen wurde")
    assert "Originalwortlaut" not in said + sentences(why, "de")


@pytest.mark.parametrize(
    ("used", "why"),
    [
        (("lung", "other"), ""),
        (("lung", "colon"), MIXED),
        (("colon",), COLON),
        (("nothing",), SILENT),
    ],
)
def test_a_case_has_a_class_only_where_all_its_slides_are_of_the_organ(
    runtimes: dict[str, Runtime],
    slides: dict[str, SlideFiles],
    used: tuple[str, ...],
    why: str,
    tmp_path: Path,
) -> None:
    runtime = runtimes["case"]
    each = of_any_amount(runtime.manifest.applicability)
    looked = [(n, predict.look(slides[n].paths, runtime, made_for=each)) for n in used]
    case = predict_case(looked, runtime)
    assert case.numbers is not None
    assert case.numbers.not_assessed == ({"diagnosis": why} if why else {})
    assert bool(case.numbers.probabilities) == bool(case.numbers.intervals) == (not why)
    parts = {
        n: OneSlide(
            slides[n], dcmread(slides[n].base_path, stop_before_pixels=True), at, PROVENANCE
        )
        for at, n in enumerate(used, start=1)
    }
    built, trouble = objects_of_case(
        case, lambda r: CaseMaking(r, parts, runtime.manifest, PROVENANCE, number=0)
    )
    assert trouble == ""
    [report] = [one.dataset for one in built if one.kind == "report"]
    [said] = [text for text in results(report) if text.startswith("Glioma diagnosis")]
    assert (why[1:] if why else "Probability of each class: ") in said
    write(report, tmp_path / "case.dcm")
    assert dciodvfy_errors(tmp_path / "case.dcm") == []
    assert template_errors(tmp_path / "case.dcm") == []


def test_engines_are_compared_on_the_classes_whatever_the_organ_of_the_control_slide(
    runtimes: dict[str, Runtime],
) -> None:
    with control_slide(None) as control:
        said = control(runtimes["lung"])
    assert len(said.probabilities["diagnosis"]) == len(CLASSES)
