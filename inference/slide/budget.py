"""How much a header may hold, looked at before any of it is parsed.

A header of two megabytes can hold 260,000 empty items, which take minutes to parse and copy. What
is more than any slide needs is refused by the name of its attribute. The look takes microseconds
an item and follows the lengths as pydicom does; what is malformed is left to the parser to refuse.
"""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

from pydicom.datadict import keyword_for_tag

MOST_ITEMS = 1 << 14
"""Of all sequences of a header, nested ones too, without those of the per-frame groups."""
MOST_ELEMENTS = 100_000
MOST_BYTES = 64 << 20
"""Of the values of a header, without the per-frame groups and the pixel data."""
MOST_ITEMS_A_FRAME = 64
"""In the per-frame functional groups; a sparse slide has about 4."""

Buffer = bytes | mmap.mmap

_UNDEFINED = 0xFFFFFFFF
_ITEM, _END_OF_SEQUENCE, _END_OF_ITEM = 0xFFFEE000, 0xFFFEE0DD, 0xFFFEE00D
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN"))
_LONG_VRS |= frozenset((b"UR", b"UT", b"UV"))
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_SEQUENCE_END_BYTES = b"\xfe\xff\xdd\xe0\0\0\0\0"
_PER_FRAME, _PIXELS = 0x52009230, 0x7FE00000
_NUMBER_OF_FRAMES, _TRANSFER_SYNTAX = 0x00280008, 0x00020010
_GROUPS_END = re.compile(rb"\xfe\xff\xdd\xe0\x00{4}(?=.[\x53-\x7f]|\xfc\xff)", re.DOTALL)
_NOT_FOLLOWED = (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2")
"""Deflated, and big endian: neither is received."""
_IMPLICIT = b"1.2.840.10008.1.2"
_CHUNK = 1 << 22
_MOST_FRAMES = 1 << 20


class TooMuch(Exception):
    """A header that holds more than any slide needs; the message names the attribute, no value."""


def require_bounded(path: Path) -> None:
    """Return for a file whose header is of a size to be parsed, or that is no DICOM file.

    Raises TooMuch, and OSError for a file that cannot be read now.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 140:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[128:132] != b"DICM":
                return
            meta = Walk(data, is_implicit=False)
            start = meta.top_level(132, 0x00030000)
            syntax = meta.seen.get(_TRANSFER_SYNTAX, b"").rstrip(b"\0 ")
            if syntax in _NOT_FOLLOWED:
                return
            walk = Walk(data, is_implicit=syntax == _IMPLICIT)
            walk.top_level(walk.per_frame(walk.top_level(start, _PER_FRAME)), _PIXELS)


class Walk:
    """One pass over the elements of a dataset, which counts and keeps nothing."""

    def __init__(self, data: Buffer, *, is_implicit: bool, most_items: int = MOST_ITEMS) -> None:
        self.seen: dict[int, bytes] = {}
        """Short values that the walk itself needs, by tag."""
        self._data = data
        self._is_implicit = is_implicit
        self._most_items = most_items
        self._items = self._elements = self._bytes = 0
        self._at_top = 0

    def top_level(self, at: int, stop: int) -> int:
        """From `at` to the first tag that is not below `stop`; where that is. Raises TooMuch."""
        end = len(self._data)
        while at + 8 <= end:
            tag, vr, length, value_at = self._head(at, self._is_implicit)
            if tag >= stop:
                return at
            self._at_top = tag
            self._count(length if length != _UNDEFINED else 0)
            if self._is_sequence(vr, length, value_at):
                at = self._sequence(vr, length, value_at)
            elif length == _UNDEFINED:
                found = self._data.find(_SEQUENCE_END_BYTES, value_at)
                at = end if found < 0 else found + len(_SEQUENCE_END_BYTES)
            else:
                if tag in (_NUMBER_OF_FRAMES, _TRANSFER_SYNTAX):
                    self.seen[tag] = self._data[value_at : value_at + min(length, 64)]
                at = value_at + length
        return min(at, end)

    def per_frame(self, at: int) -> int:
        """Behind the per-frame groups, if they begin at `at`. Raises TooMuch."""
        if at + 12 > len(self._data):
            return at
        tag, _, length, value_at = self._head(at, self._is_implicit)
        if tag != _PER_FRAME:
            return at
        end = min(value_at + length, len(self._data))
        if length == _UNDEFINED:
            found = _GROUPS_END.search(self._data, value_at)
            end = found.end() if found else len(self._data)
        text = self.seen.get(_NUMBER_OF_FRAMES, b"").strip(b"\0 ")
        frames = min(int(text), _MOST_FRAMES) if text.isdigit() and len(text) < 10 else 1
        most = MOST_ITEMS + frames * MOST_ITEMS_A_FRAME
        items, chunk_at = 0, value_at
        while chunk_at < end and items <= most:
            items += self._data[chunk_at : min(chunk_at + _CHUNK, end)].count(_ITEM_BYTES)
            chunk_at += _CHUNK
        if items > most:
            raise TooMuch(
                f"PerFrameFunctionalGroupsSequence holds more than {most} items, expected at most "
                f"{MOST_ITEMS_A_FRAME} a frame"
            )
        return end

    def _sequence(self, vr: bytes, length: int, at: int) -> int:
        """Behind a sequence whose content begins at `at`: one flat pass over all levels of it."""
        end = len(self._data) if length == _UNDEFINED else min(at + length, len(self._data))
        # One entry for each open sequence of undefined length: whether its content is implicit VR.
        implicit = [self._is_implicit or vr == b"UN"]
        while at + 8 <= end:
            tag, vr, length, value_at = self._head(at, implicit[-1])
            if tag == _ITEM:
                self._items += 1
                if self._items > self._most_items:
                    raise self._too_much(f"{self._most_items} items")
                at = value_at
            elif tag == _END_OF_ITEM:
                at = value_at
            elif tag == _END_OF_SEQUENCE:
                at = value_at
                implicit.pop()
                if not implicit:
                    return at
            elif self._is_sequence(vr, length, value_at) or length == _UNDEFINED:
                self._count(0)
                at = value_at
                if length == _UNDEFINED:
                    implicit.append(implicit[-1] or vr == b"UN")
            else:
                self._count(0)
                at = value_at + length
        return end

    def _head(self, at: int, is_implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where implicit), length, and where the value begins."""
        raw = self._data[at : at + 12]
        tag = int.from_bytes(raw[:2], "little") << 16 | int.from_bytes(raw[2:4], "little")
        vr = raw[4:6]
        if is_implicit or tag >> 16 == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return tag, b"", int.from_bytes(raw[4:8], "little"), at + 8
        if vr in _LONG_VRS:
            return tag, vr, int.from_bytes(raw[8:12], "little"), at + 12
        return tag, vr, int.from_bytes(raw[6:8], "little"), at + 8

    def _is_sequence(self, vr: bytes, length: int, value_at: int) -> bool:
        if vr == b"SQ":
            return True
        may_be = not vr or (vr == b"UN" and length == _UNDEFINED)
        return may_be and self._data[value_at : value_at + 4] == _ITEM_BYTES

    def _count(self, length: int) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise self._too_much(f"{MOST_ELEMENTS} elements")
        left = len(self._data)
        self._bytes += min(length, left)
        if self._bytes > MOST_BYTES:
            raise self._too_much(f"{MOST_BYTES >> 20} MiB")

    def _too_much(self, most: str) -> TooMuch:
        return TooMuch(f"the header holds more than {most}, which {name_of(self._at_top)} exceeds")


def name_of(tag: int) -> str:
    """How people are told of an element: its keyword, or where it has none, its tag."""
    return keyword_for_tag(tag) or f"element ({tag >> 16:04X},{tag & 0xFFFF:04X})"
