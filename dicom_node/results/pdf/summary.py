"""The summary as an Encapsulated PDF (PS3.3 A.45.1), made of the built report and its heatmap."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.results import codes
from dicom_node.results.kinds import SUMMARY
from dicom_node.results.language.speaking import sentences
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import complete, plain, series_description
from dicom_node.results.overlay.drawing import slide_picture
from dicom_node.results.pdf.identity import identity_of
from dicom_node.results.pdf.page import Page, page_bytes
from dicom_node.results.pdf.picture import Picture
from dicom_node.results.pdf.said import said_by
from dicom_node.results.seg.layers import Layer, layer_of
from dicom_node.results.sr.derived import predecessors
from inference.slide.characters.header import UTF_8

_PICTURE_PX = 1000
_NO_PICTURE = (
    "No picture: the report is of several slides, each of which has its own maps and tiles "
    "of highest values; the report names them."
)


def make(making: Making) -> Iterator[BuiltObject]:
    """The one page of the slide or case, of a prediction or of a refusal. Raises FontsMissing."""
    report = making.report
    names = making.names_after(report, SUMMARY.name)
    page = page_bytes(_page(making, report, names.uid("document")))
    document = SOPClass(
        study_instance_uid=making.source.StudyInstanceUID,
        series_instance_uid=names.uid("series"),
        series_number=making.asked_series_number(SUMMARY),
        sop_instance_uid=names.uid("instance"),
        sop_class_uid=SUMMARY.sop_class.uid,
        instance_number=1,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=series_description(
            "AI summary", making.manifest, making.of_one, making.provenance.language
        ),
        specific_character_set=UTF_8,
    )
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = None
    document.BurnedInAnnotation = "YES"
    document.RecognizableVisualFeatures = "NO"
    document.SourceInstanceSequence = [_reference(making.source), _reference(report)]
    document.DocumentTitle = plain(str(document.SeriesDescription), 1024)
    document.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DIAGNOSTIC_REPORT)]
    document.VerificationFlag = "UNVERIFIED"
    for keyword in ("PredecessorDocumentsSequence", "RequestAttributesSequence"):
        if keyword in report:
            document.add(deepcopy(report[keyword]))
    if making.predecessor is not None:
        document.PredecessorDocumentsSequence = predecessors(making.predecessor)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(page)
    document.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    complete(document, making.source, making.manifest, making.provenance)
    yield BuiltObject(SUMMARY.name, making.slide.key, document)


def _page(making: Making, report: Dataset, uid: str) -> Page:
    said = said_by(report)
    picture = _picture(making)
    if isinstance(picture, str):
        picture = sentences(picture, said.language)
    return Page(
        identity=identity_of(report, [p.source for p in making.parts or (making,)], said),
        said=said,
        picture=picture,
        subject="a case" if making.parts else "one slide",
        made_on=str(report.ContentDate),
        maker=f"dicom-node {making.provenance.node_version}",
        engine=making.provenance.engine,
        bundle_digest=making.provenance.bundle_digest,
        report_uid=str(report.SOPInstanceUID),
        uid=uid,
    )


def _picture(making: Making) -> Picture | str:
    """The slide with its first heatmap, or why there is none."""
    if making.parts:
        return _NO_PICTURE
    pixels = slide_picture(making, _PICTURE_PX)
    if isinstance(pixels, str):
        return pixels
    geometry = making.result.geometry
    layers = [] if geometry is None else [layer_of(seg, geometry) for seg in making.heatmaps]
    return Picture(pixels, geometry, _first(layers), len(layers))


def _first(layers: list[Layer]) -> Layer | None:
    return layers[0] if layers else None


def _reference(instance: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.SOPClassUID
    item.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    return item
