"""From the files of a study to result objects; shared by the worker and `analyze`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from dicom_node.results.identity import Provenance
from dicom_node.results.seg.heatmap import build_segmentation
from dicom_node.results.sr.report import build_report
from dicom_node.study.evidence import SlideEvidence, whole_slides
from engines.manifest import Manifest
from inference.types import NotAssessable, Prediction

FIRST_SERIES_NUMBER = 9001


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """One slide of a study: its key in the evidence, its files, and their SOP Instance UIDs."""

    key: str
    paths: tuple[Path, ...]
    input_uids: tuple[str, ...]
    base_path: Path
    """The largest VOLUME image, or its first part; else the largest image."""


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """One result object and what it is."""

    kind: str
    slide: str
    dataset: Dataset


def slides_to_analyze(
    slides: Sequence[SlideEvidence], paths: Mapping[str, Path]
) -> list[SlideFiles]:
    """The slides that get a report, each with all files that belong to it.

    Labels and overviews that came in a series of their own go with the slide of the same
    container; images that belong to no VOLUME image make a slide that will be not assessable.
    """
    return [_slide_files(members, paths) for members in whole_slides(slides)]


def build_objects(
    source: Dataset,
    result: Prediction | NotAssessable,
    manifest: Manifest,
    provenance: Provenance,
    *,
    slide: SlideFiles,
    number: int,
    predecessor: Dataset | None = None,
) -> list[BuiltObject]:
    """Segmentations and report of the `number`-th slide of a study (0-based), in delivery order."""
    uids = slide.input_uids
    series_number = FIRST_SERIES_NUMBER + 10 * number
    built: list[BuiltObject] = []
    if isinstance(result, Prediction):
        for heatmap in result.heatmaps:
            segmentation = build_segmentation(
                source,
                result,
                heatmap,
                manifest,
                provenance,
                input_uids=uids,
                series_number=series_number + 1 + len(built),
            )
            built.append(BuiltObject(f"heatmap-{heatmap.name}", slide.key, segmentation))
    report = build_report(
        source,
        result,
        manifest,
        provenance,
        segmentations=[b.dataset for b in built],
        input_uids=uids,
        series_number=series_number,
        predecessor=predecessor,
    )
    return [*built, BuiltObject("report", slide.key, report)]


def _slide_files(members: Sequence[SlideEvidence], paths: Mapping[str, Path]) -> SlideFiles:
    levels = [level for member in members for level in member.levels]
    # Levels come largest first; a VOLUME is the base even where a LABEL photo has more pixels.
    base = next((v for v in levels if v.flavor == "VOLUME"), levels[0])
    uids = tuple(uid for level in levels for uid in level.sop_instance_uids)
    return SlideFiles(
        key=members[0].key,
        paths=tuple(paths[uid] for uid in uids),
        input_uids=uids,
        base_path=paths[base.sop_instance_uids[0]],
    )
