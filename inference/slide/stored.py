"""The coded bytes of frames, read by position: several threads read at once, without a lock."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from wsidicom.errors import WsiDicomFileError  # type: ignore[import-untyped]  # without types

_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_HEADER = 8


class FrameBroken(Exception):
    """Why the bytes of a frame cannot be found, in our own words."""


class StoredFrames:
    """Frames of an image, or of a concatenation, by index over all parts.

    wsidicom finds where they are (offset tables, or a walk over the items); its own `read_frame`
    holds a lock while it reads.
    """

    def __init__(self, image_data: Any, is_encapsulated: bool, files: ExitStack) -> None:
        """`image_data` is a wsidicom.instance.WsiDicomImageData; descriptors close with `files`."""
        self._is_encapsulated = is_encapsulated
        self._readers: Sequence[Any] = image_data._readers  # wsidicom is pinned for this
        self._first = [int(reader.frame_offset) for reader in self._readers]
        self._descriptors = [_open(str(reader.filepath), files) for reader in self._readers]
        self._sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
        self._in_order: dict[int, bool] = {}

    def read(self, index: int) -> bytes | memoryview:
        """Coded bytes of a frame, its fragments joined (PS3.5 A.4).

        Raises FrameBroken where it has no place, the file ends before it does or its fragments do
        not follow each other, OSError where it cannot be read, and what wsidicom raises for a
        broken offset table.
        """
        part = bisect_right(self._first, index) - 1
        try:
            places = self._readers[part].frame_index
            position, length = places[index - self._first[part]]
            if not self._are_in_order(part, places):
                raise FrameBroken(
                    "the offset table does not give each frame a place of its own, after the one "
                    "before"
                )
        except WsiDicomFileError:  # its text names the file
            raise FrameBroken(
                "the offset table and the fragments of the pixel data do not give a place to each "
                "frame; one without data has none"
            ) from None
        if not self._is_encapsulated:
            return self._bytes(part, position, length)
        # With the length of its first item in front: a frame in several fragments is longer.
        found = self._bytes(part, position - 4, length + 4)
        if int.from_bytes(found[:4], "little") >= length:
            is_last = index + 1 - self._first[part] == len(self._readers[part].frame_index)
            rest = self._fragments_from(part, position + length) if is_last else b""
            return bytes(found[4:]) + rest if rest else memoryview(found)[4:]
        return _joined(self._bytes(part, position - _ITEM_HEADER, length + _ITEM_HEADER))

    def _are_in_order(self, part: int, places: Iterable[tuple[int, int]]) -> bool:
        """Whether the frames of a part follow each other in the file (PS3.5 A.4, PS3.3
        C.7.6.3.1.8); asked once, since a table that errs in one place is no table."""
        if part not in self._in_order:
            found = np.array(list(places), np.int64).reshape(-1, 2)
            ends = found[:-1].sum(1)
            self._in_order[part] = bool((found[1:, 0] >= ends).all())
        return self._in_order[part]

    def _fragments_from(self, part: int, position: int) -> bytes:
        """The values of items from here to the end of the pixel data: no offset table says how far
        the last frame goes, and wsidicom gives its first fragment."""
        values = []
        while (header := os.pread(self._descriptors[part], _ITEM_HEADER, position))[:4] == _ITEM:
            length = int.from_bytes(header[4:], "little")
            values.append(self._bytes(part, position + _ITEM_HEADER, length))
            position += _ITEM_HEADER + length
        return b"".join(values)

    def _bytes(self, part: int, position: int, length: int) -> bytes:
        # Asked before: an offset table can say any place, and any length is allocated first.
        there = min(length, self._sizes[part] - position)
        if length < 0 or position < 0 or there < length:
            raise FrameBroken(f"found {max(there, 0)} of {length} bytes: the file ends early")
        found = os.pread(self._descriptors[part], length, position)
        if len(found) < length:
            raise FrameBroken(f"found {len(found)} of {length} bytes: the file ends early")
        return found


def _open(path: str, files: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    files.callback(os.close, descriptor)
    return descriptor


def _joined(items: bytes) -> bytes:
    """The values of a row of items, without their headers."""
    parts, at = [], 0
    while at < len(items):
        if items[at : at + 4] != _ITEM:
            raise FrameBroken("found no item where the next fragment should begin")
        length = int.from_bytes(items[at + 4 : at + _ITEM_HEADER], "little")
        at += _ITEM_HEADER
        parts.append(items[at : at + length])
        at += length
    return b"".join(parts)
