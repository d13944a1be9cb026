from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.demo.pacs import SmallPacs, send_folder
from dicom_node.sop_classes import COMPREHENSIVE_3D_SR
from slides import PhantomStudy


def _report(folder: Path, number: int) -> Path:
    """A file that travels as a report; a PACS does not look inside."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = COMPREHENSIVE_3D_SR.uid
    ds.SOPInstanceUID = f"2.25.{number}"
    ds.PatientName = "../../escape"
    path = folder / f"report-{number}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def _send(paths: list[Path], pacs: SmallPacs, called_ae: str = "DEMOPACS") -> list[int]:
    sent = send_folder(
        paths, host="127.0.0.1", port=pacs.port, calling_ae="TESTER", called_ae=called_ae
    )
    assert [path for path, _ in sent] == paths
    return [status for _, status in sent]


def test_what_is_sent_arrives_unchanged_under_names_of_our_own(tmp_path: Path) -> None:
    files = [_report(tmp_path, 1), _report(tmp_path, 2)]
    with SmallPacs(tmp_path / "pacs") as pacs:
        assert _send(files, pacs) == [0, 0]
        arrived = pacs.wait_for(2, timeout_s=10)
    assert [path.name for path in arrived] == ["0001.dcm", "0002.dcm"]
    for sent, kept in zip(files, arrived, strict=True):
        assert dcmread(kept) == dcmread(sent)


def test_waiting_for_more_than_comes_says_how_many_came(tmp_path: Path) -> None:
    with SmallPacs(tmp_path / "pacs") as pacs:
        _send([_report(tmp_path, 1)], pacs)
        with pytest.raises(TimeoutError, match="1 of 2 objects"):
            pacs.wait_for(2, timeout_s=0.2)


def test_a_pacs_started_again_keeps_what_it_had(tmp_path: Path) -> None:
    folder = tmp_path / "pacs"
    with SmallPacs(folder) as pacs:
        _send([_report(tmp_path, 1)], pacs)
    with SmallPacs(folder) as pacs:
        _send([_report(tmp_path, 2)], pacs)
        kept = pacs.wait_for(2, timeout_s=10)
    assert [str(dcmread(path).SOPInstanceUID) for path in kept] == ["2.25.1", "2.25.2"]


def test_a_slide_is_refused_by_class_and_said_so(
    phantom_study: PhantomStudy, tmp_path: Path
) -> None:
    with (
        SmallPacs(tmp_path / "pacs") as pacs,
        pytest.raises(ValueError, match=r"does not take 1\.2\.840\.10008\.5\.1\.4\.1\.1\.77\.1\.6"),
    ):
        _send(phantom_study.paths, pacs)


def test_a_peer_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with SmallPacs(tmp_path / "pacs") as pacs:
        pass
    with pytest.raises(ConnectionError, match=f"NOBODY at 127.0.0.1:{pacs.port}"):
        _send([_report(tmp_path, 1)], pacs, called_ae="NOBODY")
