"""Which student runs on which slide of a study, and what is said where none does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from dicom_node.ledger.ledger import WorkerLedger
from dicom_node.observe.log import trace_of
from dicom_node.study.facts import Uncountable
from dicom_node.study.specimens import says_of
from dicom_node.work.routing.route import facts_of, route
from dicom_node.work.routing.values import Route, Taken
from dicom_node.work.students.roster import Known, Roster
from engines.manifest.claims import Applicability
from inference.case.values import CASE
from inference.errors import SlideUnreadable
from inference.slide.files import SlideFiles
from inference.types import NotAssessable, Reason

log = structlog.get_logger()

_NOTHING = Route((), (), "")
_UNASKED = "What the slide says of its specimen cannot be read; the log of the node says why."


@dataclass(frozen=True, slots=True)
class Job:
    """One slide by one model. Its text is what steps record, and what an attempt goes on with."""

    slide: str
    """Key of the slide; CASE for all slides of the study together."""
    model: str = ""
    """Empty for the one for all slides; where there are several, for no model: a report says so."""

    @classmethod
    def read(cls, text: str) -> Job:
        """The job of a recorded text."""
        slide, _, model = text.partition("/")
        return cls(slide, model)

    @property
    def is_case(self) -> bool:
        """Whether it is of all slides together."""
        return self.slide == CASE

    def parts(self, keys: Iterable[str]) -> list[Job]:
        """What has a Series Number of its own: of a case its report, and the maps of each slide."""
        return [self, *(self.on(key) for key in keys)] if self.is_case else [self]

    def on(self, key: str) -> Job:
        """The part of the job of a case that is done on one slide."""
        return Job(key, self.model)

    @property
    def text(self) -> str:
        """What is recorded."""
        return f"{self.slide}/{self.model}" if self.model else self.slide

    @property
    def file_name(self) -> str:
        """Part of the names of its files."""
        return f"{self.slide}-{self.model}" if self.model else self.slide


@dataclass(frozen=True, slots=True)
class Assigned:
    """The models that run on a slide."""

    live: Route
    """Of those whose results are sent, as if there were no others."""
    silent: tuple[Taken, ...] = ()
    trouble: str = ""
    """Why the slide cannot be asked which it needs; empty where it can."""
    every: Route = _NOTHING
    """Of all models, silent ones as well."""

    @property
    def names(self) -> tuple[str, ...]:
        """Models whose results are sent."""
        return tuple(taken.name for taken in self.live.taken)

    @property
    def organ(self) -> str:
        """Of the slide; empty where it is undecided, or nobody asked."""
        return self.every.organ

    def of(self, model: str) -> Taken | None:
        """One that runs, by its name."""
        silent = (taken for taken in self.silent if taken.name == model)
        return self.live.of(model) or next(silent, None)


class Assigning:
    """Asks the slides of a study; the same files get the same answer."""

    def __init__(self, ledger: WorkerLedger, roster: Roster) -> None:
        self._ledger = ledger
        self._roster = roster

    def jobs(self, slides: Iterable[SlideFiles]) -> list[Job]:
        """What is to be done for a study, model after model: each is opened once.

        A slide that no model runs on whose results are sent has a job without a model, as long as
        there is any such model: its report says why. A model of cases has one job for all slides
        as soon as it runs on one of them.
        """
        slides = list(slides)
        if self._roster.is_one:
            is_case = bool(slides) and self._roster.known[0].is_of_cases
            return [Job(CASE)] if is_case else [Job(slide.key) for slide in slides]
        found: list[Job] = []
        for slide in slides:
            assigned = self.of(slide)
            live = [self._job(slide, taken.name) for taken in assigned.live.taken]
            found += live or ([Job(slide.key)] if self._roster.live else [])
            found += [self._job(slide, taken.name) for taken in assigned.silent]
        found = list(dict.fromkeys(found))
        # Silent ones last: one that ends the worker has then kept nobody's report waiting.
        known = self._roster.known
        by_mode = [*self._roster.live, *(one for one in known if one.is_silent)]
        names = ["", *(one.model for one in by_mode)]
        return sorted(found, key=lambda job: names.index(job.model))

    def of(self, slide: SlideFiles) -> Assigned:
        """The models that run on a slide. Raises OSError."""
        roster = self._roster
        if roster.is_one and not _names_specimens(roster.known[0]):
            return Assigned(_NOTHING)
        sender = self._sender(slide)
        try:
            facts = facts_of(says_of(slide), sender)
            live = route(facts, [one.student for one in roster.live])
            every = route(facts, [one.student for one in roster.known])
        except (SlideUnreadable, Uncountable) as error:
            return Assigned(_NOTHING, trouble=str(error))
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - of this slide; the study's others go on
            log.error("unexpected_error", error=type(error).__name__, trace=trace_of(error))
            return Assigned(_NOTHING, trouble=_UNASKED)
        silent = tuple(taken for taken in every.taken if taken.silent)
        return Assigned(live, silent, every=every)

    def refusal(self, job: Job, assigned: Assigned) -> NotAssessable | None:
        """Why the model of a job does not run on its slide; None where it does."""
        if assigned.trouble:
            return NotAssessable(Reason.ANALYSIS_FAILED, assigned.trouble, None, ())
        if self._roster.is_one:
            # A stain that does not fit is refused by the analysis, as where nothing is routed.
            others = (p.why for p in assigned.live.passed)
            if all(why.attribute == "Stain" for whys in others for why in whys):
                return None
        elif job.model and assigned.of(job.model) is not None:
            return None
        return no_model(assigned)

    def left_out(self, known: Known, assigned: Assigned) -> NotAssessable | None:
        """Why a slide is no part of the case of a model; None where it is."""
        if assigned.trouble:
            return NotAssessable(Reason.ANALYSIS_FAILED, assigned.trouble, None, ())
        asked = assigned.every if known.is_silent else assigned.live
        why = asked.why_not(known.student.entry.name)
        # With the one model for all slides the analysis asks for the stain, with its own code.
        if not why or (self._roster.is_one and all(one.attribute == "Stain" for one in why)):
            return None
        needed = ", ".join(one.sentence for one in why)
        detail = f"The model of the case is not for this slide. {needed}. {asked.said}"
        return NotAssessable(Reason.OTHER_MODEL, detail, None, ())

    def _job(self, slide: SlideFiles, model: str) -> Job:
        known = self._roster.of(model)
        return Job(CASE if known is not None and known.is_of_cases else slide.key, model)

    def _sender(self, slide: SlideFiles) -> str | None:
        """Who sent its largest level."""
        uids = dict(zip(slide.paths, slide.input_uids, strict=True))
        return self._ledger.queries.sender(uids[slide.base_path])


def no_model(assigned: Assigned) -> NotAssessable:
    """What is said of a slide that no model whose results are sent applies to."""
    return NotAssessable(Reason.NO_MODEL, assigned.live.sentence, None, ())


def made_for(known: Known) -> Applicability:
    """What the analysis asks of a slide: not the stains that a rule counts in the place of."""
    entry, said = known.student.entry, known.student.applicability
    if not (entry.override and entry.rule.stains):
        return said
    return said.model_copy(update={"stains": ()})


def _names_specimens(known: Known) -> bool:
    said = known.student.applicability
    return bool(said.organs or said.specimens)
