"""Which slide of an attempt is planned while another one is analyzed."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.ledger.rows import Run
from dicom_node.study.evidence import PatientsDiffer
from dicom_node.study.facts import Uncountable
from dicom_node.work.early.kept import KeptNumbers
from dicom_node.work.numbers import asked_of
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.students.jobs import Assigning, Job
from dicom_node.work.students.roster import Roster
from inference.tiles.planned import Asked


class Following:
    """Looks at the jobs that come next. What is wrong with one is said when its turn comes."""

    def __init__(
        self, objects: ResultObjects, roster: Roster, assigning: Assigning, kept: KeptNumbers
    ) -> None:
        self._objects = objects
        self._roster = roster
        self._assigning = assigning
        self._kept = kept

    def of(self, run: Run, job: Job, after: str, moved: Callable[[], None]) -> Asked | None:
        """The slide of the job that follows, where it will be analyzed; None where not.

        Nothing is planned for a silent student, nor beside one: if that ended the worker, the one
        or the other would answer for it. Raises LedgerFailed.
        """
        following = Job.read(after)
        known = self._roster.of(following.model)
        if not after or following.is_case or known is None:
            return None
        if known.is_silent or self._roster.is_silent(job.model):
            return None
        if self._kept.has(run, following):
            return None
        try:
            slide = self._objects.slide(run, following.slide, moved)
            assigned = self._assigning.of(slide)
        except (OSError, Uncountable, PatientsDiffer):
            return None
        if self._objects.missing_of(run, slide):
            return None
        if self._assigning.refusal(following, assigned) is not None:
            return None
        return asked_of(slide, known)
