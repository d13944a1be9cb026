"""A slide opened, and what of it is analyzed: all that is done before a student sees a tile."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from engines.manifest.claims import Applicability
from engines.manifest.tensors import TileInput
from engines.manifest.whole import Manifest
from inference import quality
from inference.errors import FramesUnreadable, Refused, never
from inference.slide.slide import Slide, open_slide
from inference.tiles.planning import Plan, plan_tiles
from inference.tissue.overview import outside_scan_mm2, outside_scan_warning
from inference.types import LevelAccount, NotAssessable, Reason


@dataclass(frozen=True, slots=True)
class Asked:
    """All that the plan of a slide is a function of, but for what its files hold."""

    paths: tuple[Path, ...]
    wanted: TileInput
    made_for: Applicability

    @classmethod
    def of(
        cls, paths: Sequence[Path], manifest: Manifest, made_for: Applicability | None = None
    ) -> Asked:
        """A slide for the student of a manifest; `made_for` in the place of what that says."""
        return cls(tuple(paths), manifest.input, made_for or manifest.applicability)


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A slide and its plan; a context manager that closes the slide's files."""

    slide: Slide
    plan: Plan
    made_for: Applicability
    beyond: tuple[str, ...]
    """What is said of tissue that was not scanned."""

    def too_little(self, cells: Sequence[NDArray[np.int32]]) -> tuple[Reason, str] | None:
        """Why the least well filled of its grids, with these `cells` [N, 2] each, holds too little
        to judge."""
        refusal = quality.tissue_refusal(
            self.plan.analyzed_mm2(cells[0]),
            min(map(len, cells)),
            self.made_for,
            self.plan.unread_mm2(cells[0]),
        )
        return refusal and quality.with_tissue_beyond(refusal, self.beyond)

    def not_assessable(self, refusal: tuple[Reason, str]) -> NotAssessable:
        """The report of the slide that must not be judged."""
        return _not_assessable(self.slide, self.plan.levels, refusal)

    def close(self) -> None:
        """Close the files; nothing of the slide can be read afterwards."""
        self.slide.close()

    def __enter__(self) -> Planned:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def plan_slide(asked: Asked, stop: Callable[[], bool] = never) -> Planned:
    """A slide, open, with its plan.

    Raises Refused, with the NotAssessable that becomes the report, for a slide that must not be
    judged, Stopped when `stop` says so, SlideUnreadable, and OSError for what cannot be read now.
    """
    wanted = asked.wanted
    coarsest = wanted.mpp * (1 + wanted.mpp_tolerance)
    with ExitStack() as files:
        slide = files.enter_context(open_slide(asked.paths, wanted.icc, coarsest_mpp=coarsest))
        refusal = quality.magnification_refusal(slide.mpp, wanted)
        stain, warnings = quality.stain_refusal(slide.stains, asked.made_for)
        if refusal := refusal or stain:
            raise Refused(_not_assessable(slide, slide.accounts, refusal))
        try:
            plan = plan_tiles(slide, wanted, warnings, stop)
        except FramesUnreadable as error:
            refusal = Reason.FRAMES_UNREADABLE, str(error)
            raise Refused(_not_assessable(slide, slide.accounts, refusal)) from error
        beyond = outside_scan_warning(outside_scan_mm2(slide, plan.tissue))
        plan = replace(plan, warnings=plan.warnings + beyond)
        planned = Planned(slide, plan, asked.made_for, beyond)
        disputed = quality.dispute_refusal(plan.tissue.area_mm2, plan.tissue.disputed_mm2)
        refusal = disputed and quality.with_tissue_beyond(disputed, beyond)
        if refusal := refusal or planned.too_little([s.cells for s in plan.sources]):
            raise Refused(planned.not_assessable(refusal))
        files.pop_all()
        _give_back()
        return planned


def _give_back() -> None:
    """Free memory to the system: what looking for tissue took, some 90 MB of a large slide, would
    lie idle beside all that follows. Of glibc; other libraries keep less, or have their own ways.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _not_assessable(
    slide: Slide, accounts: tuple[LevelAccount, ...], refusal: tuple[Reason, str]
) -> NotAssessable:
    return NotAssessable(refusal[0], refusal[1], slide.geometry, accounts, slide.base_uid)
