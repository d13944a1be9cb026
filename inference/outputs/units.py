"""Units as people write them, for what people read: reports keep the letters of UCUM."""

from __future__ import annotations

import re

WRITTEN = {"mm2": "mm²", "um": "µm"}
"""By what UCUM calls them."""
# Behind a number only, and not where German goes on from it: "um" is a word there.
_IN_A_SENTENCE = re.compile(
    r"(?<=\d )(?:mm2\b|um\b(?! (?:\d|d(?:as|em|en|er|ie)\b|eine?[mnrs]?\b)))", re.IGNORECASE
)


def for_people(text: str) -> str:
    """Sentences, with the signs of people for square millimeters and micrometers."""
    return _IN_A_SENTENCE.sub(lambda found: WRITTEN[found[0].lower()], text)
