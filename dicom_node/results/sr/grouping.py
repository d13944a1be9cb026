"""What measurement groups have in common (PS3.16 TID 1410, 1501): how they begin and what they
say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

from dicom_node.results import codes
from dicom_node.results.identity import ResultNames
from dicom_node.results.modules import plain
from dicom_node.results.sr import regions
from inference.types import Prediction


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
