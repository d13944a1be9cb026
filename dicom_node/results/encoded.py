"""An object as it is written, encoded once, with whatever stands in the places of its own UIDs.

pydicom's writer begins again for every file, and at each sequence looks through all that is below
it. Here each element is encoded once, by pydicom; only the few that are still to change, and the
lengths of the sequences around them, are written again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (
    struct.pack("<HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD)
)
_NO_LENGTH = struct.pack("<L", 0)
_OFTEN_ALIKE = {"CS", "LO", "SH", "UI"}
_LAST_GROUP_WITH_LENGTH = 6
"""Lengths of later groups are retired (PS3.5 7.2)."""


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a sequence in which something is still to change."""

    parts: list[_Part]
    ends_by_mark: bool


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A sequence in which something is still to change."""

    element: DataElement
    items: list[_Item]


_Part = bytes | DataElement | _Sequence


class Encoded:
    """The encoding of an object (PS3.5 7.1, Explicit VR Little Endian, which all of ours have)."""

    def __init__(self, dataset: Dataset, is_open: Callable[[DataElement], bool]) -> None:
        """Elements that are open may change their values before the file is asked for; nothing
        else of `dataset` may. Raises ValueError for another transfer syntax."""
        syntax = UID(dataset.file_meta.TransferSyntaxUID)
        is_deflated = syntax == DeflatedExplicitVRLittleEndian
        if syntax.is_implicit_VR or not syntax.is_little_endian or is_deflated:
            raise ValueError(
                f"found the transfer syntax {syntax.name}, expected Explicit VR Little Endian or "
                "one that compresses pixels only"
            )
        if "PixelData" in dataset:
            dataset["PixelData"].is_undefined_length = syntax.is_compressed
        correct_ambiguous_vr(dataset, True)
        self._dataset = dataset
        self._is_open = is_open
        self.open: list[DataElement] = []
        """Elements that may change."""
        self._parts = self._parts_of(dataset, [default_encoding])

    def file(self) -> bytes:
        """The file (PS3.10 7.1), with what the open elements hold now."""
        head, bare, meta = BytesIO(), Dataset(), self._dataset.file_meta
        for keyword in ("SOPClassUID", "SOPInstanceUID"):  # pydicom takes them from the object
            if f"MediaStorage{keyword}" not in meta and keyword in self._dataset:
                setattr(meta, f"MediaStorage{keyword}", self._dataset[keyword].value)
        bare.file_meta = meta
        dcmwrite(head, bare, enforce_file_format=True)
        return head.getvalue() + b"".join(map(_joined, self._parts))

    def _parts_of(self, dataset: Dataset, encodings: list[str]) -> list[_Part]:
        """The elements of a dataset in their order; what is closed is encoded."""
        own = dataset.get("SpecificCharacterSet")
        encodings = convert_encodings(own) if own else encodings
        parts: list[_Part] = []
        closed = _stream()
        for element in _elements(dataset):
            part = self._part_of(element, encodings)
            if isinstance(part, bytes):
                closed.write(part)
            elif part is None:
                closed.write(_written(element, encodings))
            else:
                parts += [closed.getvalue(), part]
                closed = _stream()
        return [*parts, closed.getvalue()]

    def _part_of(self, element: DataElement, encodings: list[str]) -> _Part | None:
        """None for what the writer of elements takes as it is."""
        if element.VR == "SQ":
            items = [
                _Item(
                    self._parts_of(item, encodings),
                    bool(getattr(item, "is_undefined_length_sequence_item", False)),
                )
                for item in element.value or ()
            ]
            sequence = _Sequence(element, items)
            is_closed = all(len(item.parts) == 1 for item in items)
            return _joined(sequence) if is_closed else sequence
        if self._is_open(element):
            self.open.append(element)
            return element
        return None


def encoded(dataset: Dataset) -> bytes:
    """The file of an object as it is."""
    return Encoded(dataset, lambda element: False).file()


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset.elements():
        if element.tag.element or element.tag.group <= _LAST_GROUP_WITH_LENGTH:
            yield element if isinstance(element, DataElement) else dataset[element.tag]


def _written(element: DataElement, encodings: list[str]) -> bytes:
    """An element by itself. Most are names of codes, which come again and again."""
    if element.VR in _OFTEN_ALIKE and isinstance(element.value, str):
        return _known(element.tag, element.VR, element.value, tuple(encodings))
    stream = _stream()
    write_data_element(stream, element, encodings)
    return stream.getvalue()


@lru_cache(maxsize=2048)
def _known(tag: BaseTag, vr: str, value: str, encodings: tuple[str, ...]) -> bytes:
    stream = _stream()
    write_data_element(stream, DataElement(tag, vr, value, already_converted=True), list(encodings))
    return stream.getvalue()


def _joined(part: _Part) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, DataElement):
        return _written(part, [default_encoding])
    head = struct.pack("<HH2sH", part.element.tag.group, part.element.tag.element, b"SQ", 0)
    items = b"".join(map(_item, part.items))
    return head + _framed(items, _SEQUENCE_END, ends_by_mark=part.element.is_undefined_length)


def _item(item: _Item) -> bytes:
    return _ITEM + _framed(
        b"".join(map(_joined, item.parts)), _ITEM_END, ends_by_mark=item.ends_by_mark
    )


def _framed(content: bytes, end: bytes, *, ends_by_mark: bool) -> bytes:
    """A length and the content, or none and a mark behind it."""
    if ends_by_mark:
        return struct.pack("<L", _UNDEFINED) + content + end + _NO_LENGTH
    return struct.pack("<L", len(content)) + content


def _stream() -> DicomBytesIO:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    return stream
