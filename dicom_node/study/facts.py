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
from pydicom.tag import Tag

from inference.slide.attributes import BadValue, value
from inference.slide.headers import TAGS, ImageHeader, parse

_TAGS = [*TAGS, Tag("ExtendedOffsetTable")]
_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Attributes that decide completeness, and the frames counted in the file."""

    header: ImageHeader
    frames_counted: int


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
    except BadValue as error:
        raise Uncountable(f"{file}: {error}") from None
    except Exception as error:  # whatever a malformed file makes the parser raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system; the parser's own have no number
        raise Uncountable(f"{file}: {type(error).__name__} while reading it") from error


def _read(path: Path) -> InstanceFacts:
    with path.open("rb") as file:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        header = parse(path, dataset)
        return InstanceFacts(header, _count_frames(file, dataset, header))


def _count_frames(file: BinaryIO, dataset: FileDataset, header: ImageHeader) -> int:
    """Frames whose bytes are in the file; the position is at the Pixel Data element."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_deflated:
        return header.frames  # inflating to count would cost memory; the decoder will tell
    length = _pixel_data_length(file, explicit=not syntax.is_implicit_VR)
    if length is None:
        return 0
    if length == _UNDEFINED_LENGTH:
        return _count_encapsulated(file, dataset, header)
    bits = header.frame_rows * header.frame_cols
    bits *= (header.samples or 1) * (header.bits_allocated or 8)
    start = file.tell()
    available = min(length, file.seek(0, 2) - start)
    return min(header.frames, available * 8 // bits) if bits else 0


def _pixel_data_length(file: BinaryIO, *, explicit: bool) -> int | None:
    """Value length of the element at the file's position, or None when it is not Pixel Data."""
    tag = file.read(4)
    if tag != b"\xe0\x7f\x10\x00":
        return None
    if explicit:
        file.read(4)
    raw = file.read(4)
    return int(struct.unpack("<I", raw)[0]) if len(raw) == 4 else None


def _count_encapsulated(file: BinaryIO, dataset: FileDataset, header: ImageHeader) -> int:
    """Frames of encapsulated Pixel Data (PS3.5 A.4) by offset table, bounded by its fragments."""
    basic = parse_basic_offsets(file)
    try:
        fragments, _ = parse_fragments(file)
    except ValueError:
        return 0  # the last item is cut off: nothing in this file can be trusted to be complete
    extended = value(dataset, "ExtendedOffsetTable")
    if extended is not None and not isinstance(extended, bytes):
        raise BadValue("ExtendedOffsetTable is no string of bytes")
    table = len(extended) // 8 if extended else len(basic)
    # Without a table, more fragments than frames means frames of several fragments.
    return min(table or header.frames, fragments)
