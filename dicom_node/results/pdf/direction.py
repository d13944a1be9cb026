"""Words from right to left in lines from left to right, for a setter that turns one word at a time.

ReportLab has each word shaped by itself, and HarfBuzz turns a word that runs to the left as a
whole, its numbers too. So the words of such a stretch are handed over last first, and what runs to
the right inside of one the other way round. This is the part of the Unicode bidirectional algorithm
(UAX 9: W2, N1, I1) that a line needs which begins from the left and holds no marks of direction.
"""

from __future__ import annotations

import re
import unicodedata

_TO_LEFT = {"R", "AL"}
_TO_RIGHT = re.compile(r"[^\W\d_]+|\d+(?:[.,:/+-]\d+)*")


def has_to_left(text: str) -> bool:
    """Whether any of it is written from right to left."""
    return any(map(_runs_to_left, set(text)))


def as_handed_over(text: str) -> str:
    """The words of a line in the order in which they are set from its left end on."""
    if not has_to_left(text):
        return text
    words = text.split(" ")
    set_so_far: list[str] = []
    at = 0
    while at < len(words):
        if not _begins_to_left(words[at]):
            set_so_far.append(words[at])
            at += 1
            continue
        end = _end_of_stretch(words, at)
        set_so_far += [_turned(word) for word in reversed(words[at:end])]
        at = end
    return " ".join(set_so_far)


def _end_of_stretch(words: list[str], begin: int) -> int:
    """Past the last word or number that follows words to the left before one to the right."""
    end = begin + 1
    for place in range(begin + 1, len(words)):
        if _begins_to_left(words[place]) or words[place][:1].isdigit():
            end = place + 1
        elif any(unicodedata.bidirectional(c) == "L" for c in words[place]):
            break
    return end


def _begins_to_left(word: str) -> bool:
    """Whether its first letter runs to the left: so HarfBuzz sees the whole word."""
    return next((_runs_to_left(c) for c in word if c.isalpha()), False)


def _turned(word: str) -> str:
    """A word with each number, and each stretch of other letters, the other way round."""
    if not has_to_left(word):
        return word
    return _TO_RIGHT.sub(lambda found: found[0] if has_to_left(found[0]) else found[0][::-1], word)


def _runs_to_left(character: str) -> bool:
    return unicodedata.bidirectional(character) in _TO_LEFT
