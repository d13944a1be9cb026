"""Measurement groups of the report of a case: made as those of a slide are, then told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SubjectContext,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from dicom_node.results import codes
from dicom_node.results.identity import Provenance, ResultNames
from dicom_node.results.sr.groups import prediction_groups, refusal_groups
from engines.manifest.whole import Manifest
from inference.case.values import CaseResult
from inference.types import NotAssessable, Prediction, SlideGeometry

_NOWHERE = SlideGeometry("1.2.840.10008", 0.0, 0.0, (1, 0, 0, 0, 1, 0), 1.0, 1.0, 2, 2)
"""Of what is on no one slide; its region is taken out."""
_REGIONS = {"SCOORD", "SCOORD3D"}
_TRACKING = ("112039", "DCM")
_ALGORITHM_PARAMETER = ("111002", "DCM")
_ALGORITHM = {("111000", "DCM"), ("111001", "DCM"), ("111003", "DCM"), ("122405", "DCM"),
              _ALGORITHM_PARAMETER}  # fmt: skip
"""What a group says of the algorithm (PS3.16 TID 4019); the first group says it for all."""
_WITHOUT_REGION = "1501"


def of_all_slides(
    result: CaseResult,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
    cautions: Sequence[str],
    notes: Sequence[str],
) -> list[MeasurementsAndQualitativeEvaluations]:
    """The numbers of the case, or why there are none (TID 1501: there is no one region)."""
    groups: Sequence[MeasurementsAndQualitativeEvaluations]
    if result.refusal:
        why = NotAssessable(*result.refusal, _NOWHERE, ())
        told = [f"Caution: {text}" for text in cautions]
        groups = refusal_groups(Dataset(), why, manifest, provenance, names, [*told, *notes])
    else:
        groups = prediction_groups(
            _together(result, cautions), _only(manifest, maps=False), provenance, names, notes
        )
    for number, group in enumerate(groups, start=1):
        item = group[0]
        _keep(item, lambda one: not _is_stride(one))
        _without_region(item)
        _title(item, f"case {number}")
    return list(groups)


def used_slide(
    told: Prediction,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
    notes: Sequence[str],
    title: str,
    subject: SubjectContext | None,
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """Tissue and patches of a slide whose tiles were in the bag; no number of the model."""
    maps = {*(heatmap.name for heatmap in told.heatmaps), *told.not_assessed}
    groups = prediction_groups(told, _only(manifest, maps=maps), provenance, names, notes)
    for number, group in enumerate(groups):
        what = "" if number == 0 else f" {_titled(group[0]).TextValue}"
        yield _of_slide(group, f"{title}{what}", subject, codes.USED if number == 0 else None)


def left_out_slide(
    own: Dataset,
    why: NotAssessable,
    manifest: Manifest,
    provenance: Provenance,
    names: ResultNames,
    notes: Sequence[str],
    title: str,
    subject: SubjectContext | None,
) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    """Why a slide was left out, with its whole as the region where its position is known: a region
    in pixels must not stand beside those in millimeters (TID 1410, rows 5 to 7)."""
    placed = replace(why, geometry=why.geometry or _NOWHERE)
    for group in refusal_groups(own, placed, manifest, provenance, names, notes):
        if why.geometry is None:
            _without_region(group[0])
        # It is the case that is predictable or not.
        _keep(group[0], lambda one: _name(one) != _code(codes.ASSESSMENT))
        yield _of_slide(group, title, subject, codes.LEFT_OUT)


def _together(result: CaseResult, cautions: Sequence[str]) -> Prediction:
    """The numbers of a case as if it were one slide, whose one piece of tissue is nowhere."""
    if result.numbers is None:
        raise ValueError("found a case without numbers and without a reason, expected either")
    return replace(
        result.numbers,
        geometry=_NOWHERE,
        tissue_outlines=(np.array([(0, 0), (0, 1), (1, 1), (0, 0)], np.float64),),
        warnings=tuple(cautions),
    )


def _only(manifest: Manifest, *, maps: bool | set[str]) -> Manifest:
    """The student as if it gave only its maps of these names, or only what is no map."""
    if maps is False:
        kept = [o for o in manifest.outputs if o not in manifest.heatmaps]
    else:
        kept = [o for o in manifest.heatmaps if maps is True or o.name in maps]
    return manifest.model_copy(update={"outputs": tuple(kept)})


def _of_slide(
    group: MeasurementsAndQualitativeEvaluations,
    title: str,
    subject: SubjectContext | None,
    use: Code | None,
) -> MeasurementsAndQualitativeEvaluations:
    item = group[0]
    _title(item, title)
    _keep(item, lambda one: _name(one) not in _ALGORITHM)
    if use is not None:
        item.ContentSequence.extend(QualitativeEvaluation(name=codes.IN_CASE, value=use))
    for place, context in enumerate(subject or ()):
        item.ContentSequence.insert(place, context)
    return group


def _without_region(item: Dataset) -> None:
    _keep(item, lambda one: one.ValueType not in _REGIONS)
    item.ContentTemplateSequence[0].TemplateIdentifier = _WITHOUT_REGION


def _title(item: Dataset, text: str) -> None:
    _titled(item).TextValue = text


def _titled(item: Dataset) -> Dataset:
    found: Dataset = next(one for one in item.ContentSequence if _name(one) == _TRACKING)
    return found


def _keep(item: Dataset, wanted: Callable[[Dataset], bool]) -> None:
    """Takes every other content item out, in place."""
    for place in reversed(range(len(item.ContentSequence))):
        if not wanted(item.ContentSequence[place]):
            del item.ContentSequence[place]


def _is_stride(one: Dataset) -> bool:
    """Of the grid of one slide; each slide says its own."""
    return _name(one) == _ALGORITHM_PARAMETER and str(one.TextValue).startswith("stride:")


def _name(one: Dataset) -> tuple[str, str]:
    name = one.ConceptNameCodeSequence[0]
    return str(name.CodeValue), str(name.CodingSchemeDesignator)


def _code(code: Code) -> tuple[str, str]:
    return code.value, code.scheme_designator
