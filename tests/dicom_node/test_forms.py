"""Every kind of object that can be asked for is valid, whatever the slide is like."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import pytest
from form_inputs import ALL_KINDS, EDITS, built, slide_files
from pydicom import dcmread
from result_inputs import to_bytes
from validators import JAVA_LIMITS, ended, run, template_errors

from dicom_node.results import kinds
from dicom_node.results.files import write, write_built
from slides import PhantomStudy

IOD = {
    "heatmap": "Segmentation",
    "report": "Comprehensive3DSR",
    "report-enhanced": "EnhancedSR",
    "report-text": "BasicTextSR",
    "summary": "EncapsulatedPDF",
    "overlay": "VLWholeSlideMicroscopyImage",
    "capture": "SCImage",
    "annotations": "MicroscopyBulkSimpleAnnotations",
    "map": "ParametricMap",
    "level": "Segmentation",
    "set": "KeyObjectSelectionDocument",
}
"""What dciodvfy calls them."""
OF_A_REFUSAL = {"report", "report-enhanced", "report-text", "summary", "set"}


@pytest.fixture(scope="module", params=[*EDITS, "refused", "refused without place", "second slide"])
def objects(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    edit = EDITS.get(request.param, EDITS["japanese"])
    slide = slide_files(phantom_study.folder, folder / "slide", edit)
    made = built(
        slide,
        refused="refused" in request.param,
        without_place="without" in request.param,
        number=int(request.param == "second slide"),
    )
    shown = {*IOD} - {"heatmap", "level"} | {
        "heatmap-tumor",
        "level-heatmap-tumor",
        "overlay-small",
    }
    expected = OF_A_REFUSAL if "refused" in request.param else shown
    assert set(made) == expected
    for name, one in made.items():
        assert one.file == to_bytes(one.dataset), f"{name}: what is sent is not the object"
        write_built(one, folder / f"{name}.dcm")
    return {name: folder / f"{name}.dcm" for name in made}


def test_dciodvfy_knows_each_and_finds_no_error(objects):
    for name, path in objects.items():
        if name.endswith("heatmap-tumor") and not dcmread(path).get("SpecimenDescriptionSequence"):
            continue  # as the slide, which lacks it
        lines = run("dciodvfy", "-new", path).splitlines()
        kind = kinds.kind_of(name)
        assert kind is not None
        assert IOD[kind.name] in lines, name
        assert [line for line in lines if "Error" in line] == [], name


def test_dcmtk_shows_each_form_of_the_report(objects, tmp_path):
    for name in ("report", "report-enhanced", "report-text"):
        done = ended("dsr2html", objects[name], tmp_path / "page.html")
        assert done.returncode == 0, done.stderr


def test_every_object_is_a_series_of_its_own_of_the_same_patient_and_study(objects):
    made = [dcmread(path) for path in objects.values()]
    assert len({ds.SOPInstanceUID for ds in made}) == len(made)
    series = [dcmread(path) for name, path in objects.items() if name != "overlay-small"]
    for keyword in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
        assert len({ds[keyword].value for ds in series}) == len(series), keyword
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "SpecificCharacterSet"):
        assert len({str(ds[keyword].value) for ds in made}) == 1, keyword
    assert all(ds.SeriesDescription.endswith("(RESEARCH)") for ds in made)
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in made)


def test_highdicom_reads_what_it_has_readers_for(objects):
    if "annotations" in objects:
        assert hd.ann.annread(objects["annotations"]).AnnotationCoordinateType == "3D"
        assert hd.imread(objects["map"]).Modality == "OT"
    assert hd.sr.srread(objects["report-enhanced"]).Modality == "SR"
    selection = dcmread(objects["set"])
    assert hd.ko.KeyObjectSelectionDocument.from_dataset(selection).Modality == "KO"


@pytest.mark.parametrize("refused", [False, True])
def test_the_template_validator_finds_no_error(phantom_study, tmp_path, refused):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["korean"])
    for name, one in built(slide, refused=refused, wanted=frozenset({"report-enhanced"})).items():
        if name.startswith("report"):
            write(one.dataset, tmp_path / f"{name}.dcm")
            assert template_errors(tmp_path / f"{name}.dcm") == []


def test_the_text_form_passes_the_validator_of_its_class(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["korean"])
    for refused in (False, True):
        made = built(slide, refused=refused, wanted=frozenset({"report-text"}))
        write(made["report-text"].dataset, tmp_path / "text.dcm")
        said = run("DicomSRValidator", tmp_path / "text.dcm", JAVA_TOOL_OPTIONS=JAVA_LIMITS)
        assert "IOD validation complete" in said
        assert [line for line in said.splitlines() if "Error" in line] == []


@pytest.mark.parametrize("refused", [False, True])
def test_the_template_validator_takes_the_set(phantom_study, tmp_path, refused):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["korean"])
    made = built(slide, refused=refused, wanted=frozenset({"set"}))
    write(made["set"].dataset, tmp_path / "set.dcm")
    said = run("DicomSRValidator", tmp_path / "set.dcm", JAVA_TOOL_OPTIONS=JAVA_LIMITS)
    assert "TID_2010" in said, said
    assert "IOD validation complete" in said
    assert [line for line in said.splitlines() if "Error" in line or "Warning" in line] == []


def test_a_kind_that_nobody_asks_for_is_not_made(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["latin"])
    assert set(built(slide, wanted=frozenset())) == {"heatmap-tumor", "report"}
    assert set(built(slide, wanted=frozenset({"set"}))) == {"heatmap-tumor", "report", "set"}


def test_the_same_result_gives_the_same_bytes(phantom_study, tmp_path):
    slide = slide_files(phantom_study.folder, tmp_path / "slide", EDITS["japanese"])
    first, again = ({k: to_bytes(b.dataset) for k, b in built(slide).items()} for _ in range(2))
    assert {k for k in first if first[k] != again[k]} == set()
    assert len(first) == len(ALL_KINDS) + 3
