"""Why a model does not run on a slide: what it is made for first, then the rule for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pydicom.sr.coding import Code as Concept

from dicom_node.config.models import Rule, pattern_in
from dicom_node.work.routing.values import Mismatch, SlideFacts, Student
from engines.manifest.claims import Applicability
from engines.manifest.values import Code
from inference.quality import stain_refusal
from inference.slide.terms import substance_name
from inference.specimen.codes import Coded, coded
from inference.specimen.organs import Organ, is_covered, organs
from inference.specimen.vocabulary import folded

_LONGEST_DESCRIPTION = 256
"""Characters that a pattern of the configuration is tried on; the standard allows 64."""


def mismatches(facts: SlideFacts, student: Student) -> Iterator[Mismatch]:
    """Every one of them; none where the model may run."""
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
    refusal, _ = stain_refusal(concepts(facts.stains), _only_stains(wanted))
    if refusal is not None:
        yield Mismatch("Stain", _stain_names(facts), ", ".join(code.meaning for code in wanted))


def _rule_stains(facts: SlideFacts, rule: Rule) -> Iterator[Mismatch]:
    """The same for a rule, which needs a stated stain."""
    if not rule.stains:
        return
    asked = concepts(coded(text) for text in rule.stains)
    wanted = [
        Code(value=c.value, scheme=c.scheme_designator, meaning=text)
        for c, text in zip(asked, rule.stains, strict=True)
    ]
    refusal, _ = stain_refusal(concepts(facts.stains), _only_stains(wanted))
    if refusal is not None or not facts.stains:
        yield Mismatch("Stain", _stain_names(facts), " or ".join(map(substance_name, asked)))


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


def _only_stains(wanted: Sequence[Code]) -> Applicability:
    return Applicability(minimum_tissue_mm2=0, stains=tuple(wanted))


def concepts(found: Iterable[Coded]) -> list[Concept]:
    """The codes as concepts that can be compared."""
    return [one.concept for one in found]


def _stain_names(facts: SlideFacts) -> str:
    names = (substance_name(concept) for concept in concepts(facts.stains))
    return ", ".join(dict.fromkeys(names)) or "none stated"
