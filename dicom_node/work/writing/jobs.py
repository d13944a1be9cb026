"""What is written of each job of a study, in which order and with which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Run
from dicom_node.results.kinds import Wanted
from dicom_node.work.cases.cases import Cases
from dicom_node.work.interruptions import BUILDING, DIED, Working, is_set_aside
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.students.jobs import Job
from dicom_node.work.students.roster import Roster
from inference.case.values import CASE
from inference.slide.files import SlideFiles


class Writing:
    """Writes the objects of one worker process."""

    def __init__(
        self,
        ledger: WorkerLedger,
        roster: Roster,
        working: Working,
        objects: ResultObjects,
        cases: Cases,
    ) -> None:
        self._ledger = ledger
        self._roster = roster
        self._working = working
        self._objects = objects
        self._cases = cases

    def numbered(
        self, run: Run, slides: Mapping[str, SlideFiles], jobs: Iterable[Job]
    ) -> dict[Job, dict[Job, int]]:
        """The jobs in their order, each with the numbers of its parts.

        Slide after slide, then what is of all slides; silent students after all others: they change
        no number of theirs.
        """
        places = [*slides, CASE]
        by_slide = sorted(jobs, key=lambda job: places.index(job.slide))
        ordered = sorted(by_slide, key=lambda job: self._roster.is_silent(job.model))
        parts = {job: job.parts(slides) for job in ordered}
        every = [part for job in ordered for part in parts[job]]
        numbers = dict(zip(every, self._objects.numbers(run, every), strict=True))
        return {job: {part: numbers[part] for part in parts[job]} for job in ordered}

    def write(
        self,
        run: Run,
        slides: Mapping[str, SlideFiles],
        job: Job,
        numbers: Mapping[Job, int],
        wanted: Wanted,
    ) -> tuple[list[Result], str]:
        """The objects of a job, and what an operator must see to; `wanted` are the kinds to be made
        of those that are made only where asked for."""
        if not self._roster.is_silent(job.model):
            return self._write(run, slides, job, numbers, wanted)
        if is_set_aside(self._ledger, run, job, BUILDING):
            return [], DIED
        with self._working.on(run, BUILDING, job):
            return self._write(run, slides, job, numbers, wanted)

    def _write(
        self,
        run: Run,
        slides: Mapping[str, SlideFiles],
        job: Job,
        numbers: Mapping[Job, int],
        wanted: Wanted,
    ) -> tuple[list[Result], str]:
        if job.is_case:
            return self._cases.write(run, slides, job, numbers, wanted)
        return self._objects.write(run, slides[job.slide], job, numbers[job], wanted)
