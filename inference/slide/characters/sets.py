"""Character sets of DICOM (PS3.3 C.12.1.1.2), and which of them a header states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Coded:
    """One set of graphic characters, in a form that code extensions invoke (ISO 2022)."""

    codec: str
    """Python's codec. Of a set of one byte, for octets from A0; of two, for both with bit 8 set."""
    escape: bytes
    """The octets after ESC that designate it (PS3.3 tables C.12-3, C.12-4)."""
    is_right: bool
    """Whether it is G1, octets with bit 8 set; else G0."""
    width: int = 1
    """Octets of a character."""
    prefix: bytes = b""
    """What the codec wants in front of a character."""


def _of_one_byte(codec: str, final: bytes) -> Coded:
    return Coded(codec, b"-" + final, is_right=True)


ASCII = Coded("ascii", b"(B", is_right=False)
ROMAJI = Coded("ascii", b"(J", is_right=False)
"""ISO-IR 14: ASCII but for two characters, see `decoding`."""
KATAKANA = Coded("shift_jis", b")I", is_right=True)
_KANJI = Coded("euc_jp", b"$B", is_right=False, width=2)
_SUPPLEMENTARY_KANJI = Coded("euc_jp", b"$(D", is_right=False, width=2, prefix=b"\x8f")
_KOREAN = Coded("euc_kr", b"$)C", is_right=True, width=2)
_CHINESE = Coded("gb2312", b"$)A", is_right=True, width=2)

_BY_NUMBER: dict[str, tuple[Coded, ...]] = {
    "6": (ASCII,),
    "13": (ROMAJI, KATAKANA),
    "58": (_CHINESE,),
    "87": (_KANJI, ROMAJI),
    "100": (_of_one_byte("iso8859_1", b"A"),),
    "101": (_of_one_byte("iso8859_2", b"B"),),
    "109": (_of_one_byte("iso8859_3", b"C"),),
    "110": (_of_one_byte("iso8859_4", b"D"),),
    "126": (_of_one_byte("iso8859_7", b"F"),),
    "127": (_of_one_byte("iso8859_6", b"G"),),
    "138": (_of_one_byte("iso8859_8", b"H"),),
    "144": (_of_one_byte("iso8859_5", b"L"),),
    "148": (_of_one_byte("iso8859_9", b"M"),),
    "149": (_KOREAN,),
    "159": (_SUPPLEMENTARY_KANJI, ROMAJI),
    "166": (_of_one_byte("iso8859_11", b"T"),),
    "203": (_of_one_byte("iso8859_15", b"b"),),
}
"""By number of the registration. Those of kanji bring ISO-IR 14 along, to which many writers return
from them without stating it."""
_WHOLE = {"192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Encodings that stand alone, without code extensions (PS3.5 6.1.2.5.4 d)."""
_NAME = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?([0-9]+)")
"""Defined terms, and what devices make of the space and the underscore in them."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a header says its texts are written in."""

    whole: str = ""
    """Codec of an encoding that stands alone; then nothing else counts."""
    left: Coded = ASCII
    """G0 at the begin of a text."""
    right: Coded | None = None
    """G1 at the begin of a text, where the header leaves no choice."""
    sets: tuple[Coded, ...] = (ASCII,)
    """All that an escape sequence may designate."""


def stated(values: Sequence[str]) -> Stated:
    """What the values of Specific Character Set (0008,0005) say; the default repertoire (ISO-IR 6)
    where there are none, and in the place of what is no term of the standard."""
    return _stated(tuple(value.strip(" \0").upper() for value in values))


@lru_cache(maxsize=64)
def _stated(terms: tuple[str, ...]) -> Stated:
    numbers = [_number(term) for term in terms] or ["6"]
    if numbers[0] in _WHOLE:
        return Stated(whole=_WHOLE[numbers[0]])
    named = [_BY_NUMBER.get(number, ()) for number in numbers]
    sets = tuple(dict.fromkeys((ASCII, *(one for group in named for one in group))))
    left = ROMAJI if numbers[0] == "13" else ASCII
    first = [one for one in named[0] if one.is_right]
    # Writers leave the escape sequence out where the header names one set only that it could be.
    right = first or [one for one in sets if one.is_right]
    return Stated(left=left, right=right[0] if len(right) == 1 else None, sets=sets)


def _number(term: str) -> str:
    found = _NAME.fullmatch(term)
    return found[1] if found else term or "6"
