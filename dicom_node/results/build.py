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
        return built
    trouble = f"no objects can be made of its result: {built}"
    built = _tried(_not_representable(result), making, may_pass)
    if not isinstance(built, str):
        return built[0], "; ".join([trouble, built[1]] if built[1] else [trouble])
    return [], f"no report can be made of it: {built}"


def _tried(
    result: Result, making: Callable[[Result], Making], may_pass: tuple[type[Exception], ...]
) -> tuple[list[BuiltObject], str] | str:
    """The objects of a result and what could not be made of those that were asked for, or the class
    and place of the error that ended their making."""
    try:
        built, failed = _built(making(result), may_pass)
    except Exception as error:  # of this slide; the study's others go on
        if _passes(error, may_pass):
            raise
        log.error("objects_not_built", reason=_why(error), trace=trace_of(error))
        return _why(error)
    return built, f"not made, though asked for: {'; '.join(failed)}" if failed else ""


def _not_representable(result: Result) -> NotAssessable:
    detail = (
        "The slide was analyzed, but its results cannot be put into DICOM objects; the log of the "
        "node says why."
    )
    return NotAssessable(Reason.RESULTS_FAILED, detail, None, result.levels, result.base)


def build_objects(making: Making) -> list[BuiltObject]:
    """Every object that the table of kinds has for a slide, as they are made one after the other.

    In UTF-8; what of the slide's texts is not in the character set that it states is told. What is
    made only where it is asked for is made for `making.wanted`.
    """
    return _built(making)[0]


def _built(
    making: Making, may_pass: tuple[type[Exception], ...] = (OSError,)
) -> tuple[list[BuiltObject], list[str]]:
    """The objects, and which of those that were asked for could not be made, and why."""
    making = replace(making, source=in_unicode(making.source))
    lost = undecoded(making.source)
    if lost:
        attributes = list(lost[:_MOST_NAMED])
        log.warning("text_not_decoded", slide=making.slide.key, attributes=attributes, of=len(lost))
    failed = []
    for kind in kinds.KINDS:
        if kind.needs_prediction and not isinstance(making.result, Prediction):
            continue
        if kind.asked and kind.name not in (making.wanted or ()):
            continue
        try:
            making = making.after(_made(kind, making))
        except Exception as error:
            # The report says all: it does not wait for what stands beside it.
            if not kind.asked or _passes(error, may_pass):
                raise
            log.error("kind_not_built", kind=kind.name, trace=trace_of(error))
            failed.append(f"{kind.name} ({_why(error)})")
    return list(making.made), failed


def _made(kind: kinds.Kind, making: Making) -> list[BuiltObject]:
    made = list(import_module(kind.module).make(making))
    wrong = [b for b in made if b.dataset.SOPClassUID != kind.sop_class.uid]
    if wrong:
        found = wrong[0].dataset.SOPClassUID
        raise ValueError(f"{kind.module} made {found}, expected {kind.sop_class.name}")
    return require_sound(kind, made, making)


def _why(error: Exception) -> str:
    """Why something was not made: what the check found, or the class and place of the error."""
    return str(error) if isinstance(error, Unsound) else place_of(error)


def _passes(error: Exception, may_pass: tuple[type[Exception], ...]) -> bool:
    """Whether it is no fault of the slide, but of the machine or of what else `may_pass` names."""
    return isinstance(error, may_pass) and (
        not isinstance(error, OSError) or is_of_the_machine(error)
    )
