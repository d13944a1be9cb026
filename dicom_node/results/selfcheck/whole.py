"""Every object is looked at before it is sent; one that fails does not leave.

A viewer that meets a wrong object shows a wrong picture, or nothing, and says so to nobody. Rules:
the tables of the standard, and what viewers were seen to need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom import Dataset
from pydicom.uid import RLELossless

from dicom_node.results.kinds import Kind
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.selfcheck import bulk, frames, slide, tables, tree
from inference.types import SlideGeometry

_MOST_TOLD = 3


class Unsound(ValueError):
    """Objects that must not be sent; the message says which and why, and quotes no text of the
    slide."""


def require_sound(kind: Kind, made: Sequence[BuiltObject], making: Making) -> None:
    """Raises Unsound where an object of a kind fails a rule."""
    wrong = []
    for one in made:
        if found := list(faults(one.dataset, kind, making.source, making.result.geometry)):
            more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
            wrong.append(f"{one.kind}: {'; '.join(found[:_MOST_TOLD])}{more}")
    if wrong:
        raise Unsound(f"it failed the check of what may be sent: {' | '.join(wrong)}")


def faults(
    ds: Dataset, kind: Kind, source: Dataset, geometry: SlideGeometry | None
) -> Iterator[str]:
    """What is wrong with an object, each in a few words; nothing if it may be sent.

    `source` is the header of the slide's base level, `geometry` what was calculated with. What came
    with the slide and was copied as it is is no fault of the object.
    """
    yield from _identity(ds, kind, source)
    yield from tables.missing(ds, source)
    if "ContentSequence" in ds:
        yield from tree.faults(ds)
    if "PixelData" in ds:
        yield from frames.faults(ds)
    if "TotalPixelMatrixRows" in ds:
        yield from slide.faults(ds, source, geometry)
    yield from bulk.faults(ds)


def _identity(ds: Dataset, kind: Kind, source: Dataset) -> Iterator[str]:
    meta = getattr(ds, "file_meta", Dataset())
    if ds.get("SOPClassUID") != meta.get("MediaStorageSOPClassUID"):
        yield "SOPClassUID is not that of the file meta information"
    if ds.get("SOPInstanceUID") != meta.get("MediaStorageSOPInstanceUID"):
        yield "SOPInstanceUID is not that of the file meta information"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if ds.get(keyword) == source.get(keyword):
            yield f"{keyword} is the slide's"
    if ds.get("StudyInstanceUID") != source.get("StudyInstanceUID"):
        yield "StudyInstanceUID is not the slide's"
    if ds.get("SpecificCharacterSet") not in (None, "ISO_IR 192"):
        yield "SpecificCharacterSet is not ISO_IR 192"
    syntax = meta.get("TransferSyntaxUID")
    if syntax == RLELossless:
        yield "RLE Lossless, which viewers of slides paint as stripes"
    elif syntax not in {t.uid for t in kind.sop_class.transfer_syntaxes}:
        yield "TransferSyntaxUID is none that destinations are offered"
