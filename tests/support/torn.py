"""Mutants of one instance, in its bytes: each a function of its number, which replays it.

They are sent as they are: no library would write them. A mutant keeps the UIDs of the command in
its file meta, so that what is refused is refused for its dataset.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from poison import dataset_bytes, write_raw
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit
from tiny_slides import noise, write_level

_STUDY, _INSTANCE = b"\x20\x00\x0d\x00UI", b"\x08\x00\x18\x00UI"
_PIXELS = b"\xe0\x7f\x10\x00"
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
_VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UC UI UL UN UR US UT UV "
    b"ZZ ?? \0\0"
).split(b" ")
_LENGTHS = (0, 1, 2, 3, 7, 0x7FFF, 0xFFFE, 0xFFFF)
_LONG_LENGTHS = (0, 1, 5, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_VALUES = (
    b"9" * 400, b"-1", b"NaN", b"inf", b"1e308", b"1e-320", b"0x10", b"\\" * 300, b"\\1" * 4000,
    b"\x1b[2J\x1b]0;x\x07", b"\xff\xfe\xfd\xfc", b"\x1b$B\x1b(J", b"\0" * 64, b"A" * 5000,
    b"../../etc/passwd",
    b"2026-13-45", b"%s%n{}$(id)`id`", b"\xe0\x7f\x10\x00" * 8, "ZZPLANT\u202e".encode(), b" ", b"",
)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """Where one element of the top level is."""

    start: int
    value: int
    end: int
    is_long: bool


Change = Callable[[bytes, Sequence[Element], random.Random], bytes]


def mutant(number: int, bases: Sequence[Path], folder: Path) -> Path:
    """The mutant of that number, as a file of a study of its own."""
    chance = random.Random(number)
    base = chance.choice(bases)
    uids = dcmread(base, stop_before_pixels=True)
    dataset = dataset_bytes(base)
    dataset = dataset.replace(*_renamed(str(uids.StudyInstanceUID), number))
    old, new = _renamed(str(uids.SOPInstanceUID), number)
    dataset = dataset.replace(old, new)
    for _ in range(chance.choices((1, 2, 4), (70, 20, 10))[0]):
        change = chance.choice(_CHANGES)
        found = elements(dataset)
        if found:
            dataset = change(dataset, found, chance)
    return write_raw(folder / f"{number}.dcm", dataset, new.decode())


def elements(dataset: bytes) -> list[Element]:
    """Elements in front of the pixels, explicit VR; as far as their lengths lead."""
    found, at = [], 0
    while at + 12 <= len(dataset) and dataset[at : at + 4] != _PIXELS:
        is_long = dataset[at + 4 : at + 6] in _LONG
        value = at + (12 if is_long else 8)
        length = int.from_bytes(dataset[value - 4 : value] if is_long else dataset[at + 6 : value],
                                "little")  # fmt: skip
        if length == 0xFFFFFFFF:
            end = dataset.find(b"\xfe\xff\xdd\xe0\0\0\0\0", value)
            length = len(dataset) - value if end < 0 else end + 8 - value
        found.append(Element(at, value, min(value + length, len(dataset)), is_long))
        at = value + length
    return found


def _renamed(uid: str, number: int) -> tuple[bytes, bytes]:
    """A UID, and another of the same length."""
    chance = random.Random(f"{uid}/{number}")
    digits = "".join(str(chance.randrange(10)) for _ in range(len(uid) - 9))
    return uid.encode(), f"1.2.826.1{digits}".encode()


def _flip_header(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        changed[chance.randrange(found[-1].end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _flip_anywhere(data: bytes, _found: Sequence[Element], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 5, 200))):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def _cut(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    return data[: chance.randrange(found[-1].end if chance.random() < 0.5 else len(data))]


def _other_vr(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    at = chance.choice(found).start
    return data[: at + 4] + chance.choice(_VRS).ljust(2)[:2] + data[at + 6 :]


def _other_length(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    one = chance.choice(found)
    width = 4 if one.is_long else 2
    length = chance.choice(_LONG_LENGTHS if one.is_long else _LENGTHS)
    return data[: one.value - width] + length.to_bytes(width, "little") + data[one.value :]


def _other_value(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    one, value = chance.choice(found), chance.choice(_VALUES)
    head = data[one.start : one.start + 4]
    vr = data[one.start + 4 : one.start + 6]
    if len(value) > 0xFFFE or chance.random() < 0.3:
        vr = chance.choice((b"UT", b"UN"))
    value += b" " * (len(value) % 2)
    width = "<HI" if vr in _LONG else "<H"
    length = struct.pack(width, *([0] if vr in _LONG else []), len(value))
    return data[: one.start] + head + vr + length + value + data[one.end :]


def _dropped(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    one = chance.choice(found)
    return data[: one.start] + data[one.end :]


def _doubled(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    one, other = chance.choice(found), chance.choice(found)
    return data[: other.start] + data[one.start : one.end] + data[other.start :]


def _other_tag(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    at = chance.choice(found).start
    tag = chance.choice((b"\x09\x00\x10\x10", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\x08\x00\0\0",
                         b"\xfc\xff\xfc\xff", _PIXELS, chance.randbytes(4)))  # fmt: skip
    return data[:at] + tag + data[at + 4 :]


def _nested(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    """Sequences in sequences, with ends or without, or many empty items."""
    at = chance.choice(found).start
    head = chance.choice((b"\x40\x00\x60\x05SQ", b"\x08\x00\x05\x10SQ", b"\x09\x00\x10\x10UN"))
    opened = head + b"\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    depth = chance.choice((1, 3, 50, 400, 3000))
    if chance.random() < 0.3:
        items = b"\xfe\xff\x00\xe0\0\0\0\0" * (depth * 2)
        return data[:at] + opened[:12] + items + closed[8:] + data[at:]
    ends = closed * depth if chance.random() < 0.6 else b""
    return data[:at] + opened * depth + ends + data[at:]


def _fragments(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    """The pixel data: lengths of items, tables, thousands of empty fragments."""
    at = data.find(_PIXELS, found[-1].end)
    if at < 0:
        return data
    changed = bytearray(data)
    place = min(len(data) - 4, at + 12 + 4 * chance.randrange(6))
    changed[place : place + 4] = chance.choice(_LONG_LENGTHS).to_bytes(4, "little")
    if chance.random() < 0.3:
        return data[: at + 12] + b"\xfe\xff\x00\xe0\0\0\0\0" * chance.choice((1, 100, 20000))
    return bytes(changed)


def _noise(data: bytes, found: Sequence[Element], chance: random.Random) -> bytes:
    """Other bytes from somewhere on."""
    at = chance.choice(found).start
    return data[:at] + chance.randbytes(chance.choice((0, 10, 1000, 40000)))


_CHANGES: tuple[Change, ...] = (
    _flip_header, _flip_header, _flip_anywhere, _cut, _other_vr, _other_vr, _other_length,
    _other_length, _other_value, _other_value, _other_value, _dropped, _doubled, _other_tag,
    _nested, _fragments, _noise,
)  # fmt: skip


def bases(folder: Path) -> list[Path]:
    """Small sound images to tear, JPEG: tiles in order, tiles with places, a label."""
    pixels = noise(64, 96)
    return [
        write_level(folder / "full.dcm", pixels, syntax=JPEGBaseline8Bit),
        write_level(folder / "sparse.dcm", pixels, syntax=JPEGBaseline8Bit, absent=[(0, 0)]),
        write_level(folder / "label.dcm", pixels, syntax=JPEGBaseline8Bit, flavor="LABEL"),
    ]
