"""How many frames a file really holds, without decoding any."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.encaps import parse_basic_offsets
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.attributes import BadValue, value
from inference.slide.budget import name_of
from inference.slide.claims.places import end_of_groups
from inference.slide.headers import ImageHeader

COUNTED_BY = (Tag("ExtendedOffsetTable"), Tag("PhotometricInterpretation"))
"""Attributes to read for `count_frames` besides those of the header."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PER_FRAME_GROUPS, _PIXELS = 0x52009230, 0x7FE00008
_ITEM, _END_OF_SEQUENCE = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_FEW_FRAGMENTS, _MOST_A_FRAME = 1 << 20, 4
"""A file of a few megabytes can hold a million empty fragments; this takes two seconds to count."""


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
    try:
        basic = parse_basic_offsets(file)
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        raise BadValue("the Basic Offset Table of PixelData cannot be read as DICOM") from None
    fragments = _count_fragments(file, max(_FEW_FRAGMENTS, _MOST_A_FRAME * header.frames))
    extended = value(dataset, "ExtendedOffsetTable")
    if extended is not None and not isinstance(extended, bytes):
        raise BadValue("ExtendedOffsetTable is no string of bytes")
    table = len(extended) // 8 if extended else len(basic)
    # Without a table, more fragments than frames means frames of several fragments.
    return min(table or header.frames, fragments)


def _count_fragments(file: BinaryIO, most: int) -> int:
    """Items of encapsulated Pixel Data from the file's position on; 0 where they are cut off:
    nothing in such a file can be trusted to be complete. Raises BadValue for more than `most`."""
    count = 0
    while len(head := file.read(8)) >= 4 and head[:4] != _END_OF_SEQUENCE:
        if head[:4] != _ITEM or len(head) < 8:
            return 0
        length = int.from_bytes(head[4:], "little")
        if length == _UNDEFINED_LENGTH:
            return 0
        count += 1
        if count > most:
            raise BadValue(f"PixelData holds more than {most} fragments")
        file.seek(length, 1)
    return count


def read_before_pixels(file: BinaryIO, tags: Sequence[BaseTag]) -> FileDataset:
    """These attributes of a file, whose position then is at its pixel data, or its end.

    The per-frame functional groups are passed over: pydicom would build hundreds of thousands of
    items to skip them. Raises BadValue, which names where the file cannot be read any further.
    """
    seen = _Until(_PER_FRAME_GROUPS)
    try:
        header = read_partial(file, stop_when=seen, specific_tags=[*tags])
        if header.file_meta.TransferSyntaxUID.is_deflated:
            return header  # of which `file` is not
        implicit, little = header.original_encoding
        file.seek(end_of_groups(file, file.tell(), bool(implicit)))
        seen.stop = _PIXELS
        rest = read_dataset(
            file, bool(implicit), bool(little), stop_when=seen, specific_tags=[*tags]
        )
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        raise BadValue(f"{seen.place} cannot be read as DICOM") from None
    header.update(rest)
    return header


class _Until:
    """Stops a parser in front of a tag, and knows how far it has come at the top level."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self._last: int | None = None

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if int(tag) >= self.stop:
            return True
        self._last = int(tag)
        return False

    @property
    def place(self) -> str:
        """For people: where an error is that ended the parser."""
        if self._last is None:
            return "the beginning of the dataset"
        return f"{name_of(self._last)}, or what follows it,"
