"""Structured Report: Comprehensive 3D SR, TID 1500, every group a TID 1410 with a region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    SubjectContext,
)
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, is_preliminary, report_names
from dicom_node.results.kinds import REPORT
from dicom_node.results.language.tree import speak, stated
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.modules import (
    blank_header,
    complete,
    plain,
    series_description,
)
from dicom_node.results.seg.layer import check_same_slide
from dicom_node.results.sr.groups import prediction_groups, refusal_groups
from dicom_node.results.sr.notes import notes_of
from dicom_node.results.sr.subject import name_specimens, subject_of
from dicom_node.results.sr.summary import summary
from dicom_node.sop_classes import SEGMENTATION
from engines.manifest.whole import Manifest
from inference.slide.characters.header import UTF_8, in_unicode
from inference.types import NotAssessable, Prediction

# PS3.16 TID 1602: rows and columns of pixel data would be those of one tile.
_TILE_SIZE_CODES = {"110910", "110911"}


def make(making: Making) -> Iterator[BuiltObject]:
    """The one report of the slide; it cites its Segmentations."""
    report = build_report(
        making.source,
        making.result,
        making.manifest,
        making.provenance,
        segmentations=[b.dataset for b in making.made if b.dataset.SOPClassUID == SEGMENTATION.uid],
        input_uids=making.slide.input_uids,
        series_number=making.series_number,
        predecessor=making.predecessor,
        notes=making.notes,
        read=making.read,
    )
    yield BuiltObject(REPORT.name, making.slide.key, report)


def build_report(
    source: Dataset,
    result: Prediction | NotAssessable,
    manifest: Manifest | None,
    provenance: Provenance,
    *,
    segmentations: Sequence[Dataset],
    input_uids: Sequence[str],
    series_number: int,
    predecessor: Dataset | None = None,
    notes: Sequence[str] = (),
    read: Sequence[Dataset] = (),
) -> Dataset:
    """The report of one slide, of a prediction or of a refusal (PS3.3 A.35.13).

    `source` is the header of the base-level VOLUME instance; `segmentations` are the heatmaps
    made from the same result, named as evidence; `predecessor` is the report this one replaces;
    `notes` are sentences that it says beside; `read` are references to every instance that was
    read, where that is more than `source`.

    Raises ValueError for a result that lacks what the manifest promises, holds a number that is
    not finite, or belongs to another slide.
    """
    names = report_names(source.StudyInstanceUID, input_uids, provenance, result)
    own = in_unicode(source)
    told = (*notes_of(own), *map(plain, notes))
    if isinstance(result, NotAssessable):
        groups = refusal_groups(own, result, manifest, provenance, names, told)
    elif manifest is not None:
        check_same_slide(source, result.geometry)
        groups = prediction_groups(result, manifest, provenance, names, told)
    else:
        raise ValueError("found a prediction without a manifest, expected that of its model")
    header = blank_header(own, result.geometry)
    content = MeasurementReport(
        observation_context=observation_context(provenance, subject_of(own)),
        procedure_reported=codes.IMAGING_PROCEDURE,
        language_of_content_item_and_descendants=stated(provenance.language),
        imaging_measurements=groups,
        referenced_images=[header],
    )
    separate(content)
    drop_tile_size(content)
    name_specimens(content, own)
    root = content[0]
    tree = [*summary(own, result, manifest), *root.ContentSequence, *pictures(segmentations)]
    speak(tree, provenance.language)
    root.ContentSequence = []
    report: Dataset = Comprehensive3DSR(
        evidence=[header, *read, *segmentations],
        # highdicom copies the whole tree and walks it three times, to find images that are no
        # evidence; ours names none but the header. So it is given the root alone.
        content=root,
        series_instance_uid=names.uid("series"),
        series_number=series_number,
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        is_complete=not is_preliminary(result),
        is_final=False,
        is_verified=False,
        previous_versions=None if predecessor is None else [predecessor],
        series_description=series_description("AI report", manifest, own, provenance.language),
        specific_character_set=UTF_8,
    )
    report.ContentSequence = tree
    report.PerformedProcedureCodeSequence = [CodedConcept.from_code(codes.IMAGING_PROCEDURE)]
    complete(report, own, manifest, provenance)
    return report


def pictures(segmentations: Sequence[Dataset]) -> Iterator[ImageContentItem]:
    """The maps and regions of the same result, named, so that a reader knows that they exist."""
    names = {"HEATMAP": codes.HEATMAP, "REGION": codes.REGION, "ATTENTION": codes.ATTENTION_MAP}
    for segmentation in segmentations:
        yield ImageContentItem(
            name=CodedConcept.from_code(names[segmentation.ContentLabel]),
            referenced_sop_class_uid=segmentation.SOPClassUID,
            referenced_sop_instance_uid=segmentation.SOPInstanceUID,
            referenced_segment_numbers=[int(s.SegmentNumber) for s in segmentation.SegmentSequence],
            relationship_type=RelationshipTypeValues.CONTAINS,
        )


def observation_context(
    provenance: Provenance, subject: SubjectContext | None
) -> ObservationContext:
    """The device that observed, and the specimen it observed where there is one to be named."""
    device = provenance.device
    observer = ObserverContext(
        observer_type=codes.DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device.uid,
            name=device.name,
            manufacturer_name=device.manufacturer,
            model_name=device.model,
            serial_number=device.serial,
        ),
    )
    return ObservationContext(observer_device_context=observer, subject_context=subject)


def separate(items: Iterable[Dataset]) -> None:
    """Makes every container SEPARATE: readers print a CONTINUOUS one as prose, without labels."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        separate(item.get("ContentSequence") or ())


def drop_tile_size(items: Iterable[Dataset]) -> None:
    """Takes Pixel Data Rows and Columns out of the image library."""
    for item in items:
        if "ContentSequence" not in item:
            continue
        drop_tile_size(item.ContentSequence)
        for index in reversed(range(len(item.ContentSequence))):
            name = item.ContentSequence[index].ConceptNameCodeSequence[0]
            if name.CodeValue in _TILE_SIZE_CODES:
                del item.ContentSequence[index]
