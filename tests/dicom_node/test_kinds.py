"""A new kind of result object is one file and one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from result_inputs import PROVENANCE, manifest, prediction, refusal, volume

from dicom_node.ledger.ledger import Ledger
from dicom_node.results import build, kinds
from dicom_node.results.build import build_objects
from dicom_node.results.making import BuiltObject, Making
from dicom_node.services import echo
from dicom_node.services.store.handler import StoreHandler
from dicom_node.sop_classes import ALL, EXPLICIT_VR_LE, SopClass
from dicom_node.spool.spool import Spool
from inference.case import values
from inference.slide.files import SlideFiles

NOTE = SopClass("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage", (EXPLICIT_VR_LE,))


def making(*, refused: bool = False) -> Making:
    source = volume()
    uid = str(source.SOPInstanceUID)
    slide = SlideFiles("s1", (Path("a.dcm"),), (uid,), Path("a.dcm"))
    result = refusal(source) if refused else prediction(source)
    return Making(source, result, manifest(), PROVENANCE, slide, number=1)


@pytest.fixture
def note(monkeypatch):
    """A kind that cites what was made before it: its module, and its line in the table."""

    def make(making: Making) -> list[BuiltObject]:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = NOTE.uid
        ds.SeriesNumber = making.series_number + 9
        ds.ContentDescription = " ".join(b.kind for b in making.made)
        return [BuiltObject("note", making.slide.key, ds)]

    module = ModuleType("a_note")
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_note", module)
    monkeypatch.setattr(build, "require_sound", lambda _, made, *__: made)  # no whole object
    line = kinds.Kind("note", NOTE, "a_note", needs_prediction=True)
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, line))


def test_a_line_in_the_table_makes_a_new_object_for_every_slide(note):
    built = build_objects(making())
    assert [b.kind for b in built] == ["heatmap-tumor", "report", "note"]
    assert built[-1].dataset.ContentDescription == "heatmap-tumor report"
    assert [int(b.dataset.SeriesNumber) for b in built] == [9012, 9011, 9020]
    assert NOTE.uid in kinds.result_classes()


def test_a_kind_that_needs_a_prediction_is_left_out_of_a_refused_slide(note):
    assert [b.kind for b in build_objects(making(refused=True))] == ["report"]


def test_a_module_that_makes_another_class_than_its_line_says_is_refused(note, monkeypatch):
    wrong = kinds.Kind("note", kinds.REPORT.sop_class, "a_note", needs_prediction=False)
    monkeypatch.setattr(kinds, "KINDS", (wrong,))
    with pytest.raises(ValueError, match="expected Comprehensive 3D SR Storage"):
        build_objects(making())


def test_every_class_of_the_table_is_accepted_by_a_service_or_made_and_none_besides(tmp_path):
    spool = Spool(tmp_path / "spool", 0)
    store = StoreHandler(spool, Ledger.open(tmp_path / "node.sqlite")).service
    accepted = {c.uid for service in (echo.service(), store) for c in service.sop_classes}
    assert {c.uid for c in ALL} == accepted | set(kinds.result_classes())


def test_no_two_kinds_share_a_series_number_and_none_takes_that_of_the_next_slide():
    numbers = [int(b.dataset.SeriesNumber) for b in build_objects(making())]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= n - making().series_number < 10 for n in numbers)


def test_a_case_has_one_name_in_what_is_made_and_in_what_is_delivered():
    assert kinds.CASE == values.CASE
