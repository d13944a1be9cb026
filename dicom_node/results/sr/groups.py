"""Measurement groups of the report (PS3.16 TID 1410): slide scores, top patches, refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.modules import plain
from dicom_node.results.seg.heatmap import algorithm_parameters
from dicom_node.results.sr import regions
from engines.manifest.outputs import HeatmapOutput, ScoreOutput
from engines.manifest.whole import Manifest
from inference.types import Heatmap, NotAssessable, Prediction

_T = TypeVar("_T")

_IN_PIXELS = "The region is given in image pixels: the position on the slide is unknown."
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
    """Groups of the slide on its tissue outline, then one per top patch, on its grid cell."""
    algorithm = _algorithm(manifest, provenance, result.stride_px)
    groups = []
    for index, scores in enumerate(_score_groups(manifest, result)):
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(names, "slide", index),
            referenced_region=regions.tissue_outline(result),
            finding_type=codes.concept(manifest.finding.code),
            algorithm_id=algorithm,
            measurements=list(_slide_measurements(result, manifest, scores, first=index == 0)),
            qualitative_evaluations=_slide_evaluations(result, manifest),
        )
        if index == 0:
            _comment(group, [*_slide_comments(result, manifest), *notes])
        groups.append(group)
    for output in manifest.heatmaps:
        heatmap = _heatmap(result, output)
        groups += _patch_groups(heatmap, output, result, algorithm, names)
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
        "tracking_identifier": _tracking(names, "slide", 0),
        "finding_type": codes.concept(manifest.finding.code) if manifest else None,
        "algorithm_id": _algorithm(manifest, provenance, None) if manifest else None,
        "qualitative_evaluations": [
            _evaluation(codes.ASSESSMENT, codes.NOT_PREDICTABLE),
            _evaluation(codes.REASON, codes.REASONS[result.reason]),
            *(_intended_use(manifest) if manifest else ()),
        ],
    }
    uses = [f"Intended use: {plain(manifest.intended_use)}"] if manifest else []
    comments = [plain(result.detail), *uses, *notes]
    if result.geometry is not None:
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
    _comment(group, comments)
    return [group]


def rounded(value: float, *, digits: int = 3) -> float | int:
    """`value` to `digits` significant digits; more would claim a precision no model has."""
    if not math.isfinite(value):
        raise ValueError(f"found {value}, expected a finite number: report NotAssessable instead")
    number = float(f"{value:.{digits}g}")
    return int(number) if number.is_integer() else number


def _score_groups(manifest: Manifest, result: Prediction) -> list[list[ScoreOutput]]:
    """Scores by group, at least one group: a percentile stands in the group of its own score."""
    groups: list[list[ScoreOutput]] = [[]]
    ranked = False
    for score in manifest.scores:
        if score.name in result.percentiles:
            if ranked:
                groups.append([])
            ranked = True
        groups[-1].append(score)
    return groups


def _slide_measurements(
    result: Prediction, manifest: Manifest, scores: Sequence[ScoreOutput], *, first: bool
) -> Iterator[Measurement]:
    for score in scores:
        value = _promised(result.scores, score.name)
        yield _measurement(codes.concept(score.code), rounded(value), codes.concept(score.unit))
        if score.name in result.percentiles:
            # the reference table has steps of one percent
            percentile = round(result.percentiles[score.name])
            yield _measurement(codes.PERCENTILE, percentile, codes.PERCENT)
    if not first:
        return
    for survival in manifest.survivals:
        probabilities = _promised(result.survivals, survival.name)
        for code, probability in zip(survival.codes, probabilities, strict=True):
            yield _measurement(codes.concept(code), _percent(probability), codes.PERCENT)
    yield _measurement(codes.TISSUE_ANALYZED, rounded(result.tissue_area_mm2), codes.SQUARE_MM)
    yield _measurement(codes.TILES_ANALYZED, result.tiles_analyzed, codes.NO_UNITS)


def _measurement(name: Code | CodedConcept, value: float, unit: Code | CodedConcept) -> Measurement:
    measurement = Measurement(name, value, unit)
    # highdicom writes 234 as "234.0"
    measurement[0].MeasuredValueSequence[0].NumericValue = str(value)
    return measurement


def _percent(probability: float) -> float | int:
    if not 0 <= probability <= 1:
        raise ValueError(f"found probability {probability}, expected [0, 1]")
    return rounded(float(Decimal(repr(float(probability))) * 100))


def _slide_evaluations(result: Prediction, manifest: Manifest) -> list[QualitativeEvaluation]:
    cautions = [_evaluation(codes.CAUTION, codes.READ_COMMENTS)] if result.warnings else []
    return [*cautions, *_intended_use(manifest)]


def _slide_comments(result: Prediction, manifest: Manifest) -> Iterator[str]:
    for warning in result.warnings:
        yield f"Caution: {plain(warning)}"
    for score in manifest.scores:
        if score.direction in _DIRECTIONS:
            yield f"{plain(score.code.meaning)}: {_DIRECTIONS[score.direction]}."
    if result.percentiles:
        yield f"Percentiles refer to: {plain(manifest.finding.reference_cohort)}"
    count = len(result.tissue_outlines)
    if count > 1:
        yield f"The region is the largest of {count} pieces of tissue; the values are of all."
    elif count == 0:
        yield "The region is the whole slide: no outline of the tissue is available."
    yield f"Intended use: {plain(manifest.intended_use)}"


def _patch_groups(
    heatmap: Heatmap,
    output: HeatmapOutput,
    result: Prediction,
    algorithm: AlgorithmIdentification,
    names: ResultNames,
) -> Iterator[PlanarROIMeasurementsAndQualitativeEvaluations]:
    for index, patch in enumerate(heatmap.top_patches[: output.top_patches]):
        yield PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(names, f"{output.name} top patch", index),
            referenced_region=regions.cell(patch, result),
            finding_type=codes.concept(output.type),
            algorithm_id=algorithm,
            measurements=[_measurement(codes.HEATMAP_VALUE, rounded(patch.value), codes.NO_UNITS)],
        )


def _heatmap(result: Prediction, output: HeatmapOutput) -> Heatmap:
    return _promised({heatmap.name: heatmap for heatmap in result.heatmaps}, output.name)


def _promised(values: dict[str, _T], name: str) -> _T:
    if name in values:
        return values[name]
    raise ValueError(f"the manifest promises {name}; the result holds {sorted(values)}")


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


def _tracking(names: ResultNames, role: str, index: int) -> TrackingIdentifier:
    """Without parentheses: a viewer parses what stands in them."""
    text = plain(f"{role} {index + 1}").replace("(", "").replace(")", "")
    return TrackingIdentifier(uid=names.uid(f"tracking {role}", index), identifier=text)


def _evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    return QualitativeEvaluation(name=name, value=value)


def _intended_use(manifest: Manifest) -> list[QualitativeEvaluation]:
    if manifest.status == "product":
        return []
    return [_evaluation(codes.INTENDED_USE, codes.FOR_RESEARCH)]


def _comment(group: MeasurementsAndQualitativeEvaluations, sentences: Sequence[str]) -> None:
    """Appends comments; highdicom's groups have no argument for text."""
    for sentence in sentences:
        group[0].ContentSequence.append(
            TextContentItem(
                name=CodedConcept.from_code(codes.COMMENT),
                value=sentence,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
