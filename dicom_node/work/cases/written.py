"""What is written of a case: the maps of its slides, and its one report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.rows import Result, Run
from dicom_node.results.case import objects_of_case
from dicom_node.results.case_making import CaseMaking, OneSlide, files_of_case
from dicom_node.results.identity import Provenance
from dicom_node.results.kinds import Wanted
from dicom_node.study.evidence import patients_differ
from dicom_node.work.outputs import ResultObjects
from dicom_node.work.routing.values import Taken
from dicom_node.work.students.earlier import Earlier
from dicom_node.work.students.jobs import Assigned, Assigning, Job
from dicom_node.work.students.provenance import Written, provenance_of
from dicom_node.work.students.roster import Known, Roster
from inference.case import archive
from inference.case.values import CASE, CaseResult, CaseSlide
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Reason

_UNSEEN = "Nothing is known of the slide: the analysis of the case came to no end."


class CaseObjects:
    """Writes the objects of cases."""

    def __init__(
        self, roster: Roster, assigning: Assigning, objects: ResultObjects, earlier: Earlier
    ) -> None:
        self._roster = roster
        self._assigning = assigning
        self._objects = objects
        self._earlier = earlier

    def write(
        self,
        run: Run,
        slides: Mapping[str, SlideFiles],
        job: Job,
        numbers: Mapping[Job, int],
        wanted: Wanted,
    ) -> tuple[list[Result], str]:
        """Build and write the objects of a case, in delivery order, and what an operator must see
        to. Slides of several patients have no report together: it would be in one's record."""
        known = self._roster.of(job.model)
        if known is None or patients_differ(slides.values()):
            return [], ""  # of patients the analysis has told
        ordered = [slides[key] for key in sorted(slides)]
        assigned = {slide.key: self._assigning.of(slide) for slide in ordered}
        name = known.student.entry.name
        routed = {key: taken for key, one in assigned.items() if (taken := one.of(name))}
        told = _whole(archive.load(self._objects.prediction_path(run, job)), ordered)
        all_of_it = Written(
            slide=files_of_case(ordered),
            job=job,
            number=numbers[job],
            known=known,
            taken=_together(known, list(routed.values())),
            beside=self._beside(assigned.values()) | {job.model},
        )
        parts = {
            slide.key: replace(
                all_of_it, slide=slide, job=job.on(slide.key), number=numbers[job.on(slide.key)]
            )
            for slide in ordered
        }
        built, trouble = objects_of_case(
            told,
            lambda result: self._making(run, all_of_it, parts, result, routed, assigned, wanted),
            may_pass=(OSError, LedgerFailed),
        )
        said = f"case: {trouble}" if trouble else ""
        ones = {**parts, CASE: all_of_it}
        return [self._objects.keep(run, ones[item.slide], item) for item in built], said

    def _making(
        self,
        run: Run,
        one: Written,
        parts: Mapping[str, Written],
        result: CaseResult,
        routed: Mapping[str, Taken],
        assigned: Mapping[str, Assigned],
        wanted: Wanted,
    ) -> CaseMaking:
        if one.known is None:
            raise ValueError("found a case without a model, expected that of its job")
        provenance = self._provenance(run, one)
        bases = {slide.key: slide.result.base for slide in result.slides}
        return CaseMaking(
            result=result,
            slides={
                key: self._slide(run, part, bases[key], routed.get(key))
                for key, part in parts.items()
            },
            manifest=one.known.bundle.manifest,
            provenance=provenance,
            number=one.number,
            predecessors=self._earlier.predecessors(run, one, provenance.variant),
            formers=self._earlier.formers(run, one, provenance.variant),
            cautions=(
                *(one.taken.cautions if one.taken else ()),
                *_organs_differ({key: assigned[key].organ for key, _ in result.used}),
            ),
            wanted=wanted.kinds,
            sets=wanted.sets,
        )

    def _slide(self, run: Run, one: Written, base: str, taken: Taken | None) -> OneSlide:
        provenance = self._provenance(run, one)
        return OneSlide(
            one.slide,
            self._objects.source(run, one.slide, base),
            one.number,
            provenance,
            taken.notes if taken else (),
            self._earlier.formers(run, one, provenance.variant),
        )

    def _provenance(self, run: Run, one: Written) -> Provenance:
        at = self._earlier.dated(run, one, self._objects.closed(run))
        return provenance_of(self._roster, one.known, one.taken, at, self._objects.language)

    def _beside(self, assigned: Iterable[Assigned]) -> frozenset[str]:
        """Models of cases whose reports of the study are sent."""
        names = {name for one in assigned for name in one.names}
        return frozenset(one.model for one in self._roster.live
                         if one.is_of_cases and one.model in names)  # fmt: skip


def _whole(result: CaseResult, slides: Sequence[SlideFiles]) -> CaseResult:
    """The result with a word of every slide of the study, where the analysis came to none."""
    if result.slides:
        return result
    unseen = NotAssessable(Reason.ANALYSIS_FAILED, _UNSEEN, None, ())
    return replace(result, slides=tuple(CaseSlide(slide.key, unseen) for slide in slides))


def _together(known: Known, routed: Sequence[Taken]) -> Taken:
    """What was said when the slides of a case were routed, each sentence once."""
    return Taken(
        known.student.entry.name,
        known.is_silent,
        cautions=tuple(dict.fromkeys(text for taken in routed for text in taken.cautions)),
        notes=(),
        warnings=(),
    )


def _organs_differ(organs: Mapping[str, str]) -> tuple[str, ...]:
    """A caution where the slides in the bag are of several organs."""
    named = sorted({organ for organ in organs.values() if organ})
    if len(named) < 2:
        return ()
    return (f"The slides used are of several organs: {', '.join(named)}.",)
