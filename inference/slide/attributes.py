"""One attribute of a header, or BadValue where what stands there is not of its kind or size.

A file can hold anything in the place of a number: megabytes, a patient in a sequence, a value whose
conversion raises. Whatever it is, BadValue names the attribute and quotes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydicom import Dataset
from pydicom.tag import BaseTag, Tag

_T = TypeVar("_T")

MOST_FRAMES = 1 << 23
"""Of one instance: 180,000 x 180,000 pixels in tiles of 64. An IS could say 256 times as many."""
_US, _UL = ("US", 2**16 - 1), ("UL", 2**32 - 1)
_NUMBERS = {
    "Rows": _US,
    "Columns": _US,
    "SamplesPerPixel": _US,
    "BitsAllocated": _US,
    "BitsStored": _US,
    "NumberOfFrames": ("IS", MOST_FRAMES),
    "TotalPixelMatrixRows": _UL,
    "TotalPixelMatrixColumns": _UL,
    "TotalPixelMatrixFocalPlanes": _UL,
    "NumberOfOpticalPaths": _UL,
    "InConcatenationNumber": _US,
    "InConcatenationTotalNumber": _US,
    "ConcatenationFrameOffsetNumber": _UL,
}
"""Value representation (PS3.6) and the largest value it holds (PS3.5 6.2)."""
_UID = re.compile(r"[0-9.]{1,64}")
_LONGEST_TEXT = 256
"""Four times what the standard allows these attributes (LO, CS): some devices write more."""


class BadValue(Exception):
    """An attribute that does not hold what it must; the message may be said to anybody."""


@cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword; with it pydicom looks a value up in half the time."""
    return Tag(keyword)


def value(dataset: Dataset, keyword: str) -> Any:
    """Whatever the attribute holds; None when absent or empty."""
    return _converted(dataset, keyword, _none_if_empty)


def number(dataset: Dataset, keyword: str) -> int | None:
    """A whole number that fits the value representation of its attribute."""
    found = value(dataset, keyword)
    if found is None:
        return None
    vr, most = _NUMBERS[keyword]
    is_text = isinstance(found, str) and len(found) <= len(str(most)) and found.strip().isdecimal()
    is_whole = isinstance(found, int) or (isinstance(found, float) and found.is_integer())
    if not (is_text or is_whole) or not 0 <= int(found) <= most:
        raise BadValue(f"{keyword} is no number from 0 to {most} ({vr})")
    return int(found)


def text(dataset: Dataset, keyword: str) -> str:
    """One short text; '' when absent."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > _LONGEST_TEXT:
        raise BadValue(f"{keyword} is no text of up to {_LONGEST_TEXT} characters")
    return str(found)


def uid(dataset: Dataset, keyword: str) -> str:
    """Digits and dots as in a UID; '' when absent."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    if not isinstance(found, str) or not _UID.fullmatch(found):
        raise BadValue(f"{keyword} is no UID")
    return str(found)


def words(dataset: Dataset, keyword: str) -> str:
    """What stands there as text, of any kind and length, to be looked up and never repeated."""
    return _converted(dataset, keyword, lambda found: str(found or ""))


def whole(dataset: Dataset, keyword: str) -> int:
    """A whole number, which may be negative (SL)."""
    found = value(dataset, keyword)
    if not isinstance(found, int) or not -(2**31) <= found < 2**31:
        raise BadValue(f"{keyword} is no whole number")
    return found


def decimal(dataset: Dataset, keyword: str) -> float | None:
    """A number with a fraction; None when absent or empty."""
    return _converted(dataset, keyword, lambda found: None if found is None else float(found))


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Numbers with fractions; none when absent or empty."""
    return _converted(dataset, keyword, lambda found: tuple(float(one) for one in found or ()))


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none when absent."""
    found = _converted(dataset, keyword, lambda found: list(found or ()))
    if not all(isinstance(item, Dataset) for item in found):
        raise BadValue(f"{keyword} is no sequence")
    return found


def first(dataset: Dataset, keyword: str) -> Dataset:
    """First item of a sequence, or an empty one where there is none."""
    found = items(dataset, keyword)
    return found[0] if found else Dataset()


def _converted(dataset: Dataset, keyword: str, convert: Callable[[Any], _T]) -> _T:
    tag = tag_of(keyword)
    try:
        return convert(dataset[tag].value if tag in dataset else None)
    except Exception:  # noqa: BLE001 - of a damaged element; the library names no class
        raise BadValue(f"{keyword} cannot be read") from None


def _none_if_empty(found: Any) -> Any:
    return None if found == "" else found
