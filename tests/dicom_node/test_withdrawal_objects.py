"""What replaces a report that is withdrawn, in every form, and the note that rejects the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from form_inputs import EDITS, built, slide_files
from pydicom import Dataset, dcmread
from result_inputs import to_bytes
from validators import JAVA_LIMITS, ended, run

from dicom_node.results.files import write
from dicom_node.results.making import BuiltObject
from dicom_node.results.selfcheck.whole import require_checked
from dicom_node.results.sources import predecessor_in
from dicom_node.results.withdrawal.rejection import Rejected, rejection_of
from dicom_node.results.withdrawal.report import withdrawal_of
from dicom_node.results.withdrawal.summary import withdrawal_of_page
from dicom_node.results.withdrawal.told import Cause, Told
from slides import PhantomStudy

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TOLD = Told(Cause.BUNDLE, "its threshold was wrong", AT, "0.1")
IOD = {
    "report": "Comprehensive3DSR",
    "report-enhanced": "EnhancedSR",
    "report-text": "BasicTextSR",
    "summary": "EncapsulatedPDF",
    "set": "KeyObjectSelectionDocument",
}


@pytest.fixture(scope="module", params=["japanese", "refused"])
def delivered(
    request: pytest.FixtureRequest,
    phantom_study: PhantomStudy,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Dataset]:
    """Objects as the node has them on its disk."""
    folder = tmp_path_factory.mktemp("withdrawn")
    edit = EDITS.get(request.param, EDITS["latin"])
    slide = slide_files(phantom_study.folder, folder / "slide", edit)
    made = built(slide, refused=request.param == "refused")
    found = {}
    for name, one in made.items():
        write(one.dataset, folder / f"{name}.dcm")
        found[name] = dcmread(folder / f"{name}.dcm")
    return found


def withdrawn(delivered: dict[str, Dataset], told: Told = TOLD) -> dict[str, Dataset]:
    made = {}
    for name in ("report", "report-enhanced", "report-text"):
        made[name] = withdrawal_of(delivered[name], told, f"{name}-withdrawn")
    made["summary"] = withdrawal_of_page(delivered["summary"], told, "summary-withdrawn")
    rejected = [
        Rejected(str(d.SOPClassUID), str(d.SOPInstanceUID), str(d.SeriesInstanceUID))
        for d in delivered.values()
    ]
    made["set"] = rejection_of(rejected, delivered["report"], told, "set-withdrawn")
    return made


def walk(item: Dataset) -> list[Dataset]:
    below = list(item.get("ContentSequence") or ())
    return [one for child in below for one in (child, *walk(child))]


def test_validators_that_are_not_ours_and_our_own_check_find_no_error(delivered, tmp_path):
    for name, ds in withdrawn(delivered).items():
        require_checked(BuiltObject(f"{name}-withdrawn", "s", ds))
        path = tmp_path / f"{name}.dcm"
        write(ds, path)
        lines = run("dciodvfy", "-new", path).splitlines()
        assert IOD[name] in lines, name
        assert [line for line in lines if "Error" in line] == [], name
        if name.startswith("report") or name == "set":
            assert ended("dsr2html", path, tmp_path / "page.html").returncode == 0, name


def test_the_validator_of_structured_reports_finds_no_error(delivered, tmp_path):
    made = withdrawn(delivered)
    for name in ("report", "report-text", "set"):
        write(made[name], tmp_path / "one.dcm")
        said = run("DicomSRValidator", tmp_path / "one.dcm", JAVA_TOOL_OPTIONS=JAVA_LIMITS)
        assert "IOD validation complete" in said, name
        assert [line for line in said.splitlines() if "Error" in line] == [], name


def test_it_says_first_that_nothing_of_it_may_be_used_and_names_what_it_takes_back(delivered):
    for name, ds in withdrawn(delivered).items():
        if name == "summary":
            continue
        items = walk(ds)
        assert not [i for i in items if i.ValueType in ("NUM", "SCOORD", "SCOORD3D")]
        texts = [i.TextValue for i in items if i.ValueType == "TEXT"]
        first = next(i for i in items if i.RelationshipType == "CONTAINS")
        assert "must not be used, because the model that made it was found to be faulty: its " in (
            first.TextValue
        )
        if name == "set":
            continue
        old = delivered[name]
        assert ds.SOPClassUID == old.SOPClassUID
        assert predecessor_in(ds) == old.SOPInstanceUID
        assert ds.CompletionFlag == "COMPLETE"
        assert any(old.SOPInstanceUID in text for text in texts)
        assert any("a" * 64 in text or "digest" in text for text in texts)
        assert "2026-03-04 05:06:07 +0000" in texts
        numbers = {str(i.MeasuredValueSequence[0].NumericValue) for i in walk(old)
                   if i.ValueType == "NUM" and i.get("MeasuredValueSequence")}  # fmt: skip
        said = [t for t in texts if old.SOPInstanceUID not in t]
        assert not [n for n in numbers if len(n) > 4 and any(n in text for text in said)]


def test_the_page_says_it_too_and_has_the_patient(delivered, tmp_path):
    page = withdrawn(delivered)["summary"]
    assert predecessor_in(page) == delivered["summary"].SOPInstanceUID
    path: Path = tmp_path / "page.pdf"
    path.write_bytes(page.EncapsulatedDocument)
    text = " ".join(run("pdftotext", "-layout", path, "-").split())
    assert "This report and its maps must not be used" in text
    assert str(page.PatientID) in text


def test_patient_and_study_stay_and_uids_are_new(delivered):
    made = withdrawn(delivered)
    uids = {ds.SOPInstanceUID for ds in made.values()}
    uids |= {ds.SOPInstanceUID for ds in delivered.values()}
    assert len(uids) == len(made) + len(delivered)
    for ds in made.values():
        old = delivered["report"]
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "AccessionNumber"):
            assert ds.get(keyword) == old.get(keyword)
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.ContentDate == "20260304"
        assert len(ds.SeriesDescription) <= 64
    both = (*made.values(), *delivered.values())
    numbers = {str(ds.SeriesInstanceUID): str(ds.SeriesNumber) for ds in both}
    assert len(set(numbers.values())) == len(numbers)


def test_the_same_withdrawal_is_the_same_bytes_and_another_reason_another_object(delivered):
    one, same = withdrawn(delivered), withdrawn(delivered)
    other = withdrawn(delivered, Told(Cause.SLIDE, "", AT, "0.1"))
    for name in one:
        assert to_bytes(one[name]) == to_bytes(same[name]), name
        assert one[name].SOPInstanceUID != other[name].SOPInstanceUID, name


@pytest.mark.parametrize(
    ("cause", "title"),
    [(Cause.BUNDLE, "113037"), (Cause.SLIDE, "113001"), (Cause.PATIENT, "113038")],
)
def test_the_note_has_the_title_of_the_cause_and_names_every_object(delivered, cause, title):
    note = withdrawn(delivered, Told(cause, "", AT, "0.1"))["set"]
    assert note.ConceptNameCodeSequence[0].CodeValue == title
    named = {r.ReferencedSOPInstanceUID for i in walk(note)
             for r in i.get("ReferencedSOPSequence") or ()}  # fmt: skip
    assert named == {d.SOPInstanceUID for d in delivered.values()}
