"""Numbers of a slide as measurements (PS3.16 TID 300), each with its interval where it has one; how
groups of them begin (TID 1410, 1501) and what these say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from highdicom.sr import (
    CodedConcept,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import ResultNames
from dicom_node.results.modules import plain
from dicom_node.results.sr import regions
from dicom_node.results.sr.figures import (
    above,
    findings_of,
    heatmap_of,
    percent,
    rank,
    rounded,
    told_maps,
)
from engines.manifest.outputs import HeatmapOutput, ScoreOutput
from engines.manifest.whole import Manifest
from inference.types import Prediction

_T = TypeVar("_T")
_Name: TypeAlias = Code | CodedConcept


def measurements_of(result: Prediction, manifest: Manifest) -> list[list[Measurement]]:
    """By group, at least one: a percentile stands in the group of its own score, and what is above
    a threshold in that of its own map.

    Raises ValueError for a result that lacks what the manifest promises, or holds a number that is
    not finite.
    """
    scores = _score_groups(manifest, result)
    told = told_maps(result, manifest)
    regions = [o for o in findings_of(manifest) if o.threshold is not None and o in told]
    groups = []
    for index in range(max(len(scores), len(regions))):
        found = list(_of_scores(result, scores[index])) if index < len(scores) else []
        if index == 0:
            found += _of_the_slide(result, manifest)
        if index < len(regions):
            found += _of_a_region(result, regions[index])
        groups.append(found)
    return groups


def number(
    name: _Name,
    value: float,
    unit: _Name,
    ends: tuple[float, float] | None = None,
    *,
    method: _Name | None = None,
) -> Measurement:
    """A measurement; `ends` are low and high of its interval, in its own unit; `method` says what
    the number is where its name does not.

    They stand below it as text. TID 310 has numbers for them, which the validators of the template
    refuse below a measurement.
    """
    measurement = Measurement(name, value, unit, method=method)
    item = measurement[0]
    # highdicom writes 234 as "234.0"
    item.MeasuredValueSequence[0].NumericValue = str(value)
    if ends is not None:
        low, high = (rounded(end) for end in ends)
        item.ContentSequence = [
            *(item.get("ContentSequence") or ()),
            TextContentItem(
                name=CodedConcept.from_code(codes.INTERVAL),
                value=f"{low} to {high}",
                relationship_type=RelationshipTypeValues.HAS_PROPERTIES,
            ),
        ]
    return measurement


def _score_groups(manifest: Manifest, result: Prediction) -> list[list[ScoreOutput]]:
    """Scores by group, at least one group."""
    groups: list[list[ScoreOutput]] = [[]]
    ranked = False
    for score in manifest.scores:
        if score.name in result.percentiles:
            if ranked:
                groups.append([])
            ranked = True
        groups[-1].append(score)
    return groups


def _of_scores(result: Prediction, scores: Sequence[ScoreOutput]) -> Iterator[Measurement]:
    for score in scores:
        value = _promised(result.scores, score.name)
        ends = result.intervals.get(score.name, (None,))[0]
        yield number(codes.concept(score.code), rounded(value), codes.concept(score.unit), ends)
        if score.name in result.percentiles:
            yield number(codes.PERCENTILE, rank(result.percentiles[score.name]), codes.PERCENT)


def _of_the_slide(result: Prediction, manifest: Manifest) -> Iterator[Measurement]:
    for curve in manifest.survivals:
        probabilities = _promised(result.survivals, curve.name)
        ends = result.intervals.get(curve.name, (None,) * len(probabilities))
        for code, probability, known in zip(curve.codes, probabilities, ends, strict=True):
            around = None if known is None else (100 * known[0], 100 * known[1])
            yield number(codes.concept(code), percent(probability), codes.PERCENT, around)
    yield number(codes.TISSUE_ANALYZED, rounded(result.tissue_area_mm2), codes.SQUARE_MM)
    yield number(codes.TILES_ANALYZED, result.tiles_analyzed, codes.NO_UNITS)


def _of_a_region(result: Prediction, output: HeatmapOutput) -> Iterator[Measurement]:
    found = above(heatmap_of(result, output), output, result)
    if found is None:
        return
    # as the sentence says it: it is no measurement, and 0.9996 is not 1
    yield number(codes.THRESHOLD, rounded(found.threshold, digits=6), codes.NO_UNITS)
    yield number(codes.SHARE_ABOVE, percent(found.share), codes.PERCENT)
    yield number(codes.AREA_ABOVE, rounded(found.area_mm2), codes.SQUARE_MM)


def _promised(values: dict[str, _T], name: str) -> _T:
    if name in values:
        return values[name]
    raise ValueError(f"the manifest promises {name}; the result holds {sorted(values)}")


def on_tissue(
    result: Prediction,
    identifier: TrackingIdentifier,
    finding: CodedConcept,
    measurements: Sequence[Measurement],
    evaluations: Sequence[QualitativeEvaluation],
    sentences: Iterable[str],
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """A group on the outline of the tissue, with sentences as comments."""
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        referenced_region=regions.tissue_outline(result),
        finding_type=finding,
        measurements=measurements,
        qualitative_evaluations=evaluations,
    )
    comment(group, map(plain, sentences))
    return group


def tracking(names: ResultNames, role: str, index: int, text: str = "") -> TrackingIdentifier:
    """Of the `index`-th group of a role; `text` names it, or the role does. Without parentheses: a
    viewer parses what stands in them."""
    told = plain(f"{text or role} {index + 1}").replace("(", "").replace(")", "")
    return TrackingIdentifier(uid=names.uid(f"tracking {role}", index), identifier=told)


def comment(group: MeasurementsAndQualitativeEvaluations, sentences: Iterable[str]) -> None:
    """Appends comments; highdicom's groups have no argument for text."""
    for sentence in sentences:
        group[0].ContentSequence.append(
            TextContentItem(
                name=CodedConcept.from_code(codes.COMMENT),
                value=sentence,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
