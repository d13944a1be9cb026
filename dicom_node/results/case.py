"""All objects of a case: the maps of each slide that was used, then the one report of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dicom_node.results import kinds
from dicom_node.results.build import after_each, first_that_can_be_made, same_or_new
from dicom_node.results.case_making import CaseMaking
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.sources import sources_of
from inference.case.values import CaseResult, CaseSlide
from inference.slide.characters.header import in_unicode
from inference.types import NotAssessable, Prediction, Reason

_REPORT = replace(kinds.REPORT, module="dicom_node.results.sr.case.report")
_MAPS = tuple(k for k in kinds.KINDS if k.needs_prediction and not k.asked)
_ASKED_OF_SLIDES = tuple(k for k in kinds.KINDS if k.needs_prediction and k.asked)
_ASKED_OF_REPORTS = tuple(k for k in kinds.KINDS if k.asked and not k.needs_prediction)


def objects_of_case(
    result: CaseResult,
    making: Callable[[CaseResult], CaseMaking],
    *,
    may_pass: tuple[type[Exception], ...] = (OSError,),
) -> tuple[list[BuiltObject], str]:
    """The objects of a case, and what an operator must see to; a result that no objects can be made
    of leaves a report that says so. Raises what `may_pass`."""
    return first_that_can_be_made(
        lambda: _built(making(result), may_pass),
        lambda: _built(making(_not_representable(result)), may_pass),
        may_pass,
    )


def build_case(making: CaseMaking) -> list[BuiltObject]:
    """Every Segmentation of each slide that was used, and the one report, which cites them; then
    what is asked for: of each slide, and of the report.

    An object that comes out as it was registered before is that object.
    """
    return _built(making, (OSError,))[0]


def _built(
    making: CaseMaking, may_pass: tuple[type[Exception], ...]
) -> tuple[list[BuiltObject], list[str]]:
    """The objects, and which of those that were asked for could not be made, and why."""
    parts = [_of_slide(making, one) for one in making.result.slides]
    mapped = [after_each(part, _MAPS, may_pass)[0] for part in parts]
    maps = [built for part in mapped for built in part.made]
    report = same_or_new(_REPORT, replace(making, made=tuple(maps)))
    built, failed = [*maps, *report], []
    for part in mapped:
        asked, lacking = after_each(part, _ASKED_OF_SLIDES, may_pass)
        built += asked.made[len(part.made) :]
        failed += [f"{what} of slide {part.slide.key}" for what in lacking]
    whole = _as_one(making, mapped, built)
    forms, lacking = after_each(whole, _ASKED_OF_REPORTS, may_pass)
    return [*built, *forms.made[len(built) :]], [*failed, *lacking]


def _of_slide(making: CaseMaking, one: CaseSlide) -> Making:
    """What objects of one slide alone are made from; a slide without maps has none."""
    slide, told = making.slides[one.key], one.result
    is_shown = isinstance(told, Prediction) and bool(told.heatmaps or told.class_maps)
    return Making(
        source=in_unicode(slide.header),
        result=told,
        manifest=making.manifest,
        provenance=slide.provenance,
        slide=slide.files,
        number=slide.number,
        formers=slide.formers,
        read=sources_of(slide.header, slide.files, told) if is_shown else (),
        wanted=making.wanted if is_shown else None,
    )


def _as_one(making: CaseMaking, parts: list[Making], built: list[BuiltObject]) -> Making:
    """What the forms of the report are made from: they are of no one place."""
    told = making.result
    first = told.used[0][0] if told.used else told.slides[0].key
    reason, detail = told.refusal or (Reason.RESULTS_FAILED, "The case has no numbers.")
    return Making(
        source=in_unicode(making.slides[first].header),
        result=told.numbers or NotAssessable(reason, detail, None, ()),
        manifest=making.manifest,
        provenance=making.provenance,
        slide=making.files,
        number=making.number,
        predecessors=making.predecessors,
        formers=making.formers,
        made=tuple(built),
        wanted=making.wanted,
        sets=making.sets,
        parts=tuple(parts),
    )


def _not_representable(result: CaseResult) -> CaseResult:
    detail = (
        "The case was analyzed, but its results cannot be put into DICOM objects; the log of the "
        "node says why."
    )
    without_maps = tuple(CaseSlide(s.key, _without_maps(s.result)) for s in result.slides)
    return CaseResult(without_maps, (Reason.RESULTS_FAILED, detail))


def _without_maps(told: Prediction | NotAssessable) -> Prediction | NotAssessable:
    return replace(told, heatmaps=(), class_maps=()) if isinstance(told, Prediction) else told
