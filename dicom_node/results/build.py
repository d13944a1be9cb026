"""All objects of a slide, kind after kind; shared by the worker and `analyze`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import TypeVar

import structlog

from dicom_node.observe.log import place_of, trace_of
from dicom_node.results import kinds
from dicom_node.results.case_making import CaseMaking
from dicom_node.results.content import settled
from dicom_node.results.kinds import Kind
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.selfcheck.whole import Unsound, require_sound
from dicom_node.results.sources import sources_of
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
    return first_that_can_be_made(
        lambda: _built(making(result), may_pass),
        lambda: _built(making(_not_representable(result)), may_pass),
        may_pass,
    )


Build = Callable[[], tuple[list[BuiltObject], list[str]]]
"""Makes the objects, and tells which of those that were asked for could not be made, and why."""


def first_that_can_be_made(
    wanted: Build, instead: Build, may_pass: tuple[type[Exception], ...]
) -> tuple[list[BuiltObject], str]:
    """The objects that are wanted, those that say why there are none, or none; and what an operator
    must see to. Raises what `may_pass`."""
    built = _tried(wanted, may_pass)
    if not isinstance(built, str):
        return built
    trouble = f"no objects can be made of its result: {built}"
    built = _tried(instead, may_pass)
    if not isinstance(built, str):
        return built[0], "; ".join([trouble, built[1]] if built[1] else [trouble])
    return [], f"no report can be made of it: {built}"


def load_builders() -> None:
    """Import what makes the objects of every slide: that takes seconds once, which no study then
    waits for."""
    for kind in kinds.KINDS:
        if not kind.asked:
            import_module(kind.module)


def _tried(
    build: Build, may_pass: tuple[type[Exception], ...]
) -> tuple[list[BuiltObject], str] | str:
    """The objects and what could not be made of those that were asked for, or the class and place
    of the error that ended their making."""
    try:
        built, failed = build()
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

    In UTF-8; what of the slide's texts is not in the character set that it states is told. An
    object that comes out as it was registered before is that object. What is made only where it is
    asked for is made for `making.wanted`.
    """
    return _built(making)[0]


def _built(
    making: Making, may_pass: tuple[type[Exception], ...] = (OSError,)
) -> tuple[list[BuiltObject], list[str]]:
    """The objects, and which of those that were asked for could not be made, and why."""
    making = replace(
        making,
        source=in_unicode(making.source),
        read=sources_of(making.source, making.slide, making.result),
    )
    lost = undecoded(making.source)
    if lost:
        attributes = list(lost[:_MOST_NAMED])
        log.warning("text_not_decoded", slide=making.slide.key, attributes=attributes, of=len(lost))
    making, failed = after_each(making, kinds.KINDS, may_pass)
    return list(making.made), failed


def after_each(
    making: Making, table: Iterable[Kind], may_pass: tuple[type[Exception], ...] = (OSError,)
) -> tuple[Making, list[str]]:
    """With the objects of each kind of `table` that can be made and, where it is made only if asked
    for, is wanted; and which of these could not be made, and why. Raises what other kinds raise,
    and what `may_pass`."""
    failed = []
    for kind in table:
        if kind.needs_prediction and not isinstance(making.result, Prediction):
            continue
        if kind.asked and kind.name not in (making.wanted or ()):
            continue
        try:
            making = making.after(same_or_new(kind, making))
        except Exception as error:
            # The report says all: it does not wait for what stands beside it.
            if not kind.asked or _passes(error, may_pass):
                raise
            log.error("kind_not_built", kind=kind.name, trace=trace_of(error))
            failed.append(f"{kind.name} ({_why(error)})")
    return making, failed


_Any = TypeVar("_Any", Making, CaseMaking)


def same_or_new(kind: Kind, making: _Any) -> list[BuiltObject]:
    """Objects of a kind: as they were registered where nothing has changed, and else new ones."""
    former = [f for f in making.formers if kinds.kind_of(f.kind) == kinds.kind_of(kind.name)]
    same: dict[str, BuiltObject] = {}
    again: list[BuiltObject] = []
    for one in former:
        if one.kind in same:
            continue
        provenance = replace(making.provenance, created_at=one.dated_at)
        then = replace(making, provenance=provenance, predecessor=one.predecessor)
        again = _made(kind, then)
        same |= {b.kind: b for b in again if _uid(b) in {f.sop_instance_uid for f in former}}
    if again and all(b.kind in same for b in again):
        return [same[b.kind] for b in again]
    new = replace(making, predecessor=making.predecessors.get(kind.name, making.predecessor))
    return [same.get(b.kind, b) for b in _made(kind, new)]


def _made(kind: Kind, making: _Any) -> list[BuiltObject]:
    """Objects of a kind, settled."""
    made = list(import_module(kind.module).make(making))
    wrong = [b for b in made if b.dataset.SOPClassUID != kind.sop_class.uid]
    if wrong:
        found = wrong[0].dataset.SOPClassUID
        raise ValueError(f"{kind.module} made {found}, expected {kind.sop_class.name}")
    at = making.provenance.created_at
    done = [replace(b, file=b.file or settled(b.dataset), dated_at=at) for b in made]
    if isinstance(making, Making):
        return require_sound(kind, done, making.source, making.result.geometry)
    return require_sound(kind, done, None, None)  # of several slides


def _uid(built: BuiltObject) -> str:
    return str(built.dataset.get("SOPInstanceUID"))


def _why(error: Exception) -> str:
    """Why something was not made: what the check found, or the class and place of the error."""
    return str(error) if isinstance(error, Unsound) else place_of(error)


def _passes(error: Exception, may_pass: tuple[type[Exception], ...]) -> bool:
    """Whether it is no fault of the slide, but of the machine or of what else `may_pass` names."""
    return isinstance(error, may_pass) and (
        not isinstance(error, OSError) or is_of_the_machine(error)
    )
