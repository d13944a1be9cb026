"""What a destination gets of a case that does not take its report as it is."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from case_inputs import making, report_of
from case_students import case_student
from nodes import node, storescu, study_of, wait_for
from pacs_profiles import EXPLICIT, SEG, SR_3D, SR_TEXT, ProfiledPacs, running
from pydicom import Dataset
from pydicom.uid import generate_uid
from pypdf import PdfReader
from several import model, study
from validators import run

from dicom_node.deliver.order import Never, Send, Wait, turn_of
from dicom_node.ledger.rows import DueDelivery, Run, Standing
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.results import kinds
from dicom_node.results.case import build_case, objects_of_case
from dicom_node.results.case_making import CaseMaking
from dicom_node.results.files import write
from inference.types import Reason

FORMS = frozenset({"report-enhanced", "report-text", "summary", "set"})
ONE_LEFT_OUT = (None, Reason.INCOMPLETE, None)
CASES = {"used": (None, None), "one left out": ONE_LEFT_OUT, "none used": (Reason.NO_TISSUE,) * 2}


def forms(whole: CaseMaking) -> dict[str, Dataset]:
    """The report and its forms by kind."""
    built = build_case(replace(whole, wanted=FORMS))
    assert {b.slide for b in built if b.kind in FORMS} == {"case"}
    return {b.kind: b.dataset for b in built if b.slide == "case"}


def texts(item: Dataset) -> list[str]:
    """Every sentence of a tree, in its order."""
    own = [str(item.TextValue)] if item.get("ValueType") == "TEXT" else []
    return own + [text for child in item.get("ContentSequence") or () for text in texts(child)]


def found(item: Dataset, value_type: str) -> list[Dataset]:
    own = [item] if item.get("ValueType") == value_type else []
    return own + [
        f for child in item.get("ContentSequence") or () for f in found(child, value_type)
    ]


@pytest.mark.parametrize("case", CASES)
def test_every_form_of_a_case_is_valid_and_says_what_the_report_says(case, tmp_path):
    made = forms(making(tmp_path, *CASES[case]))
    assert set(made) == {*FORMS, "report"}
    said = texts(made["report"])
    assert said[0].endswith("used, 0 left out.") is (case == "used")
    assert texts(made["report-enhanced"]) == said
    assert set(said) <= set(texts(made["report-text"]))
    numbers = [n.MeasuredValueSequence[0].NumericValue for n in found(made["report"], "NUM")]
    assert len(numbers) == len(found(made["report-enhanced"], "NUM"))
    assert not found(made["report-text"], "NUM")
    assert len({ds.SeriesNumber for ds in made.values()}) == len(made)
    for kind, ds in made.items():
        path = tmp_path / f"{kind}.dcm"
        write(ds, path)
        lines = run("dciodvfy", "-new", path).splitlines()
        assert not [line for line in lines if "Error" in line]


def test_regions_of_an_enhanced_form_are_on_the_image_of_their_own_slide(tmp_path):
    whole = making(tmp_path, *ONE_LEFT_OUT)
    made = forms(whole)
    regions = found(made["report-enhanced"], "SCOORD")
    assert len(regions) == len(found(made["report"], "SCOORD3D"))
    images = [str(r.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
              for r in regions]  # fmt: skip
    own = [str(one.header.SOPInstanceUID) for one in whole.slides.values()]
    assert list(dict.fromkeys(images)) == [own[0], own[2]]
    assert not found(made["report-enhanced"], "SCOORD3D")


def test_slides_in_one_frame_of_reference_have_no_regions_in_pixels_which_could_be_anothers(
    tmp_path,
):
    def together(uid: str) -> CaseMaking:
        whole = making(tmp_path, None, None)
        for one in whole.slides.values():
            one.header.FrameOfReferenceUID = uid
        told = tuple(
            replace(s, result=replace(
                s.result, geometry=replace(s.result.geometry, frame_of_reference_uid=uid)))
            for s in whole.result.slides
        )  # fmt: skip
        return replace(whole, result=replace(whole.result, slides=told))

    made = forms(together(generate_uid()))
    assert found(made["report"], "SCOORD3D")
    assert not found(made["report-enhanced"], "SCOORD")


def test_the_page_of_a_case_names_every_slide_and_no_refusal_of_the_whole(tmp_path):
    def page(*results: Reason | None) -> str:
        document = forms(making(tmp_path, *results))["summary"]
        (one,) = PdfReader(io.BytesIO(document.EncapsulatedDocument)).pages
        return " ".join(one.extract_text().split())

    text = page(*ONE_LEFT_OUT)
    assert "AI summary of a case" in text
    assert "A26 00000000, A26 00000001, A26 00000002" in text
    assert "1 of 3 slides of the case left out: slide 2 (container A26 00000001)" in text
    assert "Not predictable" not in text
    assert "No picture: the report is of several slides" in text
    assert "Not predictable: No slide can be used" in page(Reason.NO_TISSUE, Reason.NO_TISSUE)
    many = page(*(None,) * 12)
    assert "more sentences have no room here: read the report." in many


def test_what_cannot_be_made_of_a_slide_is_said_and_the_rest_is_there(tmp_path):
    whole = making(tmp_path, *ONE_LEFT_OUT, wanted=frozenset({"overlay", "map", "report-text"}))
    built, trouble = objects_of_case(whole.result, lambda r: replace(whole, result=r))
    assert trouble.startswith("not made, though asked for: overlay (SlideUnreadable at ")
    assert "of slide 00000000; overlay (" in trouble
    assert trouble.endswith(" of slide 00000002")
    assert [b.kind for b in built if b.slide == "case"] == ["report", "report-text"]
    assert [b.slide for b in built if kinds.kind_of(b.kind) is kinds.MAP] == [
        "00000000", "00000002",
    ]  # fmt: skip
    assert report_of(built)


@pytest.mark.parametrize(
    ("state", "turn"),
    [
        (DeliveryState.DELIVERED, Send()),
        (DeliveryState.PENDING, Wait()),
        (DeliveryState.REFUSED, Never("not sent without its report: why")),
    ],
)
def test_a_map_of_a_case_goes_after_the_form_of_its_report_and_never_without_it(state, turn):
    why = "why" if state is DeliveryState.REFUSED else None
    due = DueDelivery(Run("1", 1, 1), "1.1", "p", "x", 0, 0.0, "heatmap-tumor", "a", "m")
    of_other = Standing("report", "a", "other", DeliveryState.DELIVERED, None)
    assert turn_of(due, [of_other, Standing("report-text", "case", "m", state, why)]) == turn


def test_a_pacs_without_3d_reports_gets_the_text_of_the_case_first_and_then_its_maps(tmp_path):
    folder = study(tmp_path / "slides", {"A": "lung", "B": "lung", "X": "liver"})
    bundle: Path = case_student(tmp_path / "lung", "lung")
    takes = {SR_TEXT: [EXPLICIT], SEG: [EXPLICIT]}
    with running(ProfiledPacs(takes)) as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + model("cases", bundle))
        n.start()
        wait_for(lambda: n.ledger.queries.destinations(), what="the destination asked")
        assert storescu(n.port, folder).returncode == 0
        revision = n.finished(study_of(folder / "A"))
    assert revision.state is State.DONE, revision.reason
    classes = [str(ds.SOPClassUID) for ds in pacs.came]
    of_cases = [ds for ds in pacs.came if ds.SOPClassUID == SR_TEXT
                and "1 of 3 slides of the case left out" in texts(ds)[0]]  # fmt: skip
    assert len(of_cases) == 1
    assert SR_3D not in classes
    assert classes.count(SEG) == 4
    assert classes.index(SEG) >= classes.count(SR_TEXT), "reports first"


def test_a_case_that_a_pacs_refuses_by_status_is_sent_in_the_next_form_and_not_analyzed_again(
    tmp_path,
):
    folder = study(tmp_path / "slides", {"A": "lung", "B": "lung", "X": "liver"})
    bundle: Path = case_student(tmp_path / "lung", "lung")
    takes = {SR_3D: [EXPLICIT], SR_TEXT: [EXPLICIT], SEG: [EXPLICIT]}
    refusing = ProfiledPacs(takes, answers_to={SR_3D: 0x0122})
    with running(refusing) as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + model("cases", bundle))
        n.start()
        wait_for(lambda: n.ledger.queries.destinations(), what="the destination asked")
        assert storescu(n.port, folder).returncode == 0
        uid = study_of(folder / "A")
        revision = n.finished(uid)
        assert revision.state is State.DONE, revision.reason
        built = [e for e in n.ledger.queries.events(uid) if e.kind == "results_built"]
        kept = {path.name: path.stat().st_mtime for path in n.folder.rglob("prediction-*.npz")}
    assert len(built) == 2
    assert [name for name in kept if "case" in name]
    assert {name for name, at in kept.items() if at > built[0].at} == set(), "used once more"
    sent = [str(ds.SOPClassUID) for ds in pacs.came]
    assert sent[0] == SR_3D
    assert sent.count(SEG) == 4
    assert [ds for ds in pacs.came if ds.SOPClassUID == SR_TEXT and "of the case" in texts(ds)[0]]
