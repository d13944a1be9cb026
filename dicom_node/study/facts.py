"""What one received instance says of itself and what is really in it, read without decoding."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.multival import MultiValue

from inference.slide.patient import IDENTIFYING, Patient, read_patient

_MOST_US, _MOST_UL, _MOST_IS = 2**16 - 1, 2**32 - 1, 2**31 - 1
_NUMBERS = {
    "Rows": ("US", _MOST_US),
    "Columns": ("US", _MOST_US),
    "SamplesPerPixel": ("US", _MOST_US),
    "BitsAllocated": ("US", _MOST_US),
    "NumberOfFrames": ("IS", _MOST_IS),
    "TotalPixelMatrixRows": ("UL", _MOST_UL),
    "TotalPixelMatrixColumns": ("UL", _MOST_UL),
    "TotalPixelMatrixFocalPlanes": ("UL", _MOST_UL),
    "NumberOfOpticalPaths": ("UL", _MOST_UL),
    "InConcatenationNumber": ("US", _MOST_US),
    "InConcatenationTotalNumber": ("US", _MOST_US),
}
"""Value representation (PS3.6) and the largest value it holds (PS3.5 6.2)."""
_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "ImageType",
    "DimensionOrganizationType",
    "ContainerIdentifier",
    "ConcatenationUID",
    "ExtendedOffsetTable",
    *_NUMBERS,
    *IDENTIFYING,
]
_FLAVORS = {"VOLUME", "LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}
_ORGANIZATIONS = {"TILED_FULL", "TILED_SPARSE", "3D", "3D_TEMPORAL"}
_OTHER = "OTHER"
"""Stands for a value that is none of the defined terms: any text may stand there."""
_UID = re.compile(r"[0-9.]{1,64}")
_LONGEST_TEXT = 256
"""Four times what the standard allows these attributes (LO, CS): some devices write more."""
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Attributes that decide completeness, and the frames counted in the file."""

    sop_instance_uid: str
    series_instance_uid: str
    container_identifier: str
    flavor: str
    """ImageType value 3 (PS3.3 C.8.12.4.1.1); OTHER when it is none of the defined terms."""
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
    patient: Patient = field(repr=False)


class Uncountable(Exception):
    """A file so malformed that its frames cannot be counted; the message names the file and, where
    it is one, the attribute, and quotes no value."""


def read_facts(path: Path) -> InstanceFacts:
    """Facts of a file; read once for as long as it is the same file.

    A damaged file of the spool is replaced under its path when a sender repeats the instance.
    Raises Uncountable for a malformed file and OSError for one that cannot be read now.
    """
    state = path.stat()
    return _facts(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=4096)
def _facts(path: Path, _state: tuple[int, ...]) -> InstanceFacts:
    file = f"file {path.parent.name}/{path.name}"
    try:
        return _read(path)
    except Uncountable as error:
        raise Uncountable(f"{file}: {error}") from error
    except Exception as error:  # whatever a malformed file makes the parser raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system; the parser's own have no number
        raise Uncountable(f"{file}: {type(error).__name__} while reading it") from error


def _read(path: Path) -> InstanceFacts:
    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
        counted = _count_frames(file, header)
    value = _value(header, "ImageType")
    image_type = list(value) if isinstance(value, MultiValue) else []
    return InstanceFacts(
        sop_instance_uid=_uid(header, "SOPInstanceUID"),
        series_instance_uid=_uid(header, "SeriesInstanceUID"),
        container_identifier=_text(header, "ContainerIdentifier"),
        flavor=_term(image_type[2], _FLAVORS) if len(image_type) > 2 else "",
        organization=_term(
            _text(header, "DimensionOrganizationType") or "TILED_SPARSE", _ORGANIZATIONS
        ),
        matrix_rows=_number(header, "TotalPixelMatrixRows") or 0,
        matrix_cols=_number(header, "TotalPixelMatrixColumns") or 0,
        tile_rows=_number(header, "Rows") or 0,
        tile_cols=_number(header, "Columns") or 0,
        focal_planes=_number(header, "TotalPixelMatrixFocalPlanes") or 1,
        optical_paths=_number(header, "NumberOfOpticalPaths") or 1,
        frames_declared=_declared(header),
        frames_counted=counted,
        concatenation_uid=_uid(header, "ConcatenationUID"),
        concatenation_number=_number(header, "InConcatenationNumber"),
        concatenation_total=_number(header, "InConcatenationTotalNumber"),
        patient=read_patient(header),
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
    bits = (_number(header, "Rows") or 0) * (_number(header, "Columns") or 0)
    bits *= (_number(header, "SamplesPerPixel") or 1) * (_number(header, "BitsAllocated") or 8)
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
    extended = _value(header, "ExtendedOffsetTable")
    if extended is not None and not isinstance(extended, bytes):
        raise Uncountable("ExtendedOffsetTable is no string of bytes")
    table = len(extended) // 8 if extended else len(basic)
    # Without a table, more fragments than frames means frames of several fragments.
    return min(table or _declared(header), fragments)


def _declared(header: FileDataset) -> int:
    return _number(header, "NumberOfFrames") or 1


def _value(header: FileDataset, keyword: str) -> Any:
    """The value of an attribute, None when absent or empty; Uncountable when it has none."""
    try:
        value = header.get(keyword)
    except Exception as error:  # conversion of a damaged element: the library names no class
        raise Uncountable(f"{keyword} cannot be read ({type(error).__name__})") from error
    return None if value == "" else value


def _number(header: FileDataset, keyword: str) -> int | None:
    """A whole number that fits the value representation of its attribute."""
    value = _value(header, keyword)
    if value is None:
        return None
    vr, most = _NUMBERS[keyword]
    is_text = isinstance(value, str) and len(value) <= len(str(most)) and value.strip().isdecimal()
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not (is_text or is_whole) or not 0 <= int(value) <= most:
        raise Uncountable(f"{keyword} is no number from 0 to {most} ({vr})")
    return int(value)


def _text(header: FileDataset, keyword: str) -> str:
    """One short text; what else may stand there (a patient in a sequence, megabytes) is refused."""
    value = _value(header, keyword)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise Uncountable(f"{keyword} is no text of up to {_LONGEST_TEXT} characters")
    return str(value)


def _uid(header: FileDataset, keyword: str) -> str:
    value = _value(header, keyword)
    if value is None:
        return ""
    if not isinstance(value, str) or not _UID.fullmatch(value):
        raise Uncountable(f"{keyword} is no UID")
    return str(value)


def _term(value: object, defined: set[str]) -> str:
    return str(value) if value in defined else _OTHER
