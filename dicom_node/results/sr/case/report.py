"""The report of a case: one of all slides of a study (PS3.16 TID 1500, TID 1501, TID 1410).

What a slide report says of a slide is said of each slide here, in groups of its own: its region,
its patches, or why it was left out, with its specimen as the subject of the group (TID 1009). What
is of all slides stands in the first group, which has no region. The subject of the whole is the
patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ImageContentItem,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset

from dicom_node.results import codes, kinds
from dicom_node.results.case_making import CaseMaking
from dicom_node.results.identity import ResultNames, report_names
from dicom_node.results.language.tree import speak, stated
from dicom_node.results.making import BuiltObject, series_number_of
from dicom_node.results.modules import blank_header, complete, plain, series_description
from dicom_node.results.seg.layer import check_same_slide
from dicom_node.results.sources import sources_of
from dicom_node.results.sr.case.groups import (
    left_out_slide,
    of_all_slides,
    used_slide,
)
from dicom_node.results.sr.case.summary import SlideSaid, case_summary, left_out
from dicom_node.results.sr.notes import notes_of
from dicom_node.results.sr.report import (
    drop_tile_size,
    observation_context,
    pictures,
    separate,
)
from dicom_node.results.sr.subject import subject_of
from dicom_node.sop_classes import SEGMENTATION
from inference.case.values import CASE
from inference.slide.characters.header import UTF_8, in_unicode
from inference.types import NotAssessable, Prediction


def make(making: CaseMaking) -> Iterator[BuiltObject]:
    """The one report of a case; it cites the maps of its slides."""
    yield BuiltObject(kinds.REPORT.name, CASE, build_case_report(making))


def build_case_report(making: CaseMaking) -> Dataset:
    """The report of a prediction or of a refusal (PS3.3 A.35.13); all slides are of one study and
    one patient.

    Raises ValueError for a result that lacks what the manifest promises, holds a number that is
    not finite, or belongs to other slides.
    """
    result, manifest, provenance = making.result, making.manifest, making.provenance
    told = [
        SlideSaid(number, one.key, in_unicode(making.slides[one.key].header), one.result)
        for number, one in enumerate(result.slides, start=1)
    ]
    main = next((one for one in told if isinstance(one.result, Prediction)), told[0])
    like = NotAssessable(*result.refusal, None, ()) if result.refusal else main.result
    study = main.own.StudyInstanceUID
    names = report_names(study, making.files.input_uids, provenance, like)
    groups = list(_groups(making, told, names))
    headers = {one.number: blank_header(one.own, one.result.geometry) for one in told}
    used = [headers[one.number] for one in told if isinstance(one.result, Prediction)]
    content = MeasurementReport(
        observation_context=observation_context(provenance, None),
        procedure_reported=codes.IMAGING_PROCEDURE,
        language_of_content_item_and_descendants=stated(provenance.language),
        imaging_measurements=groups,
        referenced_images=used or None,
    )
    separate(content)
    drop_tile_size(content)
    root = content[0]
    maps = [item for item in making.made if item.dataset.SOPClassUID == SEGMENTATION.uid]
    first = case_summary(result, told, manifest, making.cautions)
    tree = [*first, *root.ContentSequence, *_pictures_of(told, maps)]
    speak(tree, provenance.language)
    root.ContentSequence = []
    others = [headers[one.number] for one in told if one is not main]
    read = [
        source
        for one in told
        if isinstance(one.result, Prediction)
        for source in sources_of(one.own, making.slides[one.key].files, one.result)
    ]
    report: Dataset = Comprehensive3DSR(
        evidence=[headers[main.number], *others, *read, *(item.dataset for item in maps)],
        content=root,  # the root alone, as of a slide: the whole tree is copied and walked
        series_instance_uid=names.uid("series"),
        series_number=series_number_of(making.number),
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        is_complete=not result.is_preliminary,
        is_final=False,
        is_verified=False,
        previous_versions=None if making.predecessor is None else [making.predecessor],
        series_description=series_description(
            "AI case report", manifest, language=provenance.language
        ),
        specific_character_set=UTF_8,
    )
    report.ContentSequence = tree
    report.PerformedProcedureCodeSequence = [CodedConcept.from_code(codes.IMAGING_PROCEDURE)]
    complete(report, main.own, manifest, provenance)
    return report


def _groups(
    making: CaseMaking, told: Sequence[SlideSaid], names: ResultNames
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """That of all slides first, then those of each slide."""
    manifest, provenance = making.manifest, making.provenance
    used = [one.name for one in told if isinstance(one.result, Prediction)]
    said = [*left_out(told), *making.cautions]
    notes = (
        f"Slides used ({len(used)}): {_listed(used)}.",
        *map(plain, making.notes),
    )
    yield from of_all_slides(making.result, manifest, provenance, names, said, notes)
    for one in told:
        title = f"slide {one.number}"
        source = making.slides[one.key]
        own_names = replace(names, kind=f"{names.kind}, slide {source.files.key}")
        subject = subject_of(one.own)
        notes = (f"This is {one.name}.", *notes_of(one.own), *map(plain, source.notes))
        if isinstance(one.result, Prediction):
            check_same_slide(source.header, one.result.geometry)
            yield from used_slide(
                one.result, manifest, provenance, own_names, notes, title, subject
            )
        else:
            yield from left_out_slide(
                one.own, one.result, manifest, provenance, own_names, notes, title, subject
            )


def _pictures_of(
    told: Sequence[SlideSaid], maps: Sequence[BuiltObject]
) -> Iterator[ImageContentItem]:
    """The maps, named, each with the slide that it is of."""
    for one in told:
        own = [item.dataset for item in maps if item.slide == one.key]
        for picture in pictures(own):
            picture.ContentSequence = [
                TextContentItem(
                    name=CodedConcept.from_code(codes.SAID_SLIDE),
                    value=one.name,
                    relationship_type=RelationshipTypeValues.HAS_ACQ_CONTEXT,
                )
            ]
            yield picture


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
