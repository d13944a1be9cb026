"""Which organs a text names: whole words in English, German and Latin.

A text that denies, doubts or speaks of a metastasis names what is not there, or where a tumor may
have come from: no organ is to be believed of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from inference.specimen.organs import Organ, organs
from inference.specimen.vocabulary import MOST_CHARACTERS, Vocabulary, folded, vocabulary

_PIECES = re.compile(r"[,;:()\n\r\\]")
_NUMBERED = re.compile(r" no(?= [0-9])")
"""As in "block no. 3", which denies nothing."""
_OF = re.compile(r"of|from|in|der|des|von|the|left|right|linken|rechten")
_NEAR = 3
"""Words after an organ's name in which a tumor's may follow: "breast ductal carcinoma"."""
_LYMPH_NODE = "lymph node"


@dataclass(frozen=True, slots=True)
class Read:
    """What a text names."""

    organs: frozenset[Organ]
    is_doubted: bool = False
    """Whether it denies, doubts or leaves a choice."""
    is_of_metastasis: bool = False
    origins: frozenset[Organ] = frozenset()
    """Those of the organs that only the name of a tumor names."""
    is_elsewhere: bool = False
    """Whether it names a vessel, a nerve or a region that may be what the specimen is from."""
    is_of_patient: bool = False
    """Whether it names a region, or what is done for a patient, so that a tumor may be of old."""
    has_lobe: bool = False


@dataclass(slots=True)
class _Found:
    """What is found word by word; places in the text are counted in words."""

    organs: dict[int, Organ] = field(default_factory=dict)
    of_tumors: set[int] = field(default_factory=set)
    is_other: bool = False
    """Whether a structure is named after an organ: "renal artery"."""
    rest: list[str] = field(default_factory=list)
    """The words, with a bar where an organ is named."""


def read(text: str) -> Read:
    """The organs that the words of a text name, the longest phrases first."""
    known = vocabulary()
    pieces = [folded(piece).split() for piece in _PIECES.split(text[:MOST_CHARACTERS])]
    words = [word for piece in pieces for word in piece]
    ends = set(accumulate(map(len, pieces)))
    found = _find(words, ends, known)
    plain = " " + " ".join(words) + " "
    for phrase in known.harmless:
        plain = plain.replace(f" {phrase} ", " ")
    rest = f" {' '.join(found.rest)} "
    organs_ = frozenset(found.organs.values())
    stated = {one for at, one in found.organs.items() if at not in found.of_tumors}
    return Read(
        organs_,
        is_doubted="?" in text
        or _has(_NUMBERED.sub("", plain), known.doubts)
        or _turns(words, ends, found, known),
        is_of_metastasis=_speaks_of_metastasis(plain, known),
        origins=organs_ - stated,
        is_elsewhere=found.is_other or _has(rest, known.vessels) or _has(rest, known.places),
        is_of_patient=_has(rest, known.places) or _has(rest, known.elsewhere),
        has_lobe=_has(rest, known.lobes),
    )


def _has(plain: str, phrases: Iterable[str]) -> bool:
    return any(f" {phrase} " in plain for phrase in phrases)


def _speaks_of_metastasis(plain: str, known: Vocabulary) -> bool:
    spoken = known.denied.sub(" ", plain)
    return any(part in spoken for part in known.metastases) or _has(spoken, known.secondary)


def _find(words: list[str], ends: set[int], known: Vocabulary) -> _Found:
    found = _Found()
    at = 0
    while at < len(words):
        organ, length, is_tumor = _phrase_at(words, at, known)
        after = at + length
        rest = words[at:after]
        if organ is None:
            found.is_other |= known.is_structure(words[at])
        elif _is_of_another(words, at, after, ends, known):
            is_node = after < len(words) and words[after] not in known.structures
            found.is_other |= not is_node
        else:
            found.organs[at] = organ
            rest = ["|"] * length
            if is_tumor or _is_of_tumor(words, at, after, ends, known):
                found.of_tumors.add(at)
        found.rest += rest
        at = after
    return found


def _is_of_another(
    words: list[str], at: int, after: int, ends: set[int], known: Vocabulary
) -> bool:
    """Whether the organ is named to tell which artery, valve or lymph node, or what is around."""
    if at > 0 and at not in ends and words[at - 1] in known.around:
        return True
    if after < len(words) and after not in ends:
        if words[after] in known.structures:
            return True
        if words[after - 1] in known.adjectives:
            follows, _, _ = _phrase_at(words, after, known)
            if follows is not None and follows.name == _LYMPH_NODE:
                return True
    begin = _before_of(words, at, ends)
    if begin == at or begin == 0:
        return False
    if words[begin - 1] in known.structures:
        return True
    nodes = (_phrase_at(words, begin - n, known) for n in (2, 1) if begin >= n)
    return any(one is not None and one.name == _LYMPH_NODE for one, _, _ in nodes)


def _before_of(words: list[str], at: int, ends: set[int]) -> int:
    """Where "of the left" begins in "vein of the left kidney"; `at` where there is none."""
    begin = at
    while begin > 0 and begin not in ends and _OF.fullmatch(words[begin - 1]):
        begin -= 1
    is_of = any(word in ("of", "from", "der", "des", "von") for word in words[begin:at])
    return begin if is_of and begin not in ends else at


def _is_of_tumor(words: list[str], at: int, after: int, ends: set[int], known: Vocabulary) -> bool:
    end = next((n for n in range(after, after + _NEAR) if n in ends), after + _NEAR)
    begin = _before_of(words, at, ends)
    is_before = begin < at and begin > 0 and words[begin - 1] in known.malignant
    return is_before or any(word in known.malignant for word in words[after:end])


def _turns(words: list[str], ends: set[int], found: _Found, known: Vocabulary) -> bool:
    """Whether what is denied, suspected or long ago may be what the text names."""
    plain = " ".join(words)
    for match in known.turns.finditer(plain):
        at = plain.count(" ", 0, match.start())
        after = at + match[0].count(" ") + 1
        if match[0] == "no" and after < len(words) and words[after].isdigit():
            continue
        before = {organ for begin, organ in found.organs.items() if begin < at}
        later = {organ for begin, organ in found.organs.items() if begin >= at}
        if not before or not later <= before or after in ends:
            return True
    return False


def _phrase_at(words: list[str], at: int, known: Vocabulary) -> tuple[Organ | None, int, bool]:
    """The organ that the longest known phrase from there on names, its length in words, and
    whether it is the name of a tumor."""
    for length in range(min(known.longest, len(words) - at), 0, -1):
        phrase = " ".join(words[at : at + length])
        if phrase in known.organs and (at == 0 or phrase not in known.leading):
            return known.organs[phrase], length, False
    if words[at].endswith(known.nodes):
        return organs()[_LYMPH_NODE], 1, False
    if (organ := known.compound(words[at], known.endings)) is not None:
        return organ, 1, False
    organ = known.compound(words[at], known.tumors)
    return organ, 1, organ is not None
