"""Frames are as many and as large as the header says, before anybody paints them."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, SegmentationStorage

from inference.slide.codestream.defects import defect
from inference.slide.codestream.jpeg import is_jpeg, read_jpeg

_BYTE = 8


def faults(ds: Dataset) -> Iterator[str]:
    """What is wrong with the frames of an image."""
    rows, cols = int(ds.Rows), int(ds.Columns)
    count = int(ds.get("NumberOfFrames") or 1)
    if UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
        yield from _of_stream(ds.PixelData, count, rows, cols)
    else:
        bits = count * rows * cols * int(ds.SamplesPerPixel) * int(ds.BitsAllocated)
        needed = -(-bits // _BYTE)
        if len(ds.PixelData) != needed + needed % 2:
            yield f"PixelData has {len(ds.PixelData)} bytes, expected {needed + needed % 2}"
    groups = ds.get("PerFrameFunctionalGroupsSequence")
    if groups is not None and len(groups) != count:
        yield f"PerFrameFunctionalGroupsSequence has {len(groups)} items for {count} frames"
    if ds.SOPClassUID == SegmentationStorage:
        yield from _of_segmentation(ds, cols)


def _of_stream(data: bytes, count: int, rows: int, cols: int) -> Iterator[str]:
    frames = list(generate_frames(data, number_of_frames=count))
    if len(frames) != count:
        yield f"PixelData has {len(frames)} frames, expected {count}"
    for number, frame in enumerate(frames, 1):
        if is_jpeg(frame):
            jpeg = read_jpeg(frame)
            if (jpeg.rows, jpeg.cols) != (rows, cols):
                yield f"frame {number} is {jpeg.rows} x {jpeg.cols}, expected {rows} x {cols}"
        elif why := defect(frame, rows, cols):
            yield f"frame {number}: {why}"


def _of_segmentation(ds: Dataset, cols: int) -> Iterator[str]:
    if "PatientOrientation" not in ds:
        yield "PatientOrientation is missing (type 2C)"
    if ds.SegmentationType == "BINARY" and cols % _BYTE:
        yield f"Columns {cols} is no multiple of 8: servers refuse frames that share a byte"
    if ds.SegmentationType == "FRACTIONAL" and not ds.get("SegmentationFractionalType"):
        yield "SegmentationFractionalType is missing (type 1C)"
    numbers = [int(s.SegmentNumber) for s in ds.get("SegmentSequence") or ()]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "SegmentNumber does not count from 1"
