"""Octets to text: what the header states, and marks for octets that it does not explain.

A mark is U+FFFD and two hexadecimal digits, one for each octet. PS3.5 6.1.2.3 suggests `\\nnn`, but
a backslash separates values, and a mark must not be mistaken for text; without the digits, two
names or identifiers that differ would look alike.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import cache, lru_cache

from inference.slide.characters.sets import ASCII, ROMAJI, Coded, Stated

MARK = "\N{REPLACEMENT CHARACTER}"
_MARKS = re.compile(f"(?:{MARK}[0-9A-F]{{2}})+")
_ESC = 0x1B
_ENDS = b"\t\n\f\r"
"""Controls that a text may hold; at each the sets of its begin hold again (PS3.5 6.1.2.5.3)."""
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_PLAIN = re.compile(rb"[\t\n\f\r -~]*")
_OF_ROMAJI = {0x5C: "¥", 0x7E: "‾"}
"""What ISO-IR 14 has in the place of two characters of ASCII."""


def decode(octets: bytes, by: Stated, delimiters: bytes = b"") -> str:
    """The text, with a mark for each octet that the stated sets do not explain.

    At `delimiters` the sets of the begin hold again; they are told from second octets of characters
    of two, which may look like them. Nothing is raised.
    """
    if by.whole:
        text = octets.decode(by.whole, _marking())
        return _CONTROLS.sub(lambda found: marked(found[0].encode(by.whole)), text)
    if by.left is ASCII and _PLAIN.fullmatch(octets):
        return octets.decode("ascii")
    return "".join(_extended(octets, by, delimiters))


def marked(octets: bytes) -> str:
    """How octets are shown that are no text."""
    return "".join(f"{MARK}{octet:02X}" for octet in octets)


def has_marks(text: str) -> bool:
    """Whether there is something in a text that could not be decoded."""
    return MARK in text


def shortened(text: str, limit: int) -> str:
    """The text where it has room; else each run of marks as one, without digits: what was as short
    as the standard wants is never longer."""
    return text if len(text) <= limit else _MARKS.sub(MARK, text)


def _extended(octets: bytes, by: Stated, delimiters: bytes) -> Iterator[str]:
    """Parts of a text with code extensions (ISO 2022 in PS3.5 6.1.2.5)."""
    left, right, at = by.left, by.right, 0
    while at < len(octets):
        octet = octets[at]
        called = _designated(octets, at, by) if octet == _ESC else None
        if called is not None:
            left, right = (left, called) if called.is_right else (called, right)
            at += 1 + len(called.escape)
        elif octet in _ENDS or (octet in delimiters and left.width == 1):
            left, right = by.left, by.right
            yield chr(octet)
            at += 1
        else:
            text, used = _first(octets[at : at + 2], right if octet >= 0x80 else left)
            yield text
            at += used


def _designated(octets: bytes, at: int, by: Stated) -> Coded | None:
    """The set that an escape sequence designates, if the header states it."""
    return next((one for one in by.sets if octets.startswith(one.escape, at + 1)), None)


@lru_cache(maxsize=4096)
def _first(octets: bytes, current: Coded | None) -> tuple[str, int]:
    """The character, or the marks, with which one or two octets begin; and of how many it is."""
    octet = octets[0]
    if octet == ord(" "):  # of any set
        return " ", 1
    if current is None or octet & 0x7F < 0x20 or octet == 0x7F:
        return marked(octets[:1]), 1
    if current is ROMAJI and octet in _OF_ROMAJI:
        return _OF_ROMAJI[octet], 1
    half = 0x80 if current.is_right else 0
    own = octets[: current.width]
    if current.width == 2 and not (
        len(own) == 2 and all(0x21 <= one - half <= 0x7E for one in own)
    ):
        return marked(octets[:1]), 1
    wanted = own if current.width == 1 else bytes(one | 0x80 for one in own)
    try:
        return (current.prefix + wanted).decode(current.codec), len(own)
    except UnicodeDecodeError:
        return marked(own), len(own)


@cache
def _marking() -> str:
    """Name of the error handler that leaves marks, known to Python from the first call on."""

    def mark(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return marked(error.object[error.start : error.end]), error.end

    codecs.register_error("dicom_node.marks", mark)
    return "dicom_node.marks"
