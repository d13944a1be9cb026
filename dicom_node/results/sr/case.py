"""The report of a case: one of all slides of a study (PS3.16 TID 1500, TID 1501, TID 1410).

What a slide report says of a slide is said of each slide here, in groups of its own: its region,
its patches, or why it was left out, with its specimen as the subject of the group (TID 1009). What
is of all slides stands in the first group, which has no region. The subject of the whole is the
patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset, dcmread

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames, report_names
from dicom_node.results.modules import blank_header, complete, plain, series_description
from dicom_node.results.seg.heatmap import check_same_slide
from dicom_node.results.sr.case_groups import (
    left_out_slide,
    of_all_slides,
    used_slide,
)
from dicom_node.results.sr.notes import notes_of
from dicom_node.results.sr.report import (
    drop_tile_size,
    observation_context,
    separate,
    specimen_context,
)
from engines.manifest.whole import Manifest
from inference.case.values import CaseResult
from inference.slide.characters.header import UTF_8, in_unicode
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

_IDENTITY = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True, slots=True)
class SlideSource:
    """A slide of the case: the header of its base image, its files, what is said beside."""

    header: Dataset
    files: SlideFiles
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Told:
    """A slide as the report speaks of it."""

    number: int
    """1-based, by key."""
    own: Dataset
    """Header, in Unicode."""
    source: SlideSource
    result: Prediction | NotAssessable

    @property
    def name(self) -> str:
        """Its number, and its container, which people read on the glass."""
        container = plain(str(self.own.get("ContainerIdentifier") or ""), 64)
        return f"slide {self.number}" + (f" (container {container})" if container else "")


def case_names(
    study_uid: str, input_uids: Sequence[str], provenance: Provenance, result: CaseResult
) -> ResultNames:
    """UIDs of the report; `provenance` is that of the report."""
    like = NotAssessable(*result.refusal, None, ()) if result.refusal else result.used[0][1]
    return report_names(study_uid, input_uids, provenance, like)


def build_case_report(
    result: CaseResult,
    slides: Mapping[str, SlideSource],
    manifest: Manifest,
    provenance: Provenance,
    *,
    segmentations: Sequence[Dataset],
    series_number: int,
    predecessor: Dataset | None = None,
    cautions: Sequence[str] = (),
) -> Dataset:
    """The one report of a case, of a prediction or of a refusal (PS3.3 A.35.13).

    `slides`: by key, every slide that the result speaks of, all of one study and one patient;
    `segmentations` are the maps of the same result; `predecessor` is the report that this one
    replaces; `cautions` are sentences that it has to warn of.

    Raises ValueError for a result that lacks what the manifest promises, holds a number that is
    not finite, or belongs to other slides.
    """
    told = [
        _Told(number, in_unicode(slides[one.key].header), slides[one.key], one.result)
        for number, one in enumerate(result.slides, start=1)
    ]
    main = next((one for one in told if isinstance(one.result, Prediction)), told[0])
    inputs = [uid for source in slides.values() for uid in source.files.input_uids]
    names = case_names(main.own.StudyInstanceUID, inputs, provenance, result)
    groups = list(_groups(result, told, manifest, provenance, names, cautions))
    headers = {one.number: blank_header(one.own, one.result.geometry) for one in told}
    used = [headers[one.number] for one in told if isinstance(one.result, Prediction)]
    content = MeasurementReport(
        observation_context=observation_context(provenance, None),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=groups,
        referenced_images=used or None,
    )
    separate(content)
    drop_tile_size(content)
    root = content[0]
    tree, root.ContentSequence = root.ContentSequence, []
    others = [headers[one.number] for one in told if one is not main]
    levels = [level for one in told for level in _levels(one)]
    report: Dataset = Comprehensive3DSR(
        evidence=[headers[main.number], *others, *levels, *segmentations],
        content=root,  # the root alone, as of a slide: the whole tree is copied and walked
        series_instance_uid=names.uid("series"),
        series_number=series_number,
        sop_instance_uid=names.uid("instance"),
        instance_number=1,
        is_complete=not result.is_preliminary,
        is_final=False,
        is_verified=False,
        previous_versions=None if predecessor is None else [predecessor],
        series_description=series_description("AI case report", manifest),
        specific_character_set=UTF_8,
    )
    report.ContentSequence = tree
    report.PerformedProcedureCodeSequence = [CodedConcept.from_code(codes.IMAGING_PROCEDURE)]
    complete(report, main.own, manifest, provenance)
    return report


def _groups(
    result: CaseResult,
    told: Sequence[_Told],
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
    cautions: Sequence[str],
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """That of all slides first, then those of each slide."""
    used = [one.name for one in told if isinstance(one.result, Prediction)]
    said = [*_left_out(told), *cautions]
    notes = (*map(plain, manifest.limits), f"Slides used ({len(used)}): {_listed(used)}.")
    yield from of_all_slides(result, manifest, provenance, names, said, notes)
    for one in told:
        title = f"slide {one.number}"
        own_names = _names_of(names, one)
        subject = specimen_context(one.own)
        notes = (f"This is {one.name}.", *notes_of(one.own), *map(plain, one.source.notes))
        if isinstance(one.result, Prediction):
            check_same_slide(one.source.header, one.result.geometry)
            yield from used_slide(
                one.result, manifest, provenance, own_names, notes, title, subject
            )
        else:
            yield from left_out_slide(
                one.own, one.result, manifest, provenance, own_names, notes, title, subject
            )


def _left_out(told: Sequence[_Told]) -> list[str]:
    """The sentence that a report says first where slides were left out."""
    out = [
        f"{one.name}: {codes.REASONS[one.result.reason].meaning}"
        for one in told
        if isinstance(one.result, NotAssessable)
    ]
    if not out:
        return []
    return [f"{len(out)} of {len(told)} slides of the case left out: {'; '.join(out)}."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _names_of(names: ResultNames, one: _Told) -> ResultNames:
    """Of the groups of one slide."""
    return ResultNames(
        names.study_uid,
        names.input_uids,
        names.bundle_digest,
        f"{names.kind}, slide {one.source.files.key}",
        names.moment,
        names.variant,
    )


def _levels(one: _Told) -> Iterator[Dataset]:
    """Identity of each instance of a slide that was read for the result."""
    if not isinstance(one.result, Prediction):
        return
    base = one.own.SOPInstanceUID
    for level in one.result.levels:
        is_read = set(level.used_as.split()) & {"tiles", "tissue"}
        if is_read and level.sop_instance_uid != base:
            path = one.source.files.path_of(level.sop_instance_uid)
            yield dcmread(path, stop_before_pixels=True, specific_tags=_IDENTITY)
