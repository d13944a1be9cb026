"""What a model says of a slide, for a study that is closed and for one that is open: one way."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.ledger.rows import Run
from dicom_node.work.early.reading import levels_read
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.slides import result_of
from dicom_node.work.students.jobs import Job, made_for
from dicom_node.work.students.opened import Students
from dicom_node.work.students.roster import Known
from inference.slide.files import SlideFiles
from inference.tiles.ahead import Ahead
from inference.tiles.planned import Asked
from inference.types import NotAssessable, Prediction, Progress


class Numbers:
    """Runs the students of one worker process; tiles that are done are kept."""

    def __init__(self, students: Students, objects: ResultObjects, ahead: Ahead) -> None:
        self._students = students
        self._objects = objects
        self._ahead = ahead

    def of(
        self,
        run: Run,
        slide: SlideFiles,
        job: Job,
        known: Known,
        *,
        progress: Callable[[Progress], None],
        stop: Callable[[], bool],
        after: Asked | None,
    ) -> tuple[Prediction | NotAssessable, str]:
        """The result of a job, and what an operator must see to where there could be none. The
        slide `after` it is planned meanwhile.

        Raises what `result_of` does.
        """
        read = levels_read(slide)
        self._ahead.expect(after)
        with self._students.use(known) as runtime:
            return result_of(
                slide,
                runtime,
                progress=progress,
                stop=stop,
                resume=self._objects.tiles_path(run, job),
                read=read,
                made_for=made_for(known),
                ahead=self._ahead,
            )


def asked_of(slide: SlideFiles, known: Known) -> Asked:
    """What a slide is planned for, as `Numbers.of` asks for it."""
    return Asked.of(slide.paths, known.bundle.manifest, made_for(known))
