"""Association requests with something wrong in them, by number: the same number, the same bytes."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from conformance.wire import pdus
from conformance.wire.pdus import Context, item, user_information

ITEMS_AT = 74
_CLASSES = ("1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.20.1", "1.2.3")
_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50")


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is sent, and what happens to the sending side of the connection then."""

    data: bytes
    is_shut: bool
    """Whether our half is closed after the last byte."""


def mutant(number: int, *, calling: str, called: str) -> Mutant:
    """One request, changed in one to six ways; in some of them still a good one."""
    draw = random.Random(number)
    data = _request(draw, calling, called)
    for _ in range(draw.randint(1, 6)):
        data = draw.choice(_CHANGES)(draw, data)
    if draw.random() < 0.2:
        data = data[: draw.randrange(len(data) + 1)]
    if draw.random() < 0.2:
        data += draw.choice((pdus.release_rq(), pdus.abort(), draw.randbytes(300), data))
    return Mutant(data[: 300 << 10], draw.random() < 0.5)


def _request(draw: random.Random, calling: str, called: str) -> bytes:
    contexts = [
        Context(2 * n + 1, draw.choice(_CLASSES), tuple(draw.sample(_SYNTAXES, draw.randint(1, 3))))
        for n in range(draw.choice((1, 1, 2, 8, 128)))
    ]
    uid = draw.choice(_CLASSES).encode()
    further = (
        item(0x53, struct.pack(">HH", draw.randrange(4), draw.randrange(4))),
        item(0x54, struct.pack(">H", len(uid)) + uid + bytes([draw.randrange(2), 1])),
        item(0x56, struct.pack(">H", len(uid)) + uid + b"\1\2"),
        item(0x57, struct.pack(">H", len(uid)) + uid + bytes(4)),
        item(0x58, b"\1\0\0\3abc\0\0"),
    )
    user = user_information(*draw.sample(further, draw.randint(0, 3)))
    return pdus.associate_rq(called=called, calling=calling, contexts=contexts, user=user)


def _flipped(draw: random.Random, data: bytes) -> bytes:
    """A byte changed, anywhere but in the titles: those who are not known are refused at once."""
    places = [at for at in range(min(len(data), 2000)) if not 10 <= at < 42]
    if not places:
        return data
    at = draw.choice(places)
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _flipped_anywhere(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) or 1)
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _of_other_length(draw: random.Random, data: bytes) -> bytes:
    """The length of the PDU is not that of its bytes."""
    length = draw.choice((0, 1, 67, 68, len(data) - 7, len(data) - 5, 256 << 10, 2**31, 2**32 - 1))
    return data[:2] + struct.pack(">L", max(0, length)) + data[6:]


def _of_other_item_length(draw: random.Random, data: bytes) -> bytes:
    starts = _starts(data)
    if not starts:
        return data
    at = draw.choice(starts) + 2
    length = draw.choice((0, 1, 3, 4, 200, 0x7FFF, 0xFFFF))
    return data[:at] + struct.pack(">H", length) + data[at + 2 :]


def _with_another_item(draw: random.Random, data: bytes) -> bytes:
    """Between two items, one of any type and content; the length of the PDU is right again."""
    starts = _starts(data)
    if not starts:
        return data
    at = draw.choice(starts)
    content = draw.randbytes(draw.choice((0, 1, 4, 64, 5000)))
    more = item(draw.randrange(256), content) * draw.choice((1, 1, 2, 40))
    return _fitted(data[:at] + more + data[at:])


def _without_an_item(draw: random.Random, data: bytes) -> bytes:
    starts = _starts(data)
    if not starts:
        return data
    at = draw.choice(starts)
    end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    return _fitted(data[:at] + data[end:])


def _swapped(draw: random.Random, data: bytes) -> bytes:
    """The items in another order."""
    starts = [*_starts(data), len(data)]
    items = [data[a:b] for a, b in itertools.pairwise(starts)]
    draw.shuffle(items)
    return data[: starts[0]] + b"".join(items)


def _fitted(data: bytes) -> bytes:
    return data[:2] + struct.pack(">L", max(0, len(data) - 6)) + data[6:]


def _starts(data: bytes) -> list[int]:
    """Where items begin, as far as their lengths can be followed."""
    found, at = [], ITEMS_AT
    while at + 4 <= len(data):
        found.append(at)
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flipped,
    _flipped,
    _flipped_anywhere,
    _of_other_length,
    _of_other_item_length,
    _with_another_item,
    _with_another_item,
    _without_an_item,
    _swapped,
)
