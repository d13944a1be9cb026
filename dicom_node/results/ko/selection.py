"""A Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010) that ties slide, report and heatmaps.

It names what its destination is sent, and so nothing that a reader would not find there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.kinds import LEVEL, SET, kind_of
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import blank_header, complete, plain, series_description
from inference.slide.characters.header import UTF_8

_ON_LEVEL = (
    "Maps are here on the grid of a level of the slide; the report names the same maps on the grid "
    "of their tiles, which were not sent here."
)


def make(making: Making) -> Iterator[BuiltObject]:
    """The slide's image, or that of each slide of a case, and the objects that were made of it: of
    all of them one set, or one for each selection of those that somebody is sent."""
    if not making.sets:
        yield _set(making, SET.name, making.made, 0)
    for nth, selection in enumerate(making.sets):
        made = selection.of(making.made)
        is_laid = any(kind_of(b.kind) == LEVEL for b in made) and selection.on_level
        if made:
            yield _set(making, selection.own_kind, made, nth, _ON_LEVEL if is_laid else "")


def _set(
    making: Making, own_kind: str, made: Sequence[BuiltObject], nth: int, told: str = ""
) -> BuiltObject:
    names = making.names_after(making.report, SET.name)
    slide = blank_header(making.source, making.result.geometry)
    slides = [slide, *(blank_header(p.source, p.result.geometry) for p in _others(making))]
    evidence = [*slides, *(_in_study(b.dataset, slide) for b in made)]
    is_product = making.manifest is not None and making.manifest.status == "product"
    content = KeyObjectSelection(
        document_title=CodedConcept.from_code(
            codes.OF_INTEREST if is_product else codes.FOR_RESEARCH
        ),
        referenced_objects=evidence,
        observer_device_context=_observer(making),
        description=_description(making, told),
    )
    document: Dataset = KeyObjectSelectionDocument(
        evidence=evidence,
        content=content,
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(SET, nth),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        manufacturer=making.provenance.device.manufacturer,
        series_description=series_description(
            f"AI results of a {'case' if making.parts else 'slide'}",
            making.manifest,
            making.of_one,
            making.provenance.language,
        ),
        specific_character_set=UTF_8,
    )
    document.ContinuityOfContent = "SEPARATE"
    without_names(document)
    complete(document, making.source, making.manifest, making.provenance)
    return BuiltObject(own_kind, making.slide.key, document)


def _description(making: Making, told: str) -> str:
    said = str(making.report.SeriesDescription)
    return plain(f"{said}. {sentences(told, making.provenance.language)}" if told else said)


def without_names(document: Dataset) -> None:
    """Takes the concept names off the references: TID 2010 has none, and highdicom sets them."""
    for item in document.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE"):
            item.pop("ConceptNameCodeSequence", None)


def _others(making: Making) -> list[Making]:
    """Of a case the slides beside the one whose header it has."""
    own = making.source.SOPInstanceUID
    return [part for part in making.parts if part.source.SOPInstanceUID != own]


def _in_study(built: Dataset, slide: Dataset) -> Dataset:
    """What highdicom needs of an instance, and not its pixels, which it would copy."""
    seen = Dataset()
    for element in slide:
        if element.keyword.startswith(("Patient", "Study", "Accession", "ReferringPhysician")):
            seen.add(element)
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
        if keyword in built:
            seen.add(built[keyword])
    return seen


def _observer(making: Making) -> ObserverContext:
    device = making.provenance.device
    return ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device.uid,
            name=device.name,
            manufacturer_name=device.manufacturer,
            model_name=device.model,
            serial_number=device.serial,
        ),
    )
