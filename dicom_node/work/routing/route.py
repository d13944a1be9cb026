"""Which models run on a slide, and why the others do not: values in, an answer out.

What a bundle says that it is made for is always asked. A rule of the configuration narrows that;
it widens it only with `override`, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dicom_node.work.routing.mismatches import concepts, mismatches
from dicom_node.work.routing.values import Mismatch, Passed, Route, SlideFacts, Student, Taken
from inference.quality import stain_refusal
from inference.specimen.deciding import agreed, decide
from inference.specimen.says import SlideSays


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
    """The models that apply, in the order of `students`.

    Silent ones change nothing for the others.
    """
    taken: list[Taken] = []
    passed: list[Passed] = []
    before: list[Student] = []
    for student in students:
        entry = student.entry
        if why := (*mismatches(facts, student), *_beside(student, before)):
            passed.append(Passed(entry.name, why))
            continue
        taken.append(_taken(facts, student))
        before += [] if entry.silent else [student]
    return Route(
        tuple(taken),
        tuple(passed),
        _sentence(facts, taken, passed),
        organ=facts.organ.organ.name if facts.organ.organ else "",
        said=facts.organ.sentence,
    )


def _beside(student: Student, before: Sequence[Student]) -> Iterator[Mismatch]:
    """Why it gives way to those that run and were asked before it, none of them silent."""
    if before and student.entry.when == "first":
        yield Mismatch("when", f"the model {before[0].entry.name}", "no model before it")
    same = [s for s in before if student.bundle_digest and s.bundle_digest == student.bundle_digest]
    if same and not student.entry.silent:
        # Results are named by the bundle: the second ones would have the names of the first.
        yield Mismatch("Bundle", f"that of the model {same[0].entry.name}", "another one")


def _taken(facts: SlideFacts, student: Student) -> Taken:
    entry, made_for = student.entry, student.applicability
    names_organs = bool(entry.rule.organs or made_for.organs)
    is_asked = not (entry.override and entry.rule.stains)
    return Taken(
        entry.name,
        entry.silent,
        cautions=(*_set_aside(student), *(facts.organ.beside if names_organs else ())),
        notes=(facts.organ.sentence,) if names_organs else (),
        warnings=stain_refusal(concepts(facts.stains), made_for)[1] if is_asked else (),
        is_of_cases=student.is_of_cases,
    )


def _set_aside(student: Student) -> Iterator[str]:
    """What of the bundle's own claim the rule counts in the place of."""
    rule, made_for = student.entry.rule, student.applicability
    for name, asked, said in (
        ("organs", rule.organs, made_for.organs),
        ("stains", rule.stains, made_for.stains),
        ("specimens", rule.specimens, made_for.specimens),
    ):
        if student.entry.override and asked and said:
            meanings = ", ".join(code.meaning for code in said)
            yield (
                f"The {name} that the model is made for ({meanings}) were set aside by the "
                "configuration of this node."
            )


def _sentence(facts: SlideFacts, taken: Sequence[Taken], passed: Sequence[Passed]) -> str:
    if taken:
        return f"Models that apply: {', '.join(one.name for one in taken)}."
    whys = [
        f"Model {one.name}: {', '.join(mismatch.sentence for mismatch in one.why)}."
        for one in passed
    ]
    return " ".join(["No model applies.", facts.organ.sentence, *whys])
