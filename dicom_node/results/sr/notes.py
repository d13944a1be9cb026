"""Sentences that a report says of its slide beside the result."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.datadict import dictionary_description

from dicom_node.results.carried.specimens import identifier_of
from dicom_node.results.modules import plain
from inference.slide.characters.decoding import MARK
from inference.slide.characters.header import undecoded

_MOST_NAMED = 5


def notes_of(source: Dataset) -> tuple[str, ...]:
    """What is to be said of a slide's header, which is `in_unicode`."""
    return (*_specimen_note(source), *_undecoded_note(source))


def _specimen_note(source: Dataset) -> tuple[str, ...]:
    """A sentence for slides with several specimens: whose a number is, nobody can tell."""
    specimens = source.get("SpecimenDescriptionSequence") or ()
    if len(specimens) < 2:
        return ()
    others = ", ".join(plain(identifier_of(specimen)) for specimen in specimens)
    return (f"The slide holds {len(specimens)} specimens, analyzed as one: {others}.",)


def _undecoded_note(source: Dataset) -> tuple[str, ...]:
    """A sentence for slides with octets that are no text in the character set they state."""
    found = [dictionary_description(keyword) for keyword in undecoded(source)]
    if not found:
        return ()
    more = len(found) - _MOST_NAMED
    named = ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        f"The slide has bytes in {named} that are no text in the Specific Character Set it states. "
        f"Each is shown as {MARK} and its two hexadecimal digits, or, where these have no room, "
        f"several as {MARK}.",
    )
