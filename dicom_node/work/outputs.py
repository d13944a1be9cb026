"""The objects of a study: which files make each slide, and what is written for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from pydicom import Dataset, dcmread

from dicom_node.config.languages import Language
from dicom_node.config.whole import Config
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.ledger.rows import Result, Revision, Run
from dicom_node.results.build import objects_of
from dicom_node.results.files import file_of, write_built
from dicom_node.results.kinds import Wanted
from dicom_node.results.making import BuiltObject, Making
from dicom_node.results.selfcheck.whole import require_checked
from dicom_node.results.sources import predecessor_in
from dicom_node.study.evidence import missing_of, slides_of
from dicom_node.study.facts import read_facts
from dicom_node.work.students.earlier import Earlier
from dicom_node.work.students.jobs import Assigning, Job
from dicom_node.work.students.provenance import Written, provenance_of
from dicom_node.work.students.roster import Roster
from inference import archive
from inference.durable import whole
from inference.slide.characters.header import in_unicode, undecoded
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Prediction

log = structlog.get_logger()

_MOST_NAMED = 10


class ResultObjects:
    """Reads the slides of a study from the spool and writes their result objects."""

    def __init__(
        self, config: Config, ledger: WorkerLedger, roster: Roster, assigning: Assigning
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._roster = roster
        self._assigning = assigning
        self._earlier = Earlier(config, ledger, roster)

    @property
    def language(self) -> Language:
        """In which the objects speak to people."""
        return self._config.reports.language

    def slides(self, run: Run, moved: Callable[[], None]) -> tuple[SlideFiles, ...]:
        """The slides of a revision that get a report; `moved` is called after each file.

        Raises Uncountable, PatientsDiffer and OSError.
        """
        facts = []
        for row in self._ledger.queries.instances(run.study, run.revision):
            facts.append(read_facts(self._config.spool_dir / row.path))
            moved()
        return slides_of(facts)

    def slide(self, run: Run, key: str, moved: Callable[[], None]) -> SlideFiles:
        """One slide by its key."""
        return next(s for s in self.slides(run, moved) if s.key == key)

    def _folder(self, study: str, revision: int) -> Path:
        """Folder of a revision's predictions and objects."""
        folder = self._config.results_dir / Run(study, revision, 0).folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prediction_path(self, run: Run, job: Job) -> Path:
        """Where the prediction of a slide is kept between analysis and results."""
        return self._folder(run.study, run.revision) / f"prediction-{job.file_name}.npz"

    def tiles_path(self, run: Run, job: Job) -> Path:
        """Where the tiles of a slide that are done are kept while it is being analyzed."""
        return self._folder(run.study, run.revision) / f"tiles-{job.file_name}"

    def missing_of(self, run: Run, slide: SlideFiles) -> str:
        """What a slide of a study that was closed incomplete lacks; empty if nothing."""
        counted = self.closed(run).evidence
        return "; ".join(missing_of(slide, counted.slides)) if counted else ""

    def trouble_of(self, run: Run) -> str:
        """What a study that was closed incomplete lacks, for the operator."""
        counted = self.closed(run).evidence
        if counted is None or not counted.missing:
            return ""
        return f"incomplete after {counted.quiet_s:.0f} s: {'; '.join(counted.missing)}"

    def numbers(self, run: Run, jobs: Sequence[Job]) -> list[int]:
        """Places of the jobs among those of the study, 0-based; each keeps the one it has."""
        return self._earlier.numbers(run, jobs)

    def write(
        self, run: Run, slide: SlideFiles, job: Job, number: int, wanted: Wanted
    ) -> tuple[list[Result], str]:
        """Build and write the objects of the job with this number, in delivery order; `wanted` as
        in `Making`.

        With what an operator must see to: a result that no object can be made of leaves a report
        that says so, and where that cannot be made either, nothing.
        """
        assigned = self._assigning.of(slide)
        result = archive.load(self.prediction_path(run, job))
        known = self._roster.of(job.model)
        taken = None if known is None else assigned.of(known.student.entry.name)
        if taken is not None and isinstance(result, Prediction):
            result = replace(result, warnings=(*result.warnings, *taken.cautions))
        one = Written(slide, job, number, known, taken, frozenset(assigned.names))
        built, trouble = objects_of(
            result, lambda r: self._making(run, one, r, wanted), may_pass=(OSError, LedgerFailed)
        )
        told = f"slide {slide.key}: {trouble}" if trouble else ""
        return [self.keep(run, one, item) for item in built], told

    def _making(
        self,
        run: Run,
        one: Written,
        result: Prediction | NotAssessable,
        wanted: Wanted,
    ) -> Making:
        # No time of this attempt: a killed one must come to the same bytes under the same UIDs.
        at = self._earlier.dated(run, one, self.closed(run))
        provenance = provenance_of(self._roster, one.known, one.taken, at, self.language)
        notes: tuple[str, ...] = one.taken.notes if one.taken else ()
        if one.taken and isinstance(result, NotAssessable):
            notes = (*one.taken.cautions, *notes)
        return Making(
            source=self.source(run, one.slide, result.base),
            result=result,
            manifest=one.known.bundle.manifest if one.known else None,
            provenance=provenance,
            slide=one.slide,
            number=one.number,
            predecessors=self._earlier.predecessors(run, one, provenance.variant),
            formers=self._earlier.formers(run, one, provenance.variant),
            notes=notes,
            wanted=wanted.kinds,
            sets=wanted.sets,
        )

    def source(self, run: Run, slide: SlideFiles, base: str) -> Dataset:
        """Header of the base image; which of its texts cannot be read is told in the story."""
        header = in_unicode(dcmread(slide.path_of(base), stop_before_pixels=True))
        if lost := list(undecoded(header)):
            self._ledger.events.record(
                "text_not_decoded",
                study_instance_uid=run.study,
                slide=slide.key,
                attributes=lost[:_MOST_NAMED],
                of=len(lost),
            )
        return header

    def closed(self, run: Run) -> Revision:
        current = self._ledger.queries.revision(run.study, run.revision)
        if current is None or current.closed_at is None:
            raise KeyError(f"revision {run.revision} of study {run.study} was never closed")
        return current

    def keep(self, run: Run, one: Written, item: BuiltObject) -> Result:
        """Write one object, unless its UID stands for one that must not change any more. Raises
        Unsound for what must not be sent."""
        require_checked(item)
        uid = str(item.dataset.SOPInstanceUID)
        kept = self._ledger.queries.kept_result(uid, run)
        if kept is not None:
            kept = replace(
                kept, model=one.job.model, silent=one.is_silent, number=one.number, replaced=False
            )
            is_here = self._mend(kept, item)
            log.info("result_kept", sop_instance_uid=uid, kind=item.kind)
            return replace(kept, purged_at=None) if is_here else kept
        path = self._folder(run.study, run.revision) / f"{item.kind}-{item.slide}-{uid}.dcm"
        write_built(item, path)
        return Result(
            sop_instance_uid=uid,
            sop_class_uid=str(item.dataset.SOPClassUID),
            kind=item.kind,
            slide=item.slide,
            path=str(path.relative_to(self._config.node.data_dir)),
            sha256=_digest(path),
            model=one.job.model,
            silent=one.is_silent,
            series_instance_uid=str(item.dataset.SeriesInstanceUID),
            engine=one.known.engine if one.known else "",
            dated_at=item.dated_at.timestamp() if item.dated_at else None,
            predecessor=predecessor_in(item.dataset),
            number=one.number,
        )

    def _mend(self, kept: Result, item: BuiltObject) -> bool:
        """Write a kept object again whose file is lost or damaged, if it comes out the same.

        Whether the file is there then.
        """
        path = self._config.node.data_dir / kept.path
        if path.is_file() and _digest(path) == kept.sha256:
            return True
        again = file_of(item)
        # Only of a version whose UIDs had no digest: what a PACS has under this UID stays.
        if hashlib.sha256(again).hexdigest() != kept.sha256:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write(again)
        return True


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
