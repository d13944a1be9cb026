"""Measurement groups of the one class of a slide or case (PS3.16 TID 1410): one an output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    CodedConcept,
    Measurement,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
)
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import ResultNames
from dicom_node.results.sr.classes.sentences import beside_of, ends_of, result_of, standing_of
from dicom_node.results.sr.figures import percent
from dicom_node.results.sr.measurements import number, on_tissue, tracking
from engines.manifest.outputs import ClassOutput
from engines.manifest.uncertainty import Unknown
from engines.manifest.whole import Manifest
from inference.outputs.classification import Standing
from inference.types import Prediction


def class_groups(
    result: Prediction,
    manifest: Manifest,
    names: ResultNames,
    evaluations: Sequence[QualitativeEvaluation],
) -> Iterator[PlanarROIMeasurementsAndQualitativeEvaluations]:
    """A group for each output of classes, on the outline of the tissue (PS3.16 TID 1410): the class
    that stands out, coded, and the probability of every class under the code of that class; or that
    it was not assessed, and why.

    `evaluations` are of every group. Raises ValueError for a result that lacks what the manifest
    promises.
    """
    for index, output in enumerate(manifest.classifications):
        why = result.not_assessed.get(output.name, "")
        found = None if why else standing_of(result, output)
        yield on_tissue(
            result,
            tracking(names, "classes", index, f"classes of {output.name}"),
            codes.concept(output.code),
            list(_measurements(output, result)) if found else [],
            [_coded(output, found), *evaluations, *(_unsure(output) if found else ())],
            (why,) if found is None else (result_of(output, found), *beside_of(output)),
        )


def _coded(output: ClassOutput, found: Standing | None) -> QualitativeEvaluation:
    """`found` is None where it was not assessed."""
    value: Code | CodedConcept = codes.NO_CLASS
    if found is None:
        value = codes.NOT_ASSESSED
    elif found.named is not None:
        value = codes.concept(output.classes[found.named])
    return QualitativeEvaluation(name=codes.concept(output.code), value=value)


def _unsure(output: ClassOutput) -> Iterator[QualitativeEvaluation]:
    if isinstance(output.uncertainty, Unknown):
        yield QualitativeEvaluation(name=codes.UNCERTAINTY, value=codes.NOT_KNOWN)


def _measurements(output: ClassOutput, result: Prediction) -> Iterator[Measurement]:
    """The method says what the number under the code of a class is."""
    for place, code in enumerate(output.classes):
        yield number(
            codes.concept(code),
            percent(result.probabilities[output.name][place]),
            codes.PERCENT,
            ends_of(output, place, result),
            method=codes.CLASS_PROBABILITY,
        )
