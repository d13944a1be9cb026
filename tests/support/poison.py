"""Instances that hurt a node: each is acknowledged, and must cost no other study anything.

The first two are the recorded cases where `../shared/cases/faults` is there, else equal ones.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from nodes import ROOT
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage
from pynetdicom.dsutils import split_dataset
from wsm_files import encoded

from slides import base_level

CASES = ROOT.parent / "shared" / "cases" / "faults"
OVERFLOW, UNTERMINATED = "poison-overflow.bin", "sq-unterminated.bin"
MANY_ITEMS, NESTED = "many-items", "nested"
KINDS = (OVERFLOW, UNTERMINATED, MANY_ITEMS, NESTED)
CONTAINER_TYPE, SPECIMENS = b"\x40\x00\x18\x05", b"\x40\x00\x60\x05"
"""(0040,0518) and (0040,0560), little endian."""
MATRIX_ROWS = b"\x48\x00\x07\x00"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_CLOSE = b"\xfe\xff\x0d\xe0\0\0\0\0" + _END
_OPEN_ITEM = b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


def dataset_bytes(path: Path) -> bytes:
    """The dataset of a file as it goes over the network: without preamble and file meta."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def write_raw(path: Path, dataset: bytes, sop_instance_uid: str) -> Path:
    """A file with exactly these dataset bytes, JPEG Baseline."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.ImplementationClassUID = UID("2.25.1")
    start = DicomBytesIO()
    start.write(bytes(128) + b"DICM")
    write_file_meta_info(start, meta)
    path.write_bytes(start.getvalue() + dataset)
    return path


def instance(kind: str, sound: Path, path: Path, chance: random.Random) -> str:
    """Writes a poison instance of its own study; its Study Instance UID.

    `sound` is a folder of a sound slide, from which the poison is made when no case is recorded.
    """
    recorded = CASES / kind
    if recorded.is_dir():
        dataset = dataset_bytes(next(recorded.glob("*.dcm")))
    else:
        dataset = recorded.read_bytes() if recorded.is_file() else _made(kind, sound)
    uids = []
    for tag in (b"\x20\x00\x0d\x00", b"\x20\x00\x0e\x00", b"\x08\x00\x18\x00"):
        dataset, uid = _with_other_uid(dataset, tag, chance)
        uids.append(uid)
    write_raw(path, dataset, uids[2])
    return uids[0]


def _with_other_uid(dataset: bytes, tag: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Another UID of the same length wherever the element's first one stands."""
    found = re.search(re.escape(tag) + rb"UI..(2\.25\.\d+)", dataset, re.DOTALL)
    assert found, tag
    old = found[1]
    first = chance.randrange(1, 3)  # of at most 39 digits below 2**128
    new = f"2.25.{first}{''.join(str(chance.randrange(10)) for _ in range(len(old) - 6))}"
    return dataset.replace(old, new.encode()), new


def _made(kind: str, sound: Path) -> bytes:
    dataset = dataset_bytes(base_level(sound))
    if kind == OVERFLOW:
        text = b"9" * 400
        return _replaced(dataset, MATRIX_ROWS, b"UT\0\0" + len(text).to_bytes(4, "little") + text)
    start = dataset.index(SPECIMENS + b"SQ")
    if kind == MANY_ITEMS:
        items = b"\xfe\xff\x00\xe0\0\0\0\0" * 20_000
        return dataset[:start] + SPECIMENS + _OPEN_ITEM[:8] + items + _END + dataset[start:]
    if kind == NESTED:
        return dataset[:start] + (SPECIMENS + _OPEN_ITEM) * 3000 + _CLOSE * 3000 + dataset[start:]
    return dataset[:start] + (SPECIMENS + _OPEN_ITEM) * 3 + dataset[start:]


def _replaced(dataset: bytes, tag: bytes, value: bytes) -> bytes:
    """The dataset with another VR, length and value in an element of VR UL."""
    at = dataset.index(tag + b"UL\x04\x00")
    return dataset[:at] + tag + value + dataset[at + 12 :]


def replace_element(path: Path, keyword: str, vr: str, value: bytes) -> None:
    """Writes a value of any VR and any bytes into an element that the file has, at the top."""
    ds = dcmread(path)
    probe = Dataset()
    probe[keyword] = ds[keyword]
    old = encoded(probe)
    dataset = dataset_bytes(path)
    assert dataset.count(old) == 1, keyword
    value += b" " * (len(value) % 2)
    long = vr in ("UT", "UC", "UR", "OB", "UN")
    length = (
        bytes(2) + len(value).to_bytes(4, "little") if long else len(value).to_bytes(2, "little")
    )
    start = path.read_bytes()[: -len(dataset)]
    path.write_bytes(start + dataset.replace(old, old[:4] + vr.encode() + length + value))
