"""What a result was made from: the instances that were read, as references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmread

from dicom_node.results import codes
from inference.slide.files import SlideFiles
from inference.types import LevelAccount, NotAssessable, Prediction

_REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_ASIDE = "left aside"


def sources_of(
    source: Dataset, slide: SlideFiles, result: Prediction | NotAssessable
) -> tuple[Dataset, ...]:
    """Every instance of a slide that was read, the base image first: its levels, whether tiles came
    from them, or the mask of tissue, or what they were compared for.

    Each has the UIDs that a reference needs. Where the result does not account for the levels, all
    instances of the slide count. `source` is the header of the base image.
    """
    levels = {account.sop_instance_uid for account in result.levels if _was_read(account)}
    base = str(source.SOPInstanceUID)
    files = zip(slide.input_uids, slide.paths, strict=True)
    others = [path for uid, path in files if uid != base and (uid in levels or not result.levels)]
    return (reference(source), *map(_read, others))


def _read(path: Path) -> Dataset:
    return reference(dcmread(path, stop_before_pixels=True, specific_tags=list(_REFERENCE)))


def reference(header: Dataset) -> Dataset:
    """The UIDs of an instance that another one needs to refer to it."""
    found = Dataset()
    for keyword in _REFERENCE:
        setattr(found, keyword, header.get(keyword))
    return found


def set_sources(dataset: Dataset, sources: Sequence[Dataset]) -> None:
    """Names in an image every instance that was read: Source Image and Referenced Series Sequence
    (PS3.3 C.8.20.2, C.12.2), and Derivation Image Sequence of each frame (C.7.6.16.2.6)."""
    dataset.SourceImageSequence = [_item(source) for source in sources]
    series: dict[str, list[Dataset]] = {}
    for source in sources:
        series.setdefault(str(source.SeriesInstanceUID), []).append(_item(source))
    dataset.ReferencedSeriesSequence = [_series(uid, items) for uid, items in series.items()]
    for groups in dataset.get("PerFrameFunctionalGroupsSequence") or ():
        groups.DerivationImageSequence = [_derivation(sources)]


def predecessor_in(dataset: Dataset) -> str:
    """SOP Instance UID of the document that an object says it replaces; empty for none."""
    for study in dataset.get("PredecessorDocumentsSequence") or ():
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                return str(item.ReferencedSOPInstanceUID)
    return ""


def _was_read(account: LevelAccount) -> bool:
    """Levels that gave nothing were compared with those that did."""
    return account.flavor == "VOLUME" or not account.used_as.startswith(_ASIDE)


def _item(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


def _series(uid: str, items: list[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = uid, items
    return series


def _derivation(sources: Sequence[Dataset]) -> Dataset:
    derivation = Dataset()
    derivation.DerivationCodeSequence = [CodedConcept.from_code(codes.SEGMENTATION)]
    derivation.SourceImageSequence = [_item(source) for source in sources]
    for item in derivation.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
    return derivation
