"""A header whose texts are all in Unicode, whatever they came in."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from inference.errors import MALFORMED, is_of_the_machine
from inference.slide.characters.decoding import decode, has_marks, shortened
from inference.slide.characters.sets import Stated, stated

UTF_8 = "ISO_IR 192"
_LONGEST = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "PN": 64, "UC": 2**32, "UT": 2**32}
"""Characters, not octets, of a value (PS3.5 6.2); of PN, of a component group. These are the value
representations that Specific Character Set speaks of (PS3.5 6.1.2.2)."""
_OF_SEVERAL = {"SH": b"\\", "LO": b"\\", "UC": b"\\", "PN": b"\\^="}
"""Those of several values, with the delimiters in them."""
_NO_TERM = "?"
"""In the place of what is no text at all."""
_CHARACTER_SET = Tag("SpecificCharacterSet")
_PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")


def in_unicode(source: Dataset) -> Dataset:
    """The header with elements of its own, its texts decoded from their octets, to be written in
    UTF-8, as it says; only those of the frames, which are many, are shared with `source`.

    Texts are decoded by the character set that their dataset or the one around it states, and
    octets that it does not explain are marked (see `decoding`). An element that cannot be read is
    left out: what the analysis needs was read before, and an attribute that nobody could read in a
    result is none. `source` stays as it is; texts of it that were decoded before are taken so.
    """
    header = _own(source, Stated())
    header.SpecificCharacterSet = UTF_8
    return header


def undecoded(header: Dataset) -> tuple[str, ...]:
    """Keywords of the standard's attributes in whose texts octets are marked, each once."""
    return tuple(dict.fromkeys(_marked(header)))


def _own(dataset: Dataset, around: Stated) -> Dataset:
    by = _stated_in(dataset, around)
    own = Dataset()
    for tag in sorted(dataset.keys()):
        if tag == _CHARACTER_SET:
            continue
        try:
            own.add(_element(dataset, tag, by))
        except MALFORMED as error:
            if is_of_the_machine(error):
                raise
    return own


def _element(dataset: Dataset, tag: BaseTag, by: Stated) -> DataElement:
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        vr = _representation(raw)
        if vr in _LONGEST:
            return DataElement(tag, vr, _values(raw.value, vr, by))
    element = dataset[tag]
    if tag == _PER_FRAME:
        return element
    if element.VR == "SQ":
        return DataElement(tag, "SQ", Sequence(_own(item, by) for item in element.value or ()))
    return deepcopy(element)


def _representation(raw: RawDataElement) -> str:
    """The VR of a text, as stated or, for an attribute of the standard, as it must be."""
    if raw.VR not in (None, "UN") or raw.tag.is_private:
        return raw.VR or ""
    try:
        return dictionary_VR(raw.tag)
    except KeyError:
        return ""


def _values(octets: bytes, vr: str, by: Stated) -> str | list[str]:
    text = decode(octets.rstrip(b"\0 "), by, _OF_SEVERAL.get(vr, b""))
    if vr not in _OF_SEVERAL:
        return shortened(text, _LONGEST[vr])
    values = [_fitting(value.rstrip(" "), vr) for value in text.split("\\")]
    return values if len(values) > 1 else values[0]


def _fitting(value: str, vr: str) -> str:
    groups = value.split("=") if vr == "PN" else [value]
    return "=".join(shortened(group, _LONGEST[vr]) for group in groups)


def _stated_in(dataset: Dataset, around: Stated) -> Stated:
    """What a dataset states, or else the one around it (PS3.5 7.5.3)."""
    if _CHARACTER_SET not in dataset:
        return around
    try:
        found = dataset[_CHARACTER_SET].value
    except MALFORMED as error:
        if is_of_the_machine(error):
            raise
        return Stated()
    values = found if isinstance(found, MultiValue) else [found or ""]
    return stated([value if isinstance(value, str) else _NO_TERM for value in values])


def _marked(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.tag == _PER_FRAME or element.tag.is_private:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _marked(item)
        elif element.VR in _LONGEST and has_marks(str(element.value)):
            yield element.keyword
