"""What was predicted of a slide or a case, kept for an attempt that only builds other forms."""

from __future__ import annotations

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Run
from dicom_node.work.answers import Analyzed
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.students.jobs import Job
from dicom_node.work.students.roster import Roster
from inference import archive
from inference.case import archive as of_cases
from inference.case.values import CaseResult
from inference.types import NotAssessable, Prediction


class Answered:
    """The predictions of slides and cases on the disk."""

    def __init__(self, ledger: WorkerLedger, roster: Roster, objects: ResultObjects) -> None:
        self._ledger = ledger
        self._objects = objects
        self._made_with = f"{roster.digest} on {roster.engine}"

    def keep(
        self, run: Run, job: Job, result: Prediction | NotAssessable | CaseResult, trouble: str
    ) -> Analyzed:
        """Write a prediction; the answer of its step."""
        answer = Analyzed(type(result).__name__, trouble)
        note = {"made_with": self._made_with, "result": answer.result, "trouble": trouble}
        path = self._objects.prediction_path(run, job)
        if isinstance(result, CaseResult):
            of_cases.save(result, path, note)
        else:
            archive.save(result, path, note)
        return answer

    def before(self, run: Run, job: Job) -> Analyzed | None:
        """What an earlier attempt with the same students said of a slide or a case, where a
        destination refused a form, so that only others are to be built; None where it has to be
        analyzed."""
        if not self._ledger.queries.refused_kinds(run.study, run.revision):
            return None
        try:
            read = of_cases.note_of if job.is_case else archive.note_of
            note = read(self._objects.prediction_path(run, job))
        except (OSError, ValueError):
            return None
        if note.get("made_with") != self._made_with:
            return None
        return Analyzed(note["result"], note["trouble"])
