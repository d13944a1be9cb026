"""The job of a case: it is analyzed and written, as that of a slide is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Run
from dicom_node.results.kinds import Wanted
from dicom_node.work.cases.said import SaidOfCases, failed
from dicom_node.work.cases.written import CaseObjects
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.students.earlier import Earlier
from dicom_node.work.students.jobs import Assigning, Job
from dicom_node.work.students.opened import Students
from engines.errors import DeviceFailed
from inference.case.values import CaseResult
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.tiles.values import discard


class Cases:
    """The cases of one worker process."""

    def __init__(
        self,
        config: Config,
        ledger: WorkerLedger,
        students: Students,
        assigning: Assigning,
        objects: ResultObjects,
        ahead: Ahead,
    ) -> None:
        roster = students.roster
        self._roster = roster
        self._objects = objects
        self._said = SaidOfCases(ledger, students, assigning, objects, ahead)
        earlier = Earlier(config, ledger, roster)
        self._written = CaseObjects(roster, assigning, objects, earlier)

    def analyze(
        self, run: Run, job: Job, moved: Callable[[], None], stop: Callable[[], bool], died: str
    ) -> tuple[CaseResult, str]:
        """The result of a case, and what an operator must see to.

        `died` says why the model is not to run; empty where it is. A silent one that fails holds
        nobody else back. Raises what `work.slides.result_of` does.
        """
        known = self._roster.of(job.model)
        if known is None or died:
            return failed(died or "The model of the case is not there any more."), died
        try:
            return self._said.of(run, job, known, moved, stop)
        except DeviceFailed as error:
            if not known.is_silent:
                raise
            return failed(str(error)), str(error)

    def discard_tiles(self, run: Run, job: Job, moved: Callable[[], None]) -> None:
        """Remove what was kept of single tiles: the result of the case is on the disk."""
        for slide in self._objects.slides(run, moved):
            discard(self._objects.tiles_path(run, job.on(slide.key)))

    def write(
        self,
        run: Run,
        slides: Mapping[str, SlideFiles],
        job: Job,
        numbers: Mapping[Job, int],
        wanted: Wanted,
    ) -> tuple[list[Result], str]:
        """Build and write the objects of a case, with the numbers of its parts; and what an
        operator must see to."""
        return self._written.write(run, slides, job, numbers, wanted)
