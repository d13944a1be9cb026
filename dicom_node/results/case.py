"""All objects of a case: the maps of each slide that was used, then the one report of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from dicom_node.results import kinds
from dicom_node.results.build import first_that_can_be_made, same_or_new
from dicom_node.results.case_making import CaseMaking
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.sources import sources_of
from dicom_node.sop_classes import SEGMENTATION
from inference.case.values import CaseResult, CaseSlide
from inference.slide.characters.header import in_unicode
from inference.types import Prediction, Reason

_REPORT = replace(kinds.REPORT, module="dicom_node.results.sr.case")


def objects_of_case(
    result: CaseResult,
    making: Callable[[CaseResult], CaseMaking],
    *,
    may_pass: tuple[type[Exception], ...] = (OSError,),
) -> tuple[list[BuiltObject], str]:
    """The objects of a case, and what an operator must see to; a result that no objects can be made
    of leaves a report that says so. Raises what `may_pass`."""
    return first_that_can_be_made(
        lambda: (build_case(making(result)), []),
        lambda: (build_case(making(_not_representable(result))), []),
        may_pass,
    )


def build_case(making: CaseMaking) -> list[BuiltObject]:
    """A Segmentation for each map of each slide that was used, and the one report, which cites
    them. Other kinds are made of slides alone.

    An object that comes out as it was registered before is that object.
    """
    maps = list(_maps(making))
    return [*maps, *same_or_new(_REPORT, replace(making, made=tuple(maps)))]


def _maps(making: CaseMaking) -> Iterator[BuiltObject]:
    """Each as of its own slide."""
    for key, told in making.result.used:
        if not told.heatmaps:
            continue
        slide = making.slides[key]
        one = Making(
            source=in_unicode(slide.header),
            result=told,
            manifest=making.manifest,
            provenance=slide.provenance,
            slide=slide.files,
            number=slide.number,
            formers=slide.formers,
            read=sources_of(slide.header, slide.files, told),
        )
        for kind in kinds.KINDS:
            if kind.needs_prediction and kind.sop_class == SEGMENTATION:
                one = one.after(same_or_new(kind, one))
        yield from one.made


def _not_representable(result: CaseResult) -> CaseResult:
    detail = (
        "The case was analyzed, but its results cannot be put into DICOM objects; the log of the "
        "node says why."
    )
    without_maps = tuple(
        CaseSlide(s.key, replace(s.result, heatmaps=()) if isinstance(s.result, Prediction)
                  else s.result)
        for s in result.slides
    )  # fmt: skip
    return CaseResult(without_maps, (Reason.RESULTS_FAILED, detail))
