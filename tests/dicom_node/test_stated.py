"""What an archive says of an object it has already: only a contradiction is one."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import decode

from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import courier
from dicom_node.deliver.duplicate.contents import stated_difference
from dicom_node.deliver.duplicate.verifying import UNKNOWN
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import DueDelivery, Run

KEYWORDS = ("InstanceNumber", "ContentDate", "ContentTime", "NumberOfFrames", "Rows")
NUMBER, DATE, TIME, FRAMES, ROWS = (
    (0x20, 0x13), (0x08, 0x23), (0x08, 0x33), (0x28, 0x08), (0x28, 0x10),
)  # fmt: skip


def ours() -> Dataset:
    ds = Dataset()
    ds.InstanceNumber, ds.NumberOfFrames, ds.Rows = 1, 12, 17
    ds.ContentDate, ds.ContentTime = "20260304", "223015.25"
    return ds


def answer(tag: tuple[int, int], value: bytes) -> Dataset:
    """As it comes over the wire, in Implicit VR Little Endian."""
    raw = struct.pack("<HHI", *tag, len(value)) + value
    return decode(BytesIO(raw), is_implicit_vr=True, is_little_endian=True)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (NUMBER, b"01"),
        (NUMBER, b" 1 "),
        (NUMBER, b"abc "),
        (NUMBER, b""),
        (FRAMES, b"0012"),
        (ROWS, b"1"),  # no two bytes of a US
        (ROWS, b"17  "),  # text in the place of one
        (DATE, b"2026.03.04"),
        (TIME, b"22:30:15"),
        (TIME, b"2230"),
    ],
)
def test_another_form_of_the_same_and_what_cannot_be_read_is_no_alarm(tag, value):
    assert stated_difference(ours(), answer(tag, value), KEYWORDS) == ""


@pytest.mark.parametrize(
    ("tag", "value", "says"),
    [
        (NUMBER, b"02", "InstanceNumber is 2, expected 1"),
        (ROWS, b"\x12\0", "Rows is 18, expected 17"),
        (DATE, b"2026.03.05", "ContentDate is 20260305, expected 20260304"),
        (TIME, b"2231", "ContentTime is 2231, expected 2230"),
    ],
)
def test_another_value_is_one_whatever_its_form(tag, value, says):
    assert stated_difference(ours(), answer(tag, value), KEYWORDS) == says


def test_an_error_nobody_expected_in_asking_is_no_answer_and_no_end_of_the_lane(
    monkeypatch, tmp_path
):
    def fail(*_: object) -> None:
        raise LookupError("of the library")

    monkeypatch.setattr(courier, "verify", fail)
    where = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    config = Config.model_validate(
        {"node": {"ae_title": "DICOMNODE", "data_dir": tmp_path}, "destinations": [where]}
    )
    (destination,) = config.destinations
    ledger = Ledger.open(Path(tmp_path) / "node.sqlite")
    assert isinstance(destination, Destination)
    one = courier.Courier(config, destination, ledger, lambda: 0.5)
    due = DueDelivery(Run("1.2", 1, 1), "1.3", "p", "x", 0, 0.0, "report", "a", "")
    assert one._asked(due) == UNKNOWN
