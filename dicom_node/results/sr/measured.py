"""Measurement groups of what is counted on maps of classes (PS3.16 TID 1410): one a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    CodedConcept,
    Measurement,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import ResultNames
from dicom_node.results.modules import plain
from dicom_node.results.sr.counted import composition
from dicom_node.results.sr.measurements import number, on_tissue, tracking
from engines.manifest.outputs import MeasureOutput
from engines.manifest.uncertainty import Unknown
from engines.manifest.whole import Manifest
from inference.types import Measured, Prediction


def measured_groups(
    result: Prediction,
    manifest: Manifest,
    names: ResultNames,
    evaluations: Sequence[QualitativeEvaluation],
) -> Iterator[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """A group for each map of classes on which anything is counted, on the outline of the tissue;
    `evaluations` are of every group.

    Raises ValueError for a result that lacks what the manifest promises.
    """
    for index, of_map in enumerate(manifest.class_maps):
        outputs = [o for o in manifest.measures if o.map == of_map.name]
        if not outputs:
            continue
        yield on_tissue(
            result,
            tracking(names, "composition", index, f"composition {of_map.name}"),
            codes.concept(of_map.type),
            list(_numbers(result, outputs)),
            [*evaluations, *_statements(result, outputs)],
            (*_domains(outputs), *composition.unassessed(result, of_map, manifest)),
        )


def _numbers(result: Prediction, outputs: Sequence[MeasureOutput]) -> Iterator[Measurement]:
    for output in outputs:
        found = _promised(result, output)
        if found is None or found.value is None:
            continue
        one = number(
            codes.concept(output.code),
            composition.value_of(output, found.value),
            composition.unit_of(output),
            composition.ends_of(output, found),
        )
        has = RelationshipTypeValues.HAS_PROPERTIES
        one[0].ContentSequence = [
            *(one[0].get("ContentSequence") or ()),
            _text(codes.CLASSES_COUNTED, composition.classes_of(output), has),
            _text(codes.TILES_COUNTED, composition.tiles_of(output, found), has),
        ]
        yield one


def _statements(
    result: Prediction, outputs: Sequence[MeasureOutput]
) -> Iterator[QualitativeEvaluation]:
    """What has no value, coded; and that nobody knows how sure a number is."""
    found = {output.name: _promised(result, output) for output in outputs}
    told = [o for o in outputs if (m := found[o.name]) is not None and m.value is not None]
    if any(isinstance(output.uncertainty, Unknown) for output in told):
        yield QualitativeEvaluation(name=codes.UNCERTAINTY, value=codes.NOT_KNOWN)
    for output in outputs:
        if output not in told:
            yield QualitativeEvaluation(name=codes.concept(output.code), value=codes.NOT_ASSESSED)


def _domains(outputs: Sequence[MeasureOutput]) -> Iterator[str]:
    """Where the numbers were measured, each sentence once."""
    yield from dict.fromkeys(filter(None, map(composition.measured_on, outputs)))


def _promised(result: Prediction, output: MeasureOutput) -> Measured | None:
    """What was counted; None for what is not assessed."""
    found = result.measures.get(output.name)
    if found is None and output.name not in result.not_assessed:
        raise ValueError(
            f"the manifest promises {output.name}; the result holds {sorted(result.measures)}"
        )
    return found


def _text(name: Code, value: str, relationship: RelationshipTypeValues) -> TextContentItem:
    return TextContentItem(
        name=CodedConcept.from_code(name), value=plain(value), relationship_type=relationship
    )
