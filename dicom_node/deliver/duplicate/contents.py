"""Whether two objects have the same content, whatever an archive may change about the rest.

An archive may correct patient, study and series, drop what is empty and change the transfer syntax
(PS3.4 B.4.1.2, PS3.7 C.4.2.1.4): what is compared is what the object says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.uid import UID

_BEARERS = (
    "SOPClassUID", "ContentSequence", "SegmentSequence", "AnnotationGroupSequence",
    "CurrentRequestedProcedureEvidenceSequence", "PerFrameFunctionalGroupsSequence", "Rows",
    "Columns", "NumberOfFrames", "TotalPixelMatrixOriginSequence", "FloatPixelData",
    "DoubleFloatPixelData",
)  # fmt: skip
_DATES, _TIMES = ("ContentDate",), ("ContentTime",)
_NUMBERS = ("InstanceNumber", "NumberOfFrames", "Rows", "Columns")
_WHOLE_SECONDS = 6


def stated_difference(ours: Dataset, match: Dataset, keywords: Sequence[str]) -> str:
    """What the answer to a query says otherwise than our object; empty if nothing.

    What the answer leaves out, leaves empty, or says in no form that can be read, contradicts
    nothing; nor does another form of the same number, date or time.
    """
    for keyword in keywords:
        mine, theirs = _stated(ours, keyword), _stated(match, keyword)
        if mine is None or theirs is None:
            continue
        if keyword in _TIMES:  # archives keep fractions of seconds, or seconds, or do not
            least = min(len(mine), len(theirs), _WHOLE_SECONDS)
            mine, theirs = mine[:least], theirs[:least]
        if mine != theirs:
            return f"{keyword} is {theirs}, expected {mine}"
    return ""


def _stated(ds: Dataset, keyword: str) -> str | None:
    """A value in one form; None where there is none that can be read."""
    try:
        value = ds.get(keyword)
    except Exception:  # noqa: BLE001 - what others send may be anything: no alarm by that
        return None
    text = "" if _is_empty(value) else str(value).strip()
    if keyword in _NUMBERS:
        return str(int(text)) if text.isdecimal() else None
    if keyword in (*_DATES, *_TIMES):  # 1998.12.31 and 12:59:58 are older forms
        whole = text if keyword in _DATES else text.partition(".")[0]
        text = "".join(filter(str.isdecimal, whole))
    return text or None


def difference(ours: Dataset, theirs: Dataset) -> str | None:
    """How the content of an object that was retrieved differs from ours; empty if it does not, None
    where its pixels cannot be compared. Decompresses both."""
    for keyword in _BEARERS:
        if _plain(ours, keyword) != _plain(theirs, keyword):
            return f"{keyword} differs"
    if _document(ours) != _document(theirs):
        return "EncapsulatedDocument differs"
    if "PixelData" not in ours:
        return "PixelData differs" if "PixelData" in theirs else ""
    if "PixelData" not in theirs:
        return "PixelData is missing"
    if _syntax(ours) == _syntax(theirs) and ours.PixelData == theirs.PixelData:
        return ""
    if any(not _is_lossless(one) for one in (ours, theirs)):
        return None
    return "" if _pixels(ours) == _pixels(theirs) else "PixelData differs"


def _plain(ds: Dataset, keyword: str) -> Any:
    return _value(ds[keyword]) if keyword in ds else None


def _value(element: DataElement) -> Any:
    """Of an element without what an archive may change: padding, empty elements."""
    if element.VR == "SQ":
        return [
            {int(e.tag): _value(e) for e in item if not _is_empty(e.value)}
            for item in element.value or ()
        ] or None
    if isinstance(element.value, bytes):
        return element.value.rstrip(b"\0")
    return None if _is_empty(element.value) else str(element.value).strip()


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _document(ds: Dataset) -> bytes:
    return bytes(ds.get("EncapsulatedDocument") or b"").rstrip(b"\0")


def _syntax(ds: Dataset) -> UID:
    return UID(ds.file_meta.TransferSyntaxUID)


def _is_lossless(ds: Dataset) -> bool:
    """Whether decompressing gives the pixels that were compressed."""
    syntax = _syntax(ds)
    return not syntax.is_compressed or "Lossless" in syntax.name


def _pixels(ds: Dataset) -> bytes:
    if _syntax(ds).is_compressed:
        ds.decompress(generate_instance_uid=False)
    return bytes(ds.PixelData).rstrip(b"\0")
