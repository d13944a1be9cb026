"""Which models run on a slide, and why the others do not: values in, an answer out.

What a bundle says that it is made for is always asked. A rule of the configuration narrows that;
it widens it only with `override`, and the answer says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.sr.coding import Code as Concept

from dicom_node.config.models import ModelEntry, Rule, pattern_in
from engines.manifest.claims import Applicability
from engines.manifest.values import Code
from inference.quality import stain_refusal
from inference.slide.terms import substance_name
from inference.specimen.codes import Coded, coded
from inference.specimen.deciding import Decision, agreed, decide
from inference.specimen.organs import Organ, is_covered, organs
from inference.specimen.says import SlideSays
from inference.specimen.wording import folded

_LONGEST_DESCRIPTION = 256
"""Characters that a pattern of the configuration is tried on; the standard allows 64."""


@dataclass(frozen=True, slots=True)
class Student:
    """A model of the configuration and what its bundle says that it is made for."""

    entry: ModelEntry
    applicability: Applicability
    is_fixture: bool = False


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What decides which models run on a slide."""

    organ: Decision
    stains: tuple[Coded, ...]
    types: tuple[Coded, ...]
    """Specimen types."""
    sender: str | None
    """Calling AE title; None where nobody sent it."""
    body_part: str
    study_description: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a model does not run: an attribute, what it has, what it needs. For anybody to read."""

    attribute: str
    found: str
    needed: str

    @property
    def sentence(self) -> str:
        """As a part of a sentence."""
        return f"{self.attribute}: found {self.found}, needed {self.needed}"


@dataclass(frozen=True, slots=True)
class Taken:
    """A model that runs on the slide."""

    name: str
    silent: bool
    notes: tuple[str, ...]
    """Sentences that its report has to say."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A model that does not run on the slide."""

    name: str
    why: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The models that run on a slide, in their order, and those that do not."""

    taken: tuple[Taken, ...]
    passed: tuple[Passed, ...]
    sentence: str


def facts_of(levels: Sequence[SlideSays], sender: str | None) -> SlideFacts:
    """The facts of a slide that came from `sender`, by what its levels say, the largest first.

    All of them have to agree on the organ; for the rest the largest speaks.
    """
    base = levels[0]
    return SlideFacts(
        organ=agreed([decide(level) for level in levels]),
        stains=base.stains,
        types=base.types,
        sender=sender,
        body_part=base.body_part,
        study_description=base.study_description,
    )


def route(facts: SlideFacts, students: Iterable[Student]) -> Route:
    """The models that apply, in the order of `students`."""
    taken: list[Taken] = []
    passed: list[Passed] = []
    for student in students:
        entry = student.entry
        why = tuple(_mismatches(facts, student))
        before = next((t.name for t in taken if not t.silent), None)
        if not why and entry.when == "first" and before is not None:
            why = (Mismatch("when", f"the model {before}", "no model before it"),)
        if why:
            passed.append(Passed(entry.name, why))
        else:
            taken.append(Taken(entry.name, entry.silent, tuple(_notes(facts, student))))
    return Route(tuple(taken), tuple(passed), _sentence(facts, taken, passed))


def _mismatches(facts: SlideFacts, student: Student) -> Iterator[Mismatch]:
    rule, override = student.entry.rule, student.entry.override
    made_for = student.applicability
    if student.is_fixture and not student.entry.allow_fixture:
        yield Mismatch("Bundle", "a fixture, whose numbers mean nothing", "allow_fixture = true")
    if not (override and rule.organs):
        yield from _organ(facts, [(_organ_of(c), c.meaning) for c in made_for.organs])
    if not (override and rule.stains):
        yield from _stains(facts, made_for.stains)
    if not (override and rule.specimens):
        wanted = [(Coded(c.value, c.scheme, ""), c.meaning) for c in made_for.specimens]
        yield from _types(facts, wanted)
    yield from _organ(facts, [(organs()[name], name) for name in rule.organs])
    yield from _rule_stains(facts, rule)
    yield from _types(facts, [(coded(text), text) for text in rule.specimens])
    yield from _around(facts, rule)


def _organ(facts: SlideFacts, wanted: Sequence[tuple[Organ | None, str]]) -> Iterator[Mismatch]:
    if not wanted:
        return
    organ = facts.organ.organ
    known = [one for one, _ in wanted if one is not None]
    if organ is None or not is_covered(organ, known):
        needed = " or ".join(dict.fromkeys(one.name if one else f"{meaning} (not known here)"
                                           for one, meaning in wanted))  # fmt: skip
        yield Mismatch("Organ", organ.name if organ else "none that is certain", needed)


def _organ_of(code: Code) -> Organ | None:
    return Coded(code.value, code.scheme, code.meaning).organ


def _stains(facts: SlideFacts, wanted: Sequence[Code]) -> Iterator[Mismatch]:
    """Every stated stain has to be a wanted one; where none is stated, that is said."""
    refusal, _ = stain_refusal(_concepts(facts.stains), _only_stains(wanted))
    if refusal is not None:
        yield Mismatch("Stain", _stain_names(facts), ", ".join(code.meaning for code in wanted))


def _rule_stains(facts: SlideFacts, rule: Rule) -> Iterator[Mismatch]:
    """The same for a rule, which needs a stated stain."""
    if not rule.stains:
        return
    concepts = _concepts(coded(text) for text in rule.stains)
    wanted = [
        Code(value=c.value, scheme=c.scheme_designator, meaning=text)
        for c, text in zip(concepts, rule.stains, strict=True)
    ]
    refusal, _ = stain_refusal(_concepts(facts.stains), _only_stains(wanted))
    if refusal is not None or not facts.stains:
        yield Mismatch("Stain", _stain_names(facts), " or ".join(map(substance_name, concepts)))


def _types(facts: SlideFacts, wanted: Sequence[tuple[Coded, str]]) -> Iterator[Mismatch]:
    if wanted and not any(t.is_same(code.concept) for t in facts.types for code, _ in wanted):
        found = ", ".join(t.said for t in facts.types) or "none stated"
        yield Mismatch("Specimen Type", found, " or ".join(name for _, name in wanted))


def _around(facts: SlideFacts, rule: Rule) -> Iterator[Mismatch]:
    """What is not of the specimen; values of the slide are texts, and are not repeated."""
    if rule.senders and facts.sender not in rule.senders:
        found = facts.sender if facts.sender else "none known"
        yield Mismatch("Sender", found, " or ".join(rule.senders))
    parts = {folded(part) for part in rule.body_parts}
    if parts and folded(facts.body_part) not in parts:
        found = "another" if facts.body_part.strip() else "none"
        yield Mismatch("Body Part Examined", found, " or ".join(rule.body_parts))
    text = rule.study_description
    if text is not None and not _is_described(facts.study_description, text):
        found = "one that does not fit" if facts.study_description.strip() else "none"
        yield Mismatch("Study Description", found, text)


def _is_described(found: str, wanted: str) -> bool:
    pattern = pattern_in(wanted)
    if pattern is None:
        return set(folded(wanted).split()) <= set(folded(found).split())
    return re.search(pattern, found[:_LONGEST_DESCRIPTION], re.IGNORECASE) is not None


def _notes(facts: SlideFacts, student: Student) -> Iterator[str]:
    rule, made_for = student.entry.rule, student.applicability
    if student.entry.override:
        for name, asked, said in (
            ("organs", rule.organs, made_for.organs),
            ("stains", rule.stains, made_for.stains),
            ("specimens", rule.specimens, made_for.specimens),
        ):
            if asked and said:
                meanings = ", ".join(code.meaning for code in said)
                yield (
                    f"The {name} that the model is made for ({meanings}) were set aside by the "
                    "configuration of this node."
                )
    if rule.organs or made_for.organs:
        yield facts.organ.sentence
        yield from facts.organ.beside
    if not (student.entry.override and rule.stains):
        yield from stain_refusal(_concepts(facts.stains), made_for)[1]


def _sentence(facts: SlideFacts, taken: Sequence[Taken], passed: Sequence[Passed]) -> str:
    if taken:
        return f"Models that apply: {', '.join(one.name for one in taken)}."
    whys = [
        f"Model {one.name}: {', '.join(mismatch.sentence for mismatch in one.why)}."
        for one in passed
    ]
    return " ".join(["No model applies.", facts.organ.sentence, *whys])


def _only_stains(wanted: Sequence[Code]) -> Applicability:
    return Applicability(minimum_tissue_mm2=0, stains=tuple(wanted))


def _concepts(found: Iterable[Coded]) -> list[Concept]:
    return [one.concept for one in found]


def _stain_names(facts: SlideFacts) -> str:
    names = (substance_name(concept) for concept in _concepts(facts.stains))
    return ", ".join(dict.fromkeys(names)) or "none stated"
