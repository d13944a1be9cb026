"""What is said of one slide: its prediction, or why there is none. Never the end of its study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.observe.log import place_of, trace_of
from engines.errors import DeviceFailed
from engines.manifest.claims import Applicability
from engines.runtime import Runtime
from inference import predict
from inference.errors import SlideUnreadable
from inference.seen import Seen
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.types import NotAssessable, Prediction, Progress, Reason

log = structlog.get_logger()

_T = TypeVar("_T")


def incomplete(missing: str) -> NotAssessable:
    """The preliminary report of a slide that lacks something; `missing` says what."""
    detail = (
        f"Preliminary: files of the slide are missing ({missing}). Another report replaces this "
        "one when they arrive."
    )
    return NotAssessable(Reason.INCOMPLETE, detail, None, ())


def result_of(
    slide: SlideFiles,
    runtime: Runtime,
    *,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    resume: Path,
    read: str,
    made_for: Applicability,
    ahead: Ahead,
) -> tuple[Prediction | NotAssessable, str]:
    """The result of a slide, and what an operator must see to where there could be none.

    `resume`, `read`, `made_for` and `ahead` as in `predict`. Raises what may pass,
    DeviceFailed, OSError and LedgerFailed, and Stopped.
    """
    return _safely(
        slide,
        lambda: predict.predict(
            slide.paths,
            runtime,
            progress=progress,
            stop=stop,
            resume=resume,
            read=read,
            made_for=made_for,
            ahead=ahead,
        ),
    )


def seen_of(
    slide: SlideFiles,
    runtime: Runtime,
    *,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    resume: Path,
    read: str,
    made_for: Applicability,
    ahead: Ahead,
) -> tuple[Seen | NotAssessable, str]:
    """What a case gets of a slide, as `result_of`."""
    return _safely(
        slide,
        lambda: predict.look(
            slide.paths,
            runtime,
            progress=progress,
            stop=stop,
            resume=resume,
            read=read,
            made_for=made_for,
            ahead=ahead,
        ),
    )


def _safely(slide: SlideFiles, ask: Callable[[], _T]) -> tuple[_T | NotAssessable, str]:
    try:
        result = ask()
    except SlideUnreadable as error:
        return failed(str(error)), f"slide {slide.key}: {error}"
    except (DeviceFailed, OSError, LedgerFailed, predict.Stopped):
        raise
    except Exception as error:  # noqa: BLE001 - of this slide; the study's others go on
        log.error("unexpected_error", error=type(error).__name__, trace=trace_of(error))
        detail = "The analysis ended with an error of the software; the log of the node has it."
        return failed(detail), f"slide {slide.key}: unexpected {place_of(error)}"
    return result, ""


def failed(detail: str) -> NotAssessable:
    """The report of a slide whose analysis failed; `detail` says why."""
    return NotAssessable(Reason.ANALYSIS_FAILED, detail, None, ())
