"""Kinds of result objects: one pure table that delivery, `check` and the builders read.

To add a kind: a module with `make(making) -> Iterable[BuiltObject]`, and one line here. Its Series
Numbers are `making.usual_series_number`, from 1 on over all kinds; those of a kind which is made
only where it is asked for are `making.asked_series_number`, by a `place` of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dicom_node.sop_classes import (
    BASIC_TEXT_SR,
    COMPREHENSIVE_3D_SR,
    ENCAPSULATED_PDF,
    ENHANCED_SR,
    KEY_OBJECT_SELECTION,
    PARAMETRIC_MAP,
    SECONDARY_CAPTURE,
    SEGMENTATION,
    SIMPLE_ANNOTATIONS,
    VL_WHOLE_SLIDE_MICROSCOPY,
    SopClass,
)

CASE = "case"
"""In the place of a slide's key: of all slides together. `inference.case.values` has it, too, which
a pure table must not load."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    """The `kind` of each object, or its beginning before a hyphen: a heatmap is `heatmap-tumor`."""
    sop_class: SopClass
    module: str
    """Imported when such an object is made: it may load what a listener must not."""
    needs_prediction: bool
    asked: bool = False
    """Made only where a destination, or a person, asks for it."""
    instead_of: str = ""
    """The kind that it can stand for, where a destination does not take that one."""
    place: int = 0
    """Of one that is made where asked for: which of its slide's Series Numbers it has. No other has
    it, and it never changes."""


HEATMAP = Kind("heatmap", SEGMENTATION, "dicom_node.results.seg.heatmap", needs_prediction=True)
REPORT = Kind("report", COMPREHENSIVE_3D_SR, "dicom_node.results.sr.report", needs_prediction=False)
REGION = Kind("region", SEGMENTATION, "dicom_node.results.seg.region", needs_prediction=True)
ATTENTION = Kind(
    "attention", SEGMENTATION, "dicom_node.results.seg.attention", needs_prediction=True
)
REPORT_ENHANCED = Kind(
    "report-enhanced",
    ENHANCED_SR,
    "dicom_node.results.sr.enhanced",
    needs_prediction=False,
    asked=True,
    instead_of="report",
    place=0,
)
REPORT_TEXT = Kind(
    "report-text",
    BASIC_TEXT_SR,
    "dicom_node.results.sr.basic",
    needs_prediction=False,
    asked=True,
    instead_of="report",
    place=1,
)
SUMMARY = Kind(
    "summary",
    ENCAPSULATED_PDF,
    "dicom_node.results.pdf.summary",
    needs_prediction=False,
    asked=True,
    instead_of="report",
    place=2,
)
OVERLAY = Kind(
    "overlay",
    VL_WHOLE_SLIDE_MICROSCOPY,
    "dicom_node.results.overlay.slide_image",
    needs_prediction=True,
    asked=True,
    instead_of="heatmap",
    place=3,
)
CAPTURE = Kind(
    "capture",
    SECONDARY_CAPTURE,
    "dicom_node.results.overlay.capture",
    needs_prediction=True,
    asked=True,
    instead_of="overlay",
    place=4,
)
ANNOTATIONS = Kind(
    "annotations",
    SIMPLE_ANNOTATIONS,
    "dicom_node.results.ann.annotations",
    needs_prediction=True,
    asked=True,
    place=5,
)
MAP = Kind(
    "map",
    PARAMETRIC_MAP,
    "dicom_node.results.pm.parametric_map",
    needs_prediction=True,
    asked=True,
    place=6,
)
SET = Kind(
    "set",
    KEY_OBJECT_SELECTION,
    "dicom_node.results.ko.selection",
    needs_prediction=False,
    asked=True,
    place=7,
)
LEVEL = Kind(
    "level",
    SEGMENTATION,
    "dicom_node.results.seg.on_level",
    needs_prediction=True,
    asked=True,
    place=8,
)
"""Every Segmentation once more, on the grid of a level of the slide: `level-heatmap-tumor`."""
USUAL_SEGMENTATIONS = (HEATMAP, REGION, ATTENTION)
"""Those that are made unasked, on the grid of the tiles."""

KINDS = (
    HEATMAP,
    REGION,
    ATTENTION,
    REPORT,
    REPORT_ENHANCED,
    REPORT_TEXT,
    SUMMARY,
    OVERLAY,
    CAPTURE,
    ANNOTATIONS,
    MAP,
    LEVEL,
    SET,
)
"""In the order in which they are made: the report after the heatmaps that it cites, then what is
made of these, the set of all last."""


def kind_of(name: str) -> Kind | None:
    """The line of an object by its own `kind`; of several that fit, the one of the longest name."""
    fitting = [k for k in KINDS if name == k.name or name.startswith(f"{k.name}-")]
    return max(fitting, key=lambda k: len(k.name), default=None)


class Made(Protocol):
    """An object that was made."""

    @property
    def kind(self) -> str:
        """Its own kind."""

    @property
    def slide(self) -> str:
        """Key of its slide; CASE for one of all slides together."""


_M = TypeVar("_M", bound=Made)
_MOST_LETTERS = 32


@dataclass(frozen=True, slots=True)
class Selection:
    """What one destination is sent, or several, of what the node makes: what a set names there."""

    kinds: frozenset[str]
    """By name."""
    on_level: bool = False
    """Whether a Segmentation on the grid of a level is sent in the place of the usual one."""

    def of(self, made: Sequence[_M]) -> list[_M]:
        """Those of the objects of one model that are sent, in their order; of sets its own."""
        prefix = f"{LEVEL.name}-"
        laid = {(one.slide, one.kind.removeprefix(prefix)): one for one in made
                if kind_of(one.kind) == LEVEL}  # fmt: skip
        found = [
            laid.get((one.slide, one.kind), one) if self.on_level else one
            for one in made
            if self._has(one.kind)
        ]
        return list({id(one): one for one in found}.values())

    @property
    def own_kind(self) -> str:
        """The `kind` of its sets: `set` where what is made unasked is sent, on the grid of tiles;
        else what is sent besides, or letters that stand for all that is sent."""
        is_usual = all(kind.name in self.kinds for kind in KINDS if not kind.asked)
        more = [k.name for k in KINDS if k.asked and k.name in self.kinds and k != SET]
        parts = [*more, *(["on-level"] if self.on_level else [])]
        name = "-".join([SET.name, "+".join(parts)]) if parts else SET.name
        if is_usual and len(name) <= _MOST_LETTERS:
            return name
        told = f"{sorted(self.kinds)} {self.on_level}"
        return f"{SET.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def _has(self, own_kind: str) -> bool:
        kind = kind_of(own_kind)
        if kind == SET:
            return SET.name in self.kinds and own_kind == self.own_kind
        return kind is None or kind.name in self.kinds


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of what is made only where it is asked for."""

    kinds: frozenset[str] = frozenset()
    """By name."""
    sets: tuple[Selection, ...] = ()
    """Each has a set of its own; without any one set names all."""


def asked_names() -> tuple[str, ...]:
    """Names of the kinds that are made only where they are asked for."""
    return tuple(kind.name for kind in KINDS if kind.asked)


def usual_classes() -> dict[str, SopClass]:
    """SOP classes by UID of the kinds that are made without being asked for."""
    return {kind.sop_class.uid: kind.sop_class for kind in KINDS if not kind.asked}


def result_classes() -> dict[str, SopClass]:
    """SOP classes of all kinds by UID."""
    return {kind.sop_class.uid: kind.sop_class for kind in KINDS}
