"""The report of a case: what it says of all slides, of each, and what validators say of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from case_inputs import making, report_of
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from result_inputs import PROVENANCE
from validators import dciodvfy_errors, template_errors

from dicom_node.results import codes
from dicom_node.results.case import build_case, objects_of_case
from dicom_node.results.files import write
from dicom_node.results.making import Former
from dicom_node.view.reading import Group, read_groups
from inference.types import Reason


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


def test_the_report_reads_top_down_and_slides_left_out_come_first(tmp_path):
    report = report_of(build_case(making(tmp_path, None, Reason.INCOMPLETE, None)))
    said = [(i.ConceptNameCodeSequence[0].CodeMeaning, str(i.TextValue))
            for i in report.ContentSequence if i.ValueType == "TEXT"
            and i.RelationshipType == "CONTAINS"]  # fmt: skip
    assert list(dict.fromkeys(name for name, _ in said)) == [
        "What was left out", "Case", "Slide", "What this may be used for",
        "Could the case be assessed", "Result", "What was analyzed", "Measured performance",
    ]  # fmt: skip
    assert said[0][1] == (
        "1 of 3 slides of the case left out: slide 2 (container A26 00000001): Slide incomplete."
    )
    assert said[1][1] == "Slides of one study, judged together: 2 used, 1 left out."
    assert said[3][1] == (
        "Slide 2: Container A26 00000001; specimen specimen 00000001. Left out. Slide incomplete: "
        "Why it is not used."
    )
    told = {name: [text for n, text in said if n == name] for name, _ in said}
    assert told["Could the case be assessed"][0].startswith(
        "Yes, with caution. Not all slides were used. Slide 1: "
    )
    assert told["Result"][0].startswith("Risk score 0.5 (uncertainty: not known).")
    assert [text for text in told["Result"] if text.startswith("Slide ")] == [
        f"Slide {n}: Tumor probability per tile (research): all values are shown. The highest of a "
        "tile is 1." for n in (1, 3)
    ]  # fmt: skip
    assert told["Result"][-1] == "Calibration of the tumor probability: not known."
    assert told["What was analyzed"][0] == "In all 4 mm2 of tissue in 200 tiles of 2 slides."
    assert [t.split(":")[0] for t in told["What was analyzed"][1:]] == ["Slide 1", "Slide 3"]


def test_a_case_that_cannot_be_judged_says_so_where_its_result_would_stand(tmp_path):
    report = report_of(build_case(making(tmp_path, Reason.NO_TISSUE)))
    said = {i.ConceptNameCodeSequence[0].CodeMeaning: str(i.TextValue)
            for i in report.ContentSequence if i.ValueType == "TEXT"}  # fmt: skip
    assert said["Could the case be assessed"] == "No. No slide can be used: None can be used."
    assert said["Result"] == "None: no number is given."


def test_the_algorithm_is_named_once_and_each_map_with_its_slide(tmp_path):
    report = report_of(built := build_case(making(tmp_path, None, Reason.STAIN, None)))
    assert [g.title for g in read_groups(report) if g.algorithm] == ["case 1"]
    pictures = [i for i in report.ContentSequence if i.ValueType == "IMAGE"]
    assert [
        (
            p.ConceptNameCodeSequence[0].CodeMeaning,
            p.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
            p.ContentSequence[0].TextValue,
        )
        for p in pictures
    ] == [
        ("Heatmap", b.dataset.SOPInstanceUID, f"slide {n} (container A26 0000000{n - 1})")
        for n, b in zip((1, 3), built, strict=False)
    ]
