"""Which organ a slide is of, or why that is undecided.

Codes are asked first, then what unknown codes say of themselves, then the descriptions of the
specimen with the body part, and last the description of the study. What speaks first decides; what
contradicts itself decides nothing, and nothing after it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_description

from inference.specimen.organs import Organ, narrowest
from inference.specimen.says import At, SlideSays, Specimen
from inference.specimen.vocabulary import vocabulary
from inference.specimen.wording import Read, read

_LYMPH_NODE = "lymph node"
"""The one organ that a metastasis is in and never from."""

Texts = Sequence[tuple[str, Read]]
"""Attributes and what their words name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The organ of a slide, None where it is undecided or not named, and why."""

    organ: Organ | None
    sentence: str
    """What was found and where; holds no text of the slide."""
    beside: tuple[str, ...] = ()
    """What else was found that speaks of another organ."""
    is_silent: bool = False
    """Whether nothing was said of an organ: neither one nor several, nor a doubt."""


def agreed(levels: Sequence[Decision]) -> Decision:
    """What the levels of one slide say together, the first of them at first; silent ones say
    nothing against the others."""
    speaking = [one for one in levels if not one.is_silent] or list(levels[:1])
    undecided = next((one for one in speaking if one.organ is None), None)
    if undecided is not None:
        return undecided
    organs = {one.organ for one in speaking if one.organ is not None}
    if narrowest(organs) is None:
        return _undecided(f"the levels of the slide are of {_named(organs)}")
    return next(one for one in speaking if one.organ == narrowest(organs))


def decide(says: SlideSays) -> Decision:
    """The organ that all specimens on the slide are of."""
    each = [_of_specimen(specimen, says) for specimen in says.specimens]
    unknown = next((one for one in each if one.organ is None), None)
    if unknown is not None:
        if len(each) == 1:
            return unknown
        sentence = f"Of one of {len(each)} specimens: {unknown.sentence}"
        return Decision(None, sentence, is_silent=all(one.is_silent for one in each))
    organs = {one.organ for one in each if one.organ is not None}
    organ = narrowest(organs)
    if organ is None:
        return _undecided(f"the specimens on the slide are of {_named(organs)}")
    beside = tuple(dict.fromkeys(text for one in each for text in one.beside))
    sentence = next(one.sentence for one in each if one.organ == organ)
    return Decision(organ, sentence, beside)


def _of_specimen(specimen: Specimen, says: SlideSays) -> Decision:
    coded = [*specimen.sites, *(At("SpecimenTypeCodeSequence", t) for t in specimen.types)]
    coded += says.regions
    own = [(keyword, read(text)) for keyword, text in specimen.texts]
    texts = [*own, ("BodyPartExamined", read(says.body_part))]
    return (
        _by_codes(coded, specimen.is_metastatic, texts)
        or _by_text(texts, own)
        or _by_text([("StudyDescription", read(says.study_description))], own)
        or Decision(None, _silence(coded), is_silent=True)
    )


def _by_codes(coded: Sequence[At], is_metastatic: bool, texts: Texts) -> Decision | None:
    """What codes say, or what unknown ones say of themselves; None where neither names an organ."""
    meanings = [(at.attribute, read(at.code.meaning)) for at in coded]
    if is_metastatic:
        where = "Primary Anatomic Structure Modifier Sequence"
        return _undecided(f"{where} says that the tissue is of a metastasis")
    if any(r.is_of_metastasis for _, r in meanings):
        return _undecided(f"{_where(meanings)} speaks of a metastasis")
    known = [(at, organ) for at in coded if (organ := at.code.organ) is not None]
    spoken = [(a, r) for a, r in texts if r.is_of_metastasis]
    if spoken and any(organ.name != _LYMPH_NODE for _, organ in known):
        return _undecided(f"{_where(spoken)} speaks of a metastasis")
    if not known:
        return _by_text(meanings, of="the Code Meaning in ")
    plain = [(a, r) for a, r in meanings if len(r.organs) == 1 and not r.is_doubted]
    organ = narrowest({*(o for _, o in known), *(o for _, r in plain for o in r.organs)})
    if organ is None:
        said = [f"{_name(at.attribute)} says {o.name} ({at.code.said})" for at, o in known]
        said += [f"the Code Meaning in {_name(a)} says {_named(r.organs)}" for a, r in plain]
        return _undecided(", ".join(dict.fromkeys(said)))
    at = next((at for at, o in known if o == organ), known[0][0])
    sentence = f"The organ is {organ.name}, by {_name(at.attribute)} ({at.code.said})."
    return Decision(organ, sentence, _other_words(texts, organ))


def _by_text(texts: Texts, own: Texts = (), of: str = "the words of ") -> Decision | None:
    """What texts say together, beside what descriptions of the specimen itself say of where it is
    from; None where they name no organ and no metastasis."""
    speaking = [(keyword, r) for keyword, r in texts if r.organs or r.is_of_metastasis]
    if not speaking:
        return None
    where = of + _where(speaking)
    named = {organ for _, r in speaking for organ in r.organs}
    if any(r.is_of_metastasis for _, r in texts):
        return _undecided(f"{where} speak of a metastasis")
    if any(r.is_doubted for _, r in texts):
        return _undecided(f"{where} name {_named(named)}, and deny it, doubt it or leave a choice")
    organ = narrowest(named)
    if organ is None:
        return _undecided(f"{where} name {_named(named)}, and no code says which")
    if _may_be_from_elsewhere(organ, texts, own):
        return _undecided(f"{where} name {organ.name}, and the slide speaks of another place, too")
    return Decision(organ, f"The organ is {organ.name}, by {where}; no code known here says it.")


def _may_be_from_elsewhere(organ: Organ, texts: Texts, own: Texts) -> bool:
    """Whether the organ may be that of the study or of an earlier tumor only."""
    known, every = vocabulary(), [r for _, r in (*own, *texts)]
    if organ.name in known.everywhere:
        return False
    if any(r.is_elsewhere for _, r in own) and not any(r.organs for _, r in own):
        return True
    is_lobe_of_another = organ.name not in known.lobed and any(r.has_lobe for r in every)
    is_of_tumor = all(r.organs <= r.origins for r in every)
    return is_of_tumor and (is_lobe_of_another or any(r.is_of_patient for r in every))


def _undecided(why: str) -> Decision:
    return Decision(None, f"The organ is undecided: {why}.")


def _silence(coded: Sequence[At]) -> str:
    if coded:
        codes = "; ".join(dict.fromkeys(f"{_name(a.attribute)}: {a.code.said}" for a in coded))
        return f"The slide names no organ that is known here ({codes})."
    return "The slide names no organ, neither by a code nor in words."


def _other_words(texts: Texts, organ: Organ) -> tuple[str, ...]:
    """What is said where a description names other organs than the codes."""
    return tuple(
        f"{_name(keyword)} names {_named(r.organs)}; the code is believed."
        for keyword, r in texts
        if r.organs and narrowest({organ, *r.organs}) is None
    )


def _named(organs: Iterable[Organ]) -> str:
    return " and ".join(sorted(organ.name for organ in organs))


def _where(texts: Texts) -> str:
    return " and ".join(dict.fromkeys(_name(keyword) for keyword, _ in texts))


def _name(keyword: str) -> str:
    return dictionary_description(keyword)
