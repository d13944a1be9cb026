"""What leaves has passed a check: each rule finds its fault, and nothing that is sound."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, RLELossless
from result_inputs import PROVENANCE, manifest, prediction, refusal, volume

from dicom_node.results import build, kinds
from dicom_node.results.build import build_objects, objects_of
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.selfcheck.whole import Unsound, faults, require_checked
from dicom_node.work.answers import Answer, Failed
from dicom_node.work.failures import answer_of
from inference.slide.characters.header import in_unicode
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction


def making_of(result: Prediction | NotAssessable, source: Dataset) -> Making:
    slide = SlideFiles("s1", (Path("a.dcm"),), (str(source.SOPInstanceUID),), Path("a.dcm"))
    return Making(in_unicode(source), result, manifest(), PROVENANCE, slide, number=0)


@pytest.fixture(scope="module")
def made() -> dict[str, Dataset]:
    source = volume()
    built = build_objects(making_of(prediction(source), source))
    return {b.kind.partition("-")[0]: b.dataset for b in built}


def found(ds: Dataset) -> list[str]:
    source = volume()
    line = kinds.REPORT if "ContentSequence" in ds else kinds.HEATMAP
    return list(faults(ds, line, in_unicode(source), prediction(source).geometry))


def groups_of(ds: Dataset) -> list[Dataset]:
    (measurements,) = (
        i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return list(measurements.ContentSequence)


def child(group: Dataset, value_type: str) -> Dataset:
    return next(i for i in group.ContentSequence if i.ValueType == value_type)


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda ds: delattr(ds, keyword)


def put(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


def shifted_origin(ds: Dataset) -> None:
    ds.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = "25.1"


def odd_spacing(ds: Dataset) -> None:
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [0.0101796, 0.0101796]


def off_the_grid(ds: Dataset) -> None:
    place = ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSlideSequence[0]
    place.RowPositionInTotalImagePixelMatrix = 2


def smaller_frame(ds: Dataset) -> None:
    (frame, *_) = generate_frames(ds.PixelData, number_of_frames=1)
    at = frame.index(b"\xff\xf7")
    shorter = frame[: at + 5] + (32).to_bytes(2, "big") + frame[at + 7 :]
    ds.PixelData = encapsulate([shorter])


def in_rle(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = RLELossless


def in_another(ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless


def binary_of_37(ds: Dataset) -> None:
    ds.SegmentationType, ds.Columns = "BINARY", 37


def without_frames(ds: Dataset) -> None:
    ds.NumberOfFrames = 2


PICTURES = {
    "of a type 1 attribute": (without("SegmentSequence"), "SegmentSequence is missing (type 1)"),
    "that is empty": (put("Manufacturer", ""), "Manufacturer is empty (type 1)"),
    "of a type 2 attribute": (without("PatientName"), "PatientName is missing (type 2)"),
    "in an item": (
        lambda ds: delattr(ds.SegmentSequence[0], "SegmentLabel"),
        "SegmentSequence.SegmentLabel is missing (type 1)",
    ),
    "of orientation": (without("PatientOrientation"), "PatientOrientation is missing (type 2C)"),
    "origin": (shifted_origin, "TotalPixelMatrixOriginSequence is not the slide's"),
    "spacing": (odd_spacing, "PixelSpacing is 20.4000 times the slide's"),
    "place": (off_the_grid, "frame 1 stands at row 1, column 0"),
    "frame": (smaller_frame, "frame 1 is 32 x 64, expected 64 x 64"),
    "number of frames": (without_frames, "PixelData has 1 frames, expected 2"),
    "rle": (in_rle, "RLE Lossless"),
    "syntax": (in_another, "TransferSyntaxUID is none that destinations are offered"),
    "columns": (binary_of_37, "Columns 37 is no multiple of 8"),
    "orientation": (
        put("ImageOrientationSlide", [1, 0, 0, 0, 1, 0]), "ImageOrientationSlide is not the slide's"
    ),
    "modality": (put("Modality", "OT"), "Modality OT"),
    "study": (put("StudyInstanceUID", "1.2.3"), "StudyInstanceUID is not the slide's"),
    "identity": (put("SOPInstanceUID", "1.2.3"), "SOPInstanceUID is not that of the file meta"),
    "letters": (put("SpecificCharacterSet", "ISO_IR 100"), "SpecificCharacterSet is not ISO_IR"),
}  # fmt: skip


@pytest.mark.parametrize("case", PICTURES)
def test_a_heatmap_that_breaks_a_rule_is_found(made, case):
    breaks, says = PICTURES[case]
    ds = deepcopy(made["heatmap"])
    breaks(ds)
    assert any(says in line for line in found(ds)), found(ds)


def continuous(ds: Dataset) -> None:
    groups_of(ds)[0].ContinuityOfContent = "CONTINUOUS"


def group_without_region(ds: Dataset) -> None:
    group = groups_of(ds)[-1]
    group.ContentSequence = [i for i in group.ContentSequence if i.ValueType != "SCOORD3D"]


def parenthesis(ds: Dataset) -> None:
    child(groups_of(ds)[0], "TEXT").TextValue = "slide (analyzed)"


def not_a_number(ds: Dataset) -> None:
    child(groups_of(ds)[0], "NUM").MeasuredValueSequence[0].NumericValue = "NaN"


def without_unit(ds: Dataset) -> None:
    del child(groups_of(ds)[0], "NUM").MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def untracked(ds: Dataset) -> None:
    group = groups_of(ds)[0]
    group.ContentSequence = [i for i in group.ContentSequence if i.ValueType != "UIDREF"]


def in_another_tree(ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"


def image_from_elsewhere(ds: Dataset) -> None:
    for study in ds.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for reference in series.ReferencedSOPSequence:
                reference.ReferencedSOPInstanceUID = "1.2.3"


def nobody_measured(ds: Dataset) -> None:
    ds.ContentSequence = [
        i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != "121012"
    ]


REPORTS = {
    "continuous": (continuous, "a container is not SEPARATE"),
    "region": (group_without_region, "measurement groups have no SCOORD3D"),
    "parenthesis": (parenthesis, "a Tracking Identifier has a parenthesis"),
    "number": (not_a_number, "a content item NUM holds a number that is not finite"),
    "unit": (without_unit, "a number has no unit"),
    "tracking": (untracked, "no Tracking Identifier or no Tracking UID"),
    "class": (in_another_tree, "ValueType SCOORD3D is not allowed in this class"),
    "evidence": (image_from_elsewhere, "objects of the tree are not listed as evidence"),
    "observer": (nobody_measured, "no Device Observer UID"),
    "verified": (put("VerificationFlag", "VERIFIED"), "nobody has verified it"),
    "flag": (without("CompletionFlag"), "CompletionFlag is missing (type 1)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REPORTS)
def test_a_report_that_breaks_a_rule_is_found(made, case):
    breaks, says = REPORTS[case]
    ds = deepcopy(made["report"])
    breaks(ds)
    assert any(says in line for line in found(ds)), found(ds)


def test_what_is_made_of_a_slide_has_no_fault(made):
    assert [found(ds) for ds in made.values()] == [[], []]


@pytest.mark.parametrize("lacks", ["nothing", "PixelSpacing", "everything"])
def test_a_refusal_has_no_fault_whatever_the_slide_lacks(lacks):
    source = volume()
    if lacks == "everything":
        for keyword in ("ImageOrientationSlide", "TotalPixelMatrixRows", "TotalPixelMatrixColumns"):
            delattr(source, keyword)
    result = refusal(None if lacks != "nothing" else source)
    (report,) = build_objects(making_of(result, source))
    assert list(faults(report.dataset, kinds.REPORT, in_unicode(source), None)) == []


def test_faults_that_came_with_the_slide_withhold_no_report():
    source = volume()
    del source.SpecimenDescriptionSequence[0].SpecimenUID
    del source.PatientBirthDate, source.AccessionNumber, source.ContainerIdentifier
    source.StudyDescription = "x" * 80
    built = build_objects(making_of(prediction(source), source))
    assert [b.kind for b in built] == ["heatmap-tumor", "report"]


def test_an_unsound_object_is_replaced_by_a_report_that_says_so_and_the_reason_is_exact(
    monkeypatch,
):
    """Nothing of the slide that fails leaves: its report would cite a heatmap that never comes."""
    whole = build.import_module

    class Shifting:
        def __init__(self, module: str) -> None:
            self._make = whole(module).make

        def make(self, making: Making) -> list[BuiltObject]:
            made = list(self._make(making))
            if made[0].kind.startswith("heatmap"):
                shifted_origin(made[0].dataset)
            return made

    monkeypatch.setattr(build, "import_module", Shifting)
    source = volume()
    built, trouble = objects_of(prediction(source), lambda result: making_of(result, source))
    assert [b.kind for b in built] == ["report"]
    assert "Not predictable" in str(built[0].dataset)
    assert trouble == (
        "no objects can be made of its result: it failed the check of what may be sent: "
        "heatmap-tumor: TotalPixelMatrixOriginSequence is not the slide's: viewers ignore any other"
    )


def test_of_many_faults_the_first_are_told(made):
    source = volume()
    making = replace(making_of(prediction(source), source), result=prediction(source))
    ds = deepcopy(made["heatmap"])
    for keyword in ("PatientName", "PatientID", "PatientSex", "PatientBirthDate"):
        delattr(ds, keyword)
    with pytest.raises(Unsound, match=r"PatientBirthDate is missing \(type 2\) and 1 more"):
        build.require_sound(
            kinds.HEATMAP,
            [BuiltObject("heatmap-tumor", "s1", ds)],
            making.source,
            making.result.geometry,
        )


def test_what_comes_without_a_check_is_checked_at_the_last_gate(made):
    sound = BuiltObject("report", "case", made["report"])
    require_checked(sound)
    ds = deepcopy(made["report"])
    continuous(ds)
    with pytest.raises(Unsound, match="report: a container is not SEPARATE"):
        require_checked(replace(sound, dataset=ds))
    with pytest.raises(Unsound, match="nobody knows this kind"):
        require_checked(replace(sound, kind="film"))
    assert all(b.is_sound for b in build_objects(making_of(prediction(volume()), volume())))


def test_a_picture_in_the_slides_frame_of_reference_would_be_taken_for_a_level(made):
    ds = deepcopy(made["heatmap"])
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    assert any("viewers take it for one of its levels" in line for line in found(ds))


def test_a_step_that_meets_an_unsound_object_answers_with_the_reason():
    def build() -> Answer:
        raise Unsound("it failed")

    assert answer_of(build) == Failed("Unsound: it failed", may_pass=False)
