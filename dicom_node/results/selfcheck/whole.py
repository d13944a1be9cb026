"""Every object is looked at before it is sent; one that fails does not leave.

A viewer that meets a wrong object shows a wrong picture, or nothing, and says so to nobody. Rules:
the tables of the standard, and what viewers were seen to need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydicom import Dataset
from pydicom.uid import RLELossless

from dicom_node.results.kinds import LEVEL, Kind, kind_of
from dicom_node.results.making import BuiltObject
from dicom_node.results.selfcheck import bulk, frames, slide, tables, tree
from inference.types import SlideGeometry

_MOST_TOLD = 3
_SAYS = "it failed the check of what may be sent: "


class Unsound(ValueError):
    """Objects that must not be sent; the message says which and why, and quotes no text of the
    slide."""


def require_sound(
    kind: Kind,
    made: Sequence[BuiltObject],
    source: Dataset | None,
    geometry: SlideGeometry | None,
) -> list[BuiltObject]:
    """The objects of a kind, marked as sound; `source` and `geometry` as `faults` takes them.

    Raises Unsound where one fails a rule.
    """
    wrong = [_told(b, kind, source, geometry) for b in made]
    if any(wrong):
        raise Unsound(_SAYS + " | ".join(filter(None, wrong)))
    return [replace(one, is_sound=True) for one in made]


def require_checked(one: BuiltObject) -> None:
    """The last gate: what comes without having been checked is checked by what it says itself.
    Raises Unsound."""
    if one.is_sound:
        return
    kind = kind_of(one.kind)
    if wrong := _told(one, kind, None, None) if kind else f"{one.kind}: nobody knows this kind":
        raise Unsound(_SAYS + wrong)


def _told(
    one: BuiltObject, kind: Kind, source: Dataset | None, geometry: SlideGeometry | None
) -> str:
    """The first faults of an object; empty if it has none."""
    found = list(faults(one.dataset, kind, source, geometry))
    more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return f"{one.kind}: {'; '.join(found[:_MOST_TOLD])}{more}" if found else ""


def faults(
    ds: Dataset, kind: Kind, source: Dataset | None, geometry: SlideGeometry | None
) -> Iterator[str]:
    """What is wrong with an object, each in a few words; nothing if it may be sent.

    `source` is the header of the slide's base level, `geometry` what was calculated with; where
    they are None, nothing is compared with them. What came with the slide and was copied as it is
    is no fault of the object.
    """
    yield from _identity(ds, kind)
    if source is not None:
        yield from _study(ds, source)
    yield from tables.missing(ds, source or Dataset())
    if "ContentSequence" in ds:
        yield from tree.faults(ds)
    if "PixelData" in ds:
        yield from frames.faults(ds)
    if source is not None and "TotalPixelMatrixRows" in ds:
        # The spacing of a level of the slide is what it is: a viewer has that level, too.
        yield from slide.faults(ds, source, None if kind == LEVEL else geometry)
    yield from bulk.faults(ds)


def _study(ds: Dataset, source: Dataset) -> Iterator[str]:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if ds.get(keyword) == source.get(keyword):
            yield f"{keyword} is the slide's"
    if ds.get("StudyInstanceUID") != source.get("StudyInstanceUID"):
        yield "StudyInstanceUID is not the slide's"


def _identity(ds: Dataset, kind: Kind) -> Iterator[str]:
    meta = getattr(ds, "file_meta", Dataset())
    if ds.get("SOPClassUID") != meta.get("MediaStorageSOPClassUID"):
        yield "SOPClassUID is not that of the file meta information"
    if ds.get("SOPInstanceUID") != meta.get("MediaStorageSOPInstanceUID"):
        yield "SOPInstanceUID is not that of the file meta information"
    if ds.get("SpecificCharacterSet") not in (None, "ISO_IR 192"):
        yield "SpecificCharacterSet is not ISO_IR 192"
    syntax = meta.get("TransferSyntaxUID")
    if syntax == RLELossless:
        yield "RLE Lossless, which viewers of slides paint as stripes"
    elif syntax not in {t.uid for t in kind.sop_class.transfer_syntaxes}:
        yield "TransferSyntaxUID is none that destinations are offered"
