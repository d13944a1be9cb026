"""How many frames a file really holds, without decoding any."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.tag import Tag

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.attributes import BadValue, value
from inference.slide.headers import ImageHeader
from inference.slide.outline import read_before_pixels

COUNTED_BY = (Tag("ExtendedOffsetTable"), Tag("PhotometricInterpretation"))
"""Attributes to read for `count_frames` besides those of the header."""
_UNDEFINED_LENGTH = 0xFFFFFFFF


def frames_beside(path: Path, header: ImageHeader) -> int:
    """Frames in the file of a label or the like; 0 where they cannot be counted. Raises OSError for
    a file that cannot be read now."""
    try:
        with path.open("rb") as file:
            dataset = read_before_pixels(file, COUNTED_BY)
            return count_frames(file, dataset, header)
    except (BadValue, *MALFORMED) as error:
        if is_of_the_machine(error):
            raise
        return 0


def count_frames(file: BinaryIO, dataset: FileDataset, header: ImageHeader) -> int:
    """Frames whose bytes are in the file, whose position is at the Pixel Data element.

    Raises BadValue, and what pydicom raises.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_deflated:
        return header.frames  # inflating to count would cost memory; the decoder will tell
    length = _pixel_data_length(file, explicit=not syntax.is_implicit_VR)
    if length is None:
        return 0
    if length == _UNDEFINED_LENGTH:
        return _count_encapsulated(file, dataset, header)
    samples = header.samples or 1
    if samples == 3 and value(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2  # one pair of chroma for two pixels (PS3.3 C.7.6.3.1.2)
    bits = header.frame_rows * header.frame_cols * samples * (header.bits_allocated or 8)
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
