"""Where each frame says it lies: the per-frame functional groups, searched as bytes.

A slide can have 180,000 frames with a hundred bytes of groups each; pydicom would build every item.
The few attributes that matter are found by their tags instead, all frames at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.filereader import read_dataset

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.attributes import BadValue, decimal, first, items, whole

_TAG = b"\x00\x52\x30\x92"
"""(5200,9230) Per-Frame Functional Groups Sequence."""
_UNDEFINED = 0xFFFFFFFF
_CHUNK = 1 << 22
_MOST_BYTES_A_FRAME = 1 << 14
_MOST_FRAMES = 1 << 20
# Where a sequence of undefined length ends: its delimiter, and then an element of a later group
_END = re.compile(rb"\xfe\xff\xdd\xe0\x00{4}(?=.[\x53-\x7f]|\xfc\xff)", re.DOTALL)
# Column and row (0048,021E), (0048,021F) and, in front of them, Z offset (0040,074A) in an item of
# Plane Position (Slide) (PS3.3 C.8.12.6.1), by whether VRs are implicit
_COLUMN = {False: b"\x48\x00\x1e\x02SL\x04\x00", True: b"\x48\x00\x1e\x02\x04\x00\x00\x00"}
_ROW = {False: b"\x48\x00\x1f\x02SL\x04\x00", True: b"\x48\x00\x1f\x02\x04\x00\x00\x00"}
_Z = {False: b"\x40\x00\x4a\x07DS", True: b"\x40\x00\x4a\x07"}
_Z_LENGTH_AT = {False: 6, True: 4}
_HEAD = 8
"""Bytes of tag, VR and length of each of these."""
_SPACING = {False: rb"\x28\x00\x30\x00DS(..)", True: rb"\x28\x00\x30\x00(..)\x00\x00"}
_LONGEST_SPACING = 64

_Places: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Rows, columns and heights [F] of frames."""


@dataclass(frozen=True, slots=True, eq=False)
class FramePlaces:
    """What the frames of one file say of themselves, in frame order; fewer than frames where some
    do not say."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[F] 1-based row of the top left pixel in the total pixel matrix; none where no frame says."""
    cols: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    z_um: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """[F] NaN where a frame does not say."""
    spacings_mm: frozenset[tuple[float, ...]] = frozenset()
    """All values of Pixel Spacing that frames state."""


NOWHERE = FramePlaces()


def read_places(path: Path, at: int, header: Dataset, frames: int) -> FramePlaces:
    """Places of the `frames` of a file; `at` is where its header was left, at the groups or behind.

    Raises BadValue for what cannot be read, and OSError for a file that cannot be read now.
    """
    with path.open("rb") as file:
        file.seek(at)
        found = _groups(file, bool(header.is_implicit_VR), frames)
    if found is None:
        return _shared(header) if frames == 1 else NOWHERE
    data, is_implicit = found
    spacings = _spacings(data, is_implicit)
    if _COLUMN[is_implicit][:4] not in data:
        return FramePlaces(spacings_mm=spacings)
    places = _quickly(data, is_implicit, frames)
    if places is not None:
        return FramePlaces(*places, spacings)
    return _slowly(data, is_implicit, spacings)


def joined(parts: list[FramePlaces]) -> FramePlaces:
    """Places of all frames of a concatenation, its parts in order."""
    if len(parts) == 1:
        return parts[0]
    return FramePlaces(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.cols for part in parts]),
        np.concatenate([part.z_um for part in parts]),
        frozenset().union(*(part.spacings_mm for part in parts)),
    )


def end_of_groups(file: BinaryIO, at: int, is_implicit: bool) -> int:
    """Where in a file the element behind the per-frame groups begins; `at` where there are none."""
    file.seek(at)
    found = _groups(file, is_implicit, _MOST_FRAMES)
    if found is None:
        return at
    head = 8 if is_implicit else 12
    file.seek(at + head - 4)
    has_end = int.from_bytes(file.read(4), "little") == _UNDEFINED
    return at + head + len(found[0]) + (8 if has_end else 0)


def _groups(file: BinaryIO, is_implicit: bool, frames: int) -> tuple[bytes, bool] | None:
    """The bytes of the sequence, and whether they are implicit VR; None where there is none."""
    head = file.read(8)
    if head[:4] != _TAG:
        return None
    if is_implicit:
        length = int.from_bytes(head[4:8], "little")
    else:
        length = int.from_bytes(file.read(4), "little")
        is_implicit = head[4:6] == b"UN"  # PS3.5 6.2.2: then its content is implicit
    most = _CHUNK + frames * _MOST_BYTES_A_FRAME
    if length == _UNDEFINED:
        return _until_end(file, most), is_implicit
    return file.read(min(length, most)), is_implicit


