"""What is said of a case: which slides are in the bag, and which are left out and why."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.observe.log import place_of, trace_of
from dicom_node.study.evidence import patients_differ
from dicom_node.work.attempts import reporter
from dicom_node.work.early.reading import levels_read
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import incomplete, seen_of
from dicom_node.work.students.jobs import Assigning, Job, made_for
from dicom_node.work.students.opened import Students
from dicom_node.work.students.roster import Known
from engines.errors import DeviceFailed
from engines.runtime import Runtime
from inference.case.predict import Looked, of_any_amount, predict_case
from inference.case.values import CaseResult
from inference.seen import Seen
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.tiles.planned import Asked
from inference.types import NotAssessable, Reason

log = structlog.get_logger()

_FAILED = "The analysis ended with an error of the software; the log of the node has it."


class SaidOfCases:
    """Asks the students of cases."""

    def __init__(
        self,
        ledger: WorkerLedger,
        students: Students,
        assigning: Assigning,
        objects: ResultObjects,
        ahead: Ahead,
    ) -> None:
        self._ledger = ledger
        self._students = students
        self._assigning = assigning
        self._objects = objects
        self._ahead = ahead

    def of(
        self, run: Run, job: Job, known: Known, moved: Callable[[], None], stop: Callable[[], bool]
    ) -> tuple[CaseResult, str]:
        """The result of a case, and what an operator must see to.

        The tiles of each slide are kept as those of a slide by itself: an attempt that was killed
        goes on with the slide it had come to. Raises what `work.slides.result_of` does.
        """
        slides = self._objects.slides(run, moved)
        if differ := patients_differ(slides):
            return failed(differ), f"case: {differ}"
        looked: list[Looked] = []
        troubles: list[str] = []
        with self._students.use(known) as runtime:
            ordered = sorted(slides, key=lambda slide: slide.key)
            for slide, after in zip(ordered, [*ordered[1:], None], strict=True):
                self._ahead.expect(self._following(run, after, known))
                seen, trouble = self._seen(run, slide, job, known, runtime, moved, stop)
                looked.append((slide.key, seen))
                troubles += [trouble] if trouble else []
            result, trouble = _judged(looked, runtime, known)
        return result, "; ".join([*troubles, *([trouble] if trouble else [])])

    def _seen(
        self,
        run: Run,
        slide: SlideFiles,
        job: Job,
        known: Known,
        runtime: Runtime,
        moved: Callable[[], None],
        stop: Callable[[], bool],
    ) -> tuple[Seen | NotAssessable, str]:
        """A slide of the case: for another model, incomplete, not assessable, or in the bag."""
        moved()
        if (left_out := self._left_out(run, slide, known)) is not None:
            return left_out
        seen, trouble = seen_of(
            slide,
            runtime,
            progress=reporter(self._ledger, run, slide.key, moved),
            stop=stop,
            resume=self._objects.tiles_path(run, job.on(slide.key)),
            read=levels_read(slide),
            made_for=of_any_amount(made_for(known)),
            ahead=self._ahead,
        )
        log.info("slide_of_case", slide=slide.key, result=type(seen).__name__)
        return seen, trouble

    def _left_out(
        self, run: Run, slide: SlideFiles, known: Known
    ) -> tuple[NotAssessable, str] | None:
        """Why a slide is not in the bag, and what an operator must see to; None where it is."""
        assigned = self._assigning.of(slide)
        if refusal := self._assigning.left_out(known, assigned):
            return refusal, f"slide {slide.key}: {assigned.trouble}" if assigned.trouble else ""
        if missing := self._objects.missing_of(run, slide):
            return incomplete(missing), ""
        return None

    def _following(self, run: Run, slide: SlideFiles | None, known: Known) -> Asked | None:
        """What is planned while another slide of the case is encoded; what is wrong with it is said
        when its turn comes."""
        try:
            if slide is None or self._left_out(run, slide, known) is not None:
                return None
        except OSError:
            return None
        return Asked.of(slide.paths, known.bundle.manifest, of_any_amount(made_for(known)))


def failed(detail: str) -> CaseResult:
    """A case of which nothing is known but why."""
    return CaseResult((), (Reason.ANALYSIS_FAILED, detail))


def _judged(looked: list[Looked], runtime: Runtime, known: Known) -> tuple[CaseResult, str]:
    try:
        return predict_case(looked, runtime, made_for(known)), ""
    except (DeviceFailed, OSError, LedgerFailed):
        raise
    except Exception as error:  # noqa: BLE001 - of this case; what others say of the study goes on
        log.error("unexpected_error", error=type(error).__name__, trace=trace_of(error))
        return failed(_FAILED), f"case: unexpected {place_of(error)}"
