"""The report of a case: what it says of all slides, of each, and what validators say of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from result_inputs import PROVENANCE, manifest, prediction, volume
from validators import dciodvfy_errors, template_errors

from dicom_node.results import codes
from dicom_node.results.case import build_case, objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide
from dicom_node.results.files import write
from dicom_node.results.identity import result_uid
from dicom_node.results.making import BuiltObject, Former
from dicom_node.view.reading import Group, read_groups
from inference.case.values import CaseResult, CaseSlide
from inference.slide.files import SlideFiles
from inference.types import LevelAccount, NotAssessable, Prediction, Reason

NUMBERS = {
    "scores": {"risk": 0.5, "tumor_fraction": 0.25},
    "percentiles": {"risk": 91.4, "tumor_fraction": 3.2},
    "survivals": {"os": (0.9, 0.7, 0.5)},
}


def slide_of(folder: Path, key: str) -> OneSlide:
    """A slide of its own container, specimen and frame of reference: a header, and its files."""
    header = volume()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, keyword, result_uid("test", keyword, key))
    header.ContainerIdentifier = f"A26 {key}"
    header.SpecimenDescriptionSequence[0].SpecimenUID = result_uid("test", "specimen", key)
    header.SpecimenDescriptionSequence[0].SpecimenIdentifier = f"specimen {key}"
    small = Dataset()
    small.SOPClassUID = header.SOPClassUID
    small.SOPInstanceUID = result_uid("test", "small level", key)
    small.StudyInstanceUID, small.SeriesInstanceUID = (
        header.StudyInstanceUID,
        header.SeriesInstanceUID,
    )
    path = folder / f"{key}.dcm"
    write_plain(small, path)
    uids = (str(header.SOPInstanceUID), str(small.SOPInstanceUID))
    files = SlideFiles(key, (path, path), uids, path)
    return OneSlide(files, header, 4 + int(key, 16), PROVENANCE, (f"Note of {key}.",))


def write_plain(ds: Dataset, path: Path) -> None:
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)


def used(slide: OneSlide) -> Prediction:
    levels = tuple(
        LevelAccount(uid, "VOLUME", 1, 1, 0.5, 1, used_as)
        for uid, used_as in zip(slide.files.input_uids, ("tiles", "tissue"), strict=True)
    )
    told = prediction(slide.header, scores={}, percentiles={}, survivals={}, levels=levels)
    return replace(told, tissue_area_mm2=2.0, tiles_analyzed=100)


def making(folder: Path, *results: Reason | None, **changes: object) -> CaseMaking:
    """A case of slides that were used, or left out for these reasons."""
    slides = {f"{n:08x}": slide_of(folder, f"{n:08x}") for n in range(len(results))}
    told = tuple(
        CaseSlide(
            key,
            used(slide)
            if reason is None
            else NotAssessable(reason, "Why it is not used.", None, ()),
        )
        for (key, slide), reason in zip(slides.items(), results, strict=True)
    )
    result = CaseResult(told, (Reason.NO_SLIDE, "None can be used."))
    if result.used:
        count = len(result.used)
        numbers = replace(
            result.used[0][1], tissue_area_mm2=2.0 * count, tiles_analyzed=100 * count,
            heatmaps=(), levels=(), **NUMBERS,
        )  # fmt: skip
        result = CaseResult(told, numbers=numbers)
    made = CaseMaking(result, slides, manifest(), PROVENANCE, number=3)
    return replace(made, **changes)  # type: ignore[arg-type]


def report_of(built: list[BuiltObject]) -> Dataset:
    (report,) = (item.dataset for item in built if item.kind == "report")
    return report


def by_title(report: Dataset) -> dict[str, Group]:
    return {group.title: group for group in read_groups(report)}


CASES = {
    "one slide": (None,),
    "two slides": (None, None),
    "three slides": (None, None, None),
    "one left out": (None, Reason.INCOMPLETE, None),
    "all left out": (Reason.NO_TISSUE, Reason.OTHER_MODEL),
}


@pytest.mark.parametrize("case", CASES)
def test_validators_find_no_error_in_the_objects_of_a_case(case, tmp_path):
    for number, item in enumerate(build_case(making(tmp_path, *CASES[case]))):
        path = tmp_path / f"object-{number}.dcm"
        write(item.dataset, path)
        assert dciodvfy_errors(path) == []
        if item.kind == "report":
            assert template_errors(path) == []


def test_the_numbers_are_of_the_case_and_each_slide_has_its_tissue_and_patches(tmp_path):
    report = report_of(build_case(making(tmp_path, None, None)))
    groups = by_title(report)
    case = groups["case 1"]
    values = {m.name: m.value for group in groups.values() for m in group.measurements
              if group.title.startswith("case")}  # fmt: skip
    assert values["Tissue analyzed"] == "4"
    assert values["Tiles analyzed"] == "200"
    assert {"Risk score"} <= {m.name for m in case.measurements}
    assert len(case.region_mm) == 0
    assert "The region is" not in " ".join(case.comments)
    for number in (1, 2):
        slide = groups[f"slide {number}"]
        assert [m.value for m in slide.measurements] == ["2", "100"]
        assert len(slide.region_mm) > 0
        assert ("Use in the case", "Used") in slide.evaluations
        assert f"Note of 0000000{number - 1}." in slide.comments
        assert len(groups[f"slide {number} tumor top patch 1"].region_mm) > 0


def test_regions_and_specimens_of_groups_are_those_of_their_own_slide(tmp_path):
    made = making(tmp_path, None, None)
    report = report_of(build_case(made))
    measured = next(i for i in report.ContentSequence if i.ValueType == "CONTAINER"
                    and i.ConceptNameCodeSequence[0].CodeValue == "126010")  # fmt: skip
    seen = set()
    for group in measured.ContentSequence:
        items = list(group.ContentSequence)
        (title,) = (str(i.TextValue) for i in items
                    if i.ConceptNameCodeSequence[0].CodeValue == "112039")  # fmt: skip
        if title.startswith("case"):
            assert not [i for i in items if i.ValueType == "SCOORD3D"]
            continue
        slide = list(made.slides.values())[int(title.split()[1]) - 1].header
        (region,) = (i for i in items if i.ValueType == "SCOORD3D")
        assert region.ReferencedFrameOfReferenceUID == slide.FrameOfReferenceUID
        (specimen,) = (i for i in items if i.ValueType == "UIDREF"
                       and i.ConceptNameCodeSequence[0].CodeValue == "121039")  # fmt: skip
        assert slide.SpecimenDescriptionSequence[0].SpecimenUID == specimen.UID
        seen.add(title.split()[1])
    assert seen == {"1", "2"}


def test_slides_left_out_are_the_first_thing_that_is_said_and_each_says_why(tmp_path):
    report = report_of(build_case(making(tmp_path, None, Reason.INCOMPLETE, Reason.STAIN)))
    groups = by_title(report)
    first = groups["case 1"].comments[0]
    assert first == (
        "Caution: 2 of 3 slides of the case left out: slide 2 (container A26 00000001): Slide "
        "incomplete; slide 3 (container A26 00000002): Stain unsupported."
    )
    assert "Slides used (1): slide 1 (container A26 00000000)." in groups["case 1"].comments
    assert groups["slide 2"].evaluations[-1] == ("Use in the case", "Left out")
    assert ("Reason not predictable", "Slide incomplete") in groups["slide 2"].evaluations
    assert "Why it is not used." in groups["slide 2"].comments
    assert not groups["slide 2"].measurements
    assert report.CompletionFlag == "PARTIAL"


def test_a_case_without_a_slide_is_not_predictable_and_each_slide_says_why(tmp_path):
    built = build_case(making(tmp_path, Reason.NO_TISSUE, Reason.OTHER_MODEL))
    assert [item.kind for item in built] == ["report"]
    groups = by_title(report_of(built))
    assert ("Assessment by the model", "Not predictable") in groups["case 1"].evaluations
    assert ("Reason not predictable", "No slide can be used") in groups["case 1"].evaluations
    told = "Caution: 2 of 2 slides of the case left out"
    assert any(text.startswith(told) for text in groups["case 1"].comments)
    assert ("Reason not predictable", "Slide of another model") in groups["slide 2"].evaluations
    assert not any(group.measurements for group in groups.values())


def test_evidence_lists_what_was_read_of_every_slide_and_every_map(tmp_path):
    made = making(tmp_path, None, Reason.NO_TISSUE, None)
    built = build_case(made)
    report = report_of(built)
    evidence = {
        str(image.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    slides = list(made.slides.values())
    assert set(slides[0].files.input_uids) | set(slides[2].files.input_uids) <= evidence
    assert slides[1].files.input_uids[0] in evidence
    maps = {str(item.dataset.SOPInstanceUID) for item in built if item.kind != "report"}
    assert len(maps) == 2
    assert maps <= evidence
    assert len({item.dataset.SeriesNumber for item in built}) == 3
    assert {item.slide for item in built} == {"00000000", "00000002", "case"}


def test_another_set_of_slides_gives_another_report_and_the_same_the_same_objects(tmp_path):
    def uids(*results: Reason | None) -> set[str]:
        return {str(i.dataset.SOPInstanceUID) for i in build_case(making(tmp_path, *results))}

    both = uids(None, None)
    assert both == uids(None, None)
    assert len(both & uids(None, Reason.ANALYSIS_FAILED)) == 1, "the map of the slide in both"
    assert len(both & uids(None, None, None)) == 2
    failed, incomplete = uids(None, Reason.ANALYSIS_FAILED), uids(None, Reason.INCOMPLETE)
    assert len(failed & incomplete) == 1


def test_a_report_that_comes_out_as_it_was_registered_is_that_report(tmp_path):
    first = report_of(build_case(making(tmp_path, None, None)))
    uid, at = str(first.SOPInstanceUID), PROVENANCE.created_at
    later = replace(PROVENANCE, created_at=at + timedelta(days=1))
    same = making(tmp_path, None, None, provenance=later, formers=(Former("report", uid, at),))
    assert report_of(build_case(same)).SOPInstanceUID == uid
    other = making(tmp_path, None, None, provenance=later)
    assert report_of(build_case(other)).SOPInstanceUID != uid


def test_the_report_that_it_replaces_is_named(tmp_path):
    earlier = report_of(build_case(making(tmp_path, None)))
    report = report_of(build_case(making(tmp_path, None, None, predecessor=earlier)))
    (study,) = report.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID


def test_results_that_cannot_be_written_leave_a_report_that_says_so(tmp_path):
    whole = making(tmp_path, None, None)
    spoilt = {"risk": float("nan"), "tumor_fraction": 0.1}
    assert whole.result.numbers is not None
    broken = replace(whole.result, numbers=replace(whole.result.numbers, scores=spoilt))
    built, trouble = objects_of_case(broken, lambda r: replace(whole, result=r))
    assert trouble.startswith("no objects can be made of its result: ValueError")
    assert [item.kind for item in built] == ["report"]
    group = by_title(report_of(built))["case 1"]
    assert ("Reason not predictable", "Results not representable") in group.evaluations
    write(built[0].dataset, tmp_path / "report.dcm")
    assert template_errors(tmp_path / "report.dcm") == []
    assert dcmread(tmp_path / "report.dcm").SOPInstanceUID


def test_a_patient_is_the_subject_and_no_specimen_of_one_slide(tmp_path):
    report = report_of(build_case(making(tmp_path, None, None)))
    names = {i.ConceptNameCodeSequence[0].CodeValue for i in report.ContentSequence}
    assert not names & {"121024", "121039", "121041"}
    assert Code("IN-CASE", codes.SCHEME, "") in codes.PRIVATE
