"""Synthetic VL whole-slide instances, small or as large as wanted, written without holding them."""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, generate_uid

WSM = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def wsm_header(**attributes: object) -> Dataset:
    """What the listener looks at, and a little more; keyword arguments set or (None) remove."""
    ds = Dataset()
    ds.SOPClassUID = WSM
    ds.SOPInstanceUID = generate_uid()
    ds.StudyDate = "20260102"
    ds.Modality = "SM"
    ds.PatientID = "PHANTOM"
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Rows = ds.Columns = 256
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def encoded(ds: Dataset, *, implicit: bool = False) -> bytes:
    """The bytes of a dataset as they go over the network."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = implicit
    buffer.is_little_endian = True
    write_dataset(buffer, ds)
    return buffer.getvalue()


def write_wsm(path: Path, *, size_bytes: int, frame: bytes = b"", **attributes: object) -> Dataset:
    """A file of about `size_bytes`: the same frame again and again. Returns its header.

    The default frame only looks like a JPEG; it is never decoded.
    """
    frame = frame or b"\xff\xd8" + bytes(range(256)) * 138 + b"\xff\xd9"
    ds = wsm_header(**attributes)
    count = max(1, size_bytes // (len(frame) + 8))
    ds.NumberOfFrames = count
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(JPEG_BASELINE)
    meta.ImplementationClassUID = generate_uid()
    start = DicomBytesIO()
    start.write(bytes(128) + b"DICM")
    write_file_meta_info(start, meta)
    batch = 64
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(frame)) + frame
    with path.open("wb") as file:
        file.write(start.getvalue() + encoded(ds))
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
        file.write(struct.pack("<HHL", 0xFFFE, 0xE000, 0))  # no offset table
        for _ in range(count // batch):
            file.write(item * batch)
        file.write(item * (count % batch))
        file.write(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    return ds