def _until_end(file: BinaryIO, most: int) -> bytes:
    data = bytearray()
    while len(data) < most and (chunk := file.read(_CHUNK)):
        seen = max(0, len(data) - 16)
        data += chunk
        end = _END.search(data, seen)
        if end is not None:
            return bytes(data[: end.start()])
    raise BadValue("PerFrameFunctionalGroupsSequence has no end")


def _quickly(data: bytes, is_implicit: bool, frames: int) -> _Places | None:
    """Places of frames whose items are written as nearly all are; None for others."""
    at = _all_of(_COLUMN[is_implicit], data)
    if len(at) != frames or at[-1] + 2 * _HEAD + 8 > len(data):
        return None
    raw = np.frombuffer(data, np.uint8)
    heads = raw[at[:, None] + np.arange(_HEAD + 4, 2 * _HEAD + 4)]
    if bytes(heads[0]) != _ROW[is_implicit] or (heads != heads[0]).any():
        return None
    cols, rows = (
        raw[at[:, None] + np.arange(first, first + 4)].view("<i4")[:, 0].astype(np.int64)
        for first in (_HEAD, 2 * _HEAD + 4)
    )
    z_at = _all_of(_Z[is_implicit], data)
    if not len(z_at):
        return rows, cols, np.full(frames, np.nan)
    if len(z_at) != frames:
        return None
    lengths = raw[z_at + _Z_LENGTH_AT[is_implicit]]
    if (z_at + _HEAD + lengths != at).any():
        return None
    return rows, cols, _z_um(data, z_at + _HEAD, at)


def _all_of(pattern: bytes, data: bytes) -> NDArray[np.intp]:
    """Where a pattern of bytes occurs."""
    found, at = [], data.find(pattern)
    while at >= 0:
        found.append(at)
        at = data.find(pattern, at + len(pattern))
    return np.array(found, np.intp)


def _z_um(data: bytes, starts: NDArray[np.intp], stops: NDArray[np.intp]) -> NDArray[np.float64]:
    texts = [data[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    try:
        known = {text: float(text.strip(b"\0 ") or b"nan") for text in set(texts)}
    except ValueError:
        raise BadValue("ZOffsetInSlideCoordinateSystem is no number in some frame") from None
    return np.array([known[text] for text in texts])


def _spacings(data: bytes, is_implicit: bool) -> frozenset[tuple[float, ...]]:
    """Different values of Pixel Spacing in the bytes of the groups."""
    texts = set()
    for match in re.finditer(_SPACING[is_implicit], data, re.DOTALL):
        length = min(int.from_bytes(match[1], "little"), _LONGEST_SPACING)
        texts.add(data[match.end() : match.end() + length])
    try:
        return frozenset(tuple(float(v) for v in text.strip(b"\0 ").split(b"\\")) for text in texts)
    except ValueError:
        raise BadValue("PixelSpacing is no pair of numbers in some frame") from None


def _slowly(data: bytes, is_implicit: bool, spacings: frozenset[tuple[float, ...]]) -> FramePlaces:
    """The same by parsing every item: for groups that are written in an unusual way."""
    head = _TAG + (b"" if is_implicit else b"SQ\0\0") + b"\xff\xff\xff\xff"
    whole_sequence = BytesIO(head + data + b"\xfe\xff\xdd\xe0\0\0\0\0")
    try:
        groups = items(
            read_dataset(whole_sequence, is_implicit, True), "PerFrameFunctionalGroupsSequence"
        )
        positions = [first(group, "PlanePositionSlideSequence") for group in groups]
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        raise BadValue("PerFrameFunctionalGroupsSequence cannot be read") from None
    return FramePlaces(*_of_items([p for p in positions if len(p)]), spacings)


def _shared(header: Dataset) -> FramePlaces:
    """The place of the only frame, if the shared groups state it."""
    shared = first(header, "SharedFunctionalGroupsSequence")
    position = first(shared, "PlanePositionSlideSequence")
    return FramePlaces(*_of_items([position])) if len(position) else NOWHERE


def _of_items(positions: list[Dataset]) -> _Places:
    z_um = [decimal(position, "ZOffsetInSlideCoordinateSystem") for position in positions]
    return (
        np.array([whole(p, "RowPositionInTotalImagePixelMatrix") for p in positions], np.int64),
        np.array([whole(p, "ColumnPositionInTotalImagePixelMatrix") for p in positions], np.int64),
        np.array([np.nan if z is None else z for z in z_um], np.float64),
    )
