"""What one received instance says of itself and what is really in it, read without decoding."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import parse_basic_offsets, parse_fragments

_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "ImageType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "NumberOfFrames",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths",
    "DimensionOrganizationType",
    "ContainerIdentifier",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ExtendedOffsetTable",
]
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Attributes that decide completeness, and the frames counted in the file."""

    sop_instance_uid: str
    series_instance_uid: str
    container_identifier: str
    flavor: str
    """ImageType value 3 (PS3.3 C.8.12.4.1.1)."""
    organization: str
    matrix_rows: int
    matrix_cols: int
    tile_rows: int
    tile_cols: int
    focal_planes: int
    optical_paths: int
    frames_declared: int
    frames_counted: int
    concatenation_uid: str
    concatenation_number: int | None
    concatenation_total: int | None


class Uncountable(Exception):
    """A file so malformed that its frames cannot be counted; the message quotes no value of it."""


@lru_cache(maxsize=4096)
def read_facts(path: Path) -> InstanceFacts:
    """Facts of a spooled file; files on the spool never change, so one reading is enough.

    Raises Uncountable for a malformed file and OSError for one that cannot be read now.
    """
    try:
        return _read(path)
    except OSError:
        raise
    except Exception as error:  # whatever a malformed file makes the parser raise
        raise Uncountable(f"{path.name}: {type(error).__name__} while reading it") from error


def _read(path: Path) -> InstanceFacts:
    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
        counted = _count_frames(file, header)
    value = header.get("ImageType")
    image_type = [] if value is None or isinstance(value, str) else [str(v) for v in value]
    return InstanceFacts(
        sop_instance_uid=str(header.SOPInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
        container_identifier=str(header.get("ContainerIdentifier") or ""),
        flavor=image_type[2] if len(image_type) > 2 else "",
        organization=str(header.get("DimensionOrganizationType") or "TILED_SPARSE"),
        matrix_rows=int(header.get("TotalPixelMatrixRows") or 0),
        matrix_cols=int(header.get("TotalPixelMatrixColumns") or 0),
        tile_rows=int(header.get("Rows") or 0),
        tile_cols=int(header.get("Columns") or 0),
        focal_planes=int(header.get("TotalPixelMatrixFocalPlanes") or 1),
        optical_paths=int(header.get("NumberOfOpticalPaths") or 1),
        frames_declared=int(header.get("NumberOfFrames") or 1),
        frames_counted=counted,
        concatenation_uid=str(header.get("ConcatenationUID") or ""),
        concatenation_number=_optional_int(header, "InConcatenationNumber"),
        concatenation_total=_optional_int(header, "InConcatenationTotalNumber"),
    )


def _count_frames(file: BinaryIO, header: FileDataset) -> int:
    """Frames whose bytes are in the file; the position is at the Pixel Data element."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_deflated:
        return _declared(header)  # inflating to count would cost memory; the decoder will tell
    length = _pixel_data_length(file, explicit=not syntax.is_implicit_VR)
    if length is None:
        return 0
    if length == _UNDEFINED_LENGTH:
        return _count_encapsulated(file, header)
    bits = int(header.get("Rows") or 0) * int(header.get("Columns") or 0)
    bits *= int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 8)
    start = file.tell()
    available = min(length, file.seek(0, 2) - start)
    return min(_declared(header), available * 8 // bits) if bits else 0


def _pixel_data_length(file: BinaryIO, *, explicit: bool) -> int | None:
    """Value length of the element at the file's position, or None when it is not Pixel Data."""
    tag = file.read(4)
    if tag != b"\xe0\x7f\x10\x00":
        return None
    if explicit:
        file.read(4)
    raw = file.read(4)
    return int(struct.unpack("<I", raw)[0]) if len(raw) == 4 else None


def _count_encapsulated(file: BinaryIO, header: FileDataset) -> int:
    """Frames of encapsulated Pixel Data (PS3.5 A.4) by offset table, bounded by its fragments."""
    basic = parse_basic_offsets(file)
    try:
        fragments, _ = parse_fragments(file)
    except ValueError:
        return 0  # the last item is cut off: nothing in this file can be trusted to be complete
    extended = header.get("ExtendedOffsetTable")
    table = len(extended) // 8 if extended else len(basic)
    # Without a table, more fragments than frames means frames of several fragments.
    return min(table or _declared(header), fragments)


def _declared(header: FileDataset) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _optional_int(header: FileDataset, keyword: str) -> int | None:
    value = header.get(keyword)
    return None if value is None else int(value)
