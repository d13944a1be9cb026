"""Measurement groups of the report (PS3.16 TID 1410): slide scores, top patches, refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.modules import plain
from dicom_node.results.seg.layer import algorithm_parameters
from dicom_node.results.sr import regions
from dicom_node.results.sr.classes.groups import class_groups
from dicom_node.results.sr.figures import heatmap_of, rounded, told_maps
from dicom_node.results.sr.measured import measured_groups
from dicom_node.results.sr.measurements import comment, measurements_of, number, tracking
from engines.manifest.outputs import HeatmapOutput
from engines.manifest.uncertainty import Unknown
from engines.manifest.whole import Manifest
from inference.types import Heatmap, NotAssessable, Prediction

_IN_PIXELS = (
    "The region is given in image pixels, not on the slide: for that the pixel spacing, the origin "
    "and the orientation of the image are needed, and the slide does not state all of them."
)
_DIRECTIONS = {
    "higher-is-worse": "a higher value is worse",
    "higher-is-better": "a higher value is better",
}


def prediction_groups(
    result: Prediction,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
    notes: Sequence[str],
) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """Groups of the slide on its tissue outline, its class, what is counted of its tissue, then one
    per top patch, on its grid cell.

    The first one names the algorithm: it is the same for all.
    """
    groups = []
    for index, measurements in enumerate(measurements_of(result, manifest)):
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking(names, "slide", index),
            referenced_region=regions.tissue_outline(result),
            finding_type=codes.concept(manifest.finding.code),
            algorithm_id=None if index else _algorithm(manifest, provenance, result.stride_px),
            measurements=measurements,
            qualitative_evaluations=_slide_evaluations(result, manifest),
        )
        if index == 0:
            comment(group, [*_slide_comments(result, manifest), *notes])
        groups.append(group)
    groups += class_groups(result, manifest, names, _intended_use(manifest))
    groups += measured_groups(result, manifest, names, _intended_use(manifest))
    for output in told_maps(result, manifest):
        groups += _patch_groups(heatmap_of(result, output), output, result, names)
    return groups


def refusal_groups(
    source: Dataset,
    result: NotAssessable,
    manifest: Manifest | None,
    provenance: Provenance,
    names: ResultNames,
    notes: Sequence[str] = (),
) -> list[MeasurementsAndQualitativeEvaluations]:
    """One group that says "Not predictable" and why, without a number; it names no model where none
    ran.

    Its region is the whole slide. Where the position on the slide is unknown, the region is the
    border of the image in pixels; where even its size is unknown, the group has none (TID 1501).
    """
    arguments = {
        "tracking_identifier": tracking(names, "slide", 0),
        # Viewers call the region by it, and may show nothing else of the report.
        "finding_type": CodedConcept.from_code(codes.NOT_PREDICTABLE),
        "algorithm_id": _algorithm(manifest, provenance, None) if manifest else None,
        "qualitative_evaluations": [
            _evaluation(codes.ASSESSMENT, codes.NOT_PREDICTABLE),
            _evaluation(codes.REASON, codes.REASONS[result.reason]),
            *(_intended_use(manifest) if manifest else ()),
        ],
    }
    comments = [plain(result.detail), *notes]
    if result.geometry is not None and regions.is_writable(result.geometry):
        region = regions.whole_slide(result.geometry)
    elif source.get("TotalPixelMatrixRows") and source.get("TotalPixelMatrixColumns"):
        region = regions.whole_image(source)
        comments.append(_IN_PIXELS)
    else:
        region = None
        comments.append("No region is given: neither position nor size of the image is known.")
    if region is None:
        group = MeasurementsAndQualitativeEvaluations(**arguments)
    else:
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=region, **arguments
        )
    comment(group, comments)
    return [group]


def _slide_evaluations(result: Prediction, manifest: Manifest) -> list[QualitativeEvaluation]:
    cautions = [_evaluation(codes.CAUTION, codes.READ_COMMENTS)] if result.warnings else []
    if any(isinstance(o.uncertainty, Unknown) for o in (*manifest.scores, *manifest.survivals)):
        cautions.append(_evaluation(codes.UNCERTAINTY, codes.NOT_KNOWN))
    return [*_intended_use(manifest), *cautions]


def _slide_comments(result: Prediction, manifest: Manifest) -> Iterator[str]:
    for warning in result.warnings:
        yield f"Caution: {plain(warning)}"
    for score in manifest.scores:
        if score.direction in _DIRECTIONS:
            yield f"{plain(score.code.meaning)}: {_DIRECTIONS[score.direction]}."
    if result.percentiles:
        yield f"Percentiles refer to: {plain(manifest.finding.reference_cohort)}"
        ranked = f"the {manifest.unit}s of that cohort"
        yield f"A percentile is a rank among {ranked}, not a probability."
    count = len(result.tissue_outlines)
    if count > 1:
        yield f"The region is the largest of {count} pieces of tissue; the values are of all."
    elif count == 0:
        yield "The region is the whole slide: no outline of the tissue is available."


def _patch_groups(
    heatmap: Heatmap, output: HeatmapOutput, result: Prediction, names: ResultNames
) -> Iterator[PlanarROIMeasurementsAndQualitativeEvaluations]:
    for index, patch in enumerate(heatmap.top_patches[: output.top_patches]):
        yield PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking(names, f"{output.name} top patch", index),
            referenced_region=regions.cell(patch, result),
            # A tile of a highest value may still be of a low one: it is no finding by itself.
            finding_type=CodedConcept.from_code(codes.TOP_TILE),
            measurements=[number(codes.HEATMAP_VALUE, rounded(patch.value), codes.NO_UNITS)],
        )


def _algorithm(
    manifest: Manifest, provenance: Provenance, stride_px: int | None
) -> AlgorithmIdentification:
    parameters = algorithm_parameters(manifest, provenance, stride_px)
    return AlgorithmIdentification(
        name=plain(manifest.title),
        version=manifest.version,
        parameters=[f"{name}: {value}" for name, value in parameters.items()],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=plain(manifest.manufacturer),
    )


def _evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    return QualitativeEvaluation(name=name, value=value)


def _intended_use(manifest: Manifest) -> list[QualitativeEvaluation]:
    if manifest.status == "product":
        return []
    return [_evaluation(codes.INTENDED_USE, codes.FOR_RESEARCH)]
