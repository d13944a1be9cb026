"""All objects of a slide, kind after kind; shared by the worker and `analyze`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import structlog

from dicom_node.observe.log import place_of, trace_of
from dicom_node.results import kinds
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.selfcheck.whole import Unsound, require_sound
from inference.errors import is_of_the_machine
from inference.slide.characters.header import in_unicode, undecoded
from inference.types import NotAssessable, Prediction, Reason

log = structlog.get_logger()

Result = Prediction | NotAssessable
_MOST_NAMED = 10


def objects_of(
    result: Result,
    making: Callable[[Result], Making],
    *,
    may_pass: tuple[type[Exception], ...] = (OSError,),
) -> tuple[list[BuiltObject], str]:
    """The objects of a result, and what an operator must see to.

    A result that no objects can be made of leaves a report that says so; where that cannot be made
    either, nothing. Raises what `may_pass`.
    """
    built = _tried(result, making, may_pass)
    if not isinstance(built, str):
        return built, ""
    trouble = f"no objects can be made of its result: {built}"
    built = _tried(_not_representable(result), making, may_pass)
    if not isinstance(built, str):
        return built, trouble
    return [], f"no report can be made of it: {built}"


def _tried(
    result: Result, making: Callable[[Result], Making], may_pass: tuple[type[Exception], ...]
) -> list[BuiltObject] | str:
    """The objects of a result, or the class and place of the error that ended their making."""
    try:
        return build_objects(making(result))
    except Exception as error:  # of this slide; the study's others go on
        if isinstance(error, may_pass) and (
            not isinstance(error, OSError) or is_of_the_machine(error)
        ):
            raise
        log.error("objects_not_built", reason=_why(error), trace=trace_of(error))
        return _why(error)


def _not_representable(result: Result) -> NotAssessable:
    detail = (
        "The slide was analyzed, but its results cannot be put into DICOM objects; the log of the "
        "node says why."
    )
    return NotAssessable(Reason.RESULTS_FAILED, detail, None, result.levels, result.base)


def build_objects(making: Making) -> list[BuiltObject]:
    """Every object that the table of kinds has for a slide, in delivery order.

    In UTF-8; what of the slide's texts is not in the character set that it states is told.
    """
    making = replace(making, source=in_unicode(making.source))
    lost = undecoded(making.source)
    if lost:
        attributes = list(lost[:_MOST_NAMED])
        log.warning("text_not_decoded", slide=making.slide.key, attributes=attributes, of=len(lost))
    for kind in kinds.KINDS:
        if kind.asked and kind.name not in (making.wanted or ()):
            continue
        if kind.needs_prediction and not isinstance(making.result, Prediction):
            continue
        making = making.after(_made(kind, making))
    return list(making.made)


def _made(kind: kinds.Kind, making: Making) -> list[BuiltObject]:
    """Objects of a kind, which may be sent. Raises Unsound where one may not."""
    made = list(import_module(kind.module).make(making))
    wrong = [b for b in made if b.dataset.SOPClassUID != kind.sop_class.uid]
    if wrong:
        found = wrong[0].dataset.SOPClassUID
        raise ValueError(f"{kind.module} made {found}, expected {kind.sop_class.name}")
    require_sound(kind, made, making)
    return made


def _why(error: Exception) -> str:
    """Why something was not made: what the check found, or the class and place of the error."""
    return str(error) if isinstance(error, Unsound) else place_of(error)
