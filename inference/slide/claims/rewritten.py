"""A file whose header is sound and not for wsidicom, read with a header written anew.

Public attributes as VR UN are legal (PS3.5 6.2.2), and common behind old archives. And a Planar
Configuration of 1 says nothing of coded frames, whose coding orders the samples (PS3.5 8.2), yet
some writers state it. wsidicom is given a stream with another header in front of the same pixels.
"""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.uid import UID, ExplicitVRLittleEndian

from inference.slide.claims.places import end_of_groups
from inference.slide.headers import read_front


def needs_rewriting(path: Path) -> bool:
    """Whether the header has a public attribute whose VR its writer did not know, or the order of
    samples that only native pixels have."""
    header, _ = read_front(path, "The file")
    if _is_encapsulated(header) and header.get("PlanarConfiguration"):
        return True
    elements = (header.get_item(tag) for tag in header.keys())  # noqa: SIM118 - values stay raw
    return any(
        isinstance(e, RawDataElement) and e.VR == "UN" and not e.tag.is_private for e in elements
    )


class RewrittenFile(io.RawIOBase):
    """The file with its header written anew, without per-frame groups; read-only."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and what pydicom raises for what cannot be written."""
        self.path = path
        header, end = read_front(path, "The file")
        self._front = _written(header)
        self._file = path.open("rb")
        self._tail = end_of_groups(self._file, end, bool(header.is_implicit_VR))
        self._size = len(self._front) + path.stat().st_size - self._tail
        self._at = 0

    @property
    def shift(self) -> int:
        """A place in this stream, less this, is the place in the file."""
        return len(self._front) - self._tail

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Bytes of the header, or of the file behind it."""
        wanted = len(buffer)
        if self._at < len(self._front):
            found = self._front[self._at : self._at + wanted]
        else:
            self._file.seek(self._at - self.shift)
            found = self._file.read(wanted)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        self._file.close()
        super().close()


class Shifted:
    """wsidicom's reader of a RewrittenFile, with the places of frames in the file itself."""

    def __init__(self, reader: Any, file: RewrittenFile) -> None:
        self._reader = reader
        self._shift = file.shift
        self.filepath = file.path
        self.frame_offset = int(reader.frame_offset)

    @property
    def frame_index(self) -> Shifted:
        """Position and length by frame."""
        return self

    def __len__(self) -> int:
        return len(self._reader.frame_index)

    def __getitem__(self, n: int) -> tuple[int, int]:
        position, length = self._reader.frame_index[n]
        return int(position) - self._shift, int(length)


def _written(header: Dataset) -> bytes:
    """Preamble, file meta information and header as explicit VR, every attribute of its own VR."""
    clean = Dataset()
    for element in header:
        clean.add(deepcopy(element))
    clean.file_meta = deepcopy(header.file_meta)
    if _is_encapsulated(header) and "PlanarConfiguration" in clean:
        clean.PlanarConfiguration = 0
    file = io.BytesIO()
    syntax = header.file_meta.TransferSyntaxUID
    clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_implicit_VR else syntax
    dcmwrite(file, clean, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return file.getvalue()


def _is_encapsulated(header: Dataset) -> bool:
    return bool(UID(str(header.file_meta.TransferSyntaxUID)).is_encapsulated)
