"""Likeness rule: the levels of a slide show one picture; where they do not, neither is believed."""

from __future__ import annotations

LARGEST_UNLIKE = 0.01
"""Share of tissue tiles that may be unlike, and are left out: a stain on one level is one tile,
frames in each other's place or a level of another scan are many."""
_ADVICE = "One of the levels is damaged or of another scan; send or convert the slide again."


def tiles_differ(unlike: int, compared: int) -> tuple[str | None, str]:
    """A refusal, or a caution, for so many tiles whose color is not that of another level."""
    if not unlike:
        return None, ""
    found = f"{unlike} of {compared} tissue tiles are not what a lower level shows in their place"
    if unlike > LARGEST_UNLIKE * compared:
        return f"{found}; up to {LARGEST_UNLIKE:.0%} may differ. {_ADVICE}", ""
    return None, f"{found} and were left out."


def frames_around_differ(
    unlike: int, compared: int, all_around: int, in_tissue: float
) -> tuple[str | None, str]:
    """A refusal, or a caution, for frames around the tissue that are not what the view of the
    tissue mask shows, judged by how much tissue the mask may miss.

    `compared` of `all_around` frames were looked at; the tissue has `in_tissue` frames' area.
    """
    if not unlike:
        return None, ""
    found = (
        f"{unlike} of {compared} frames around the tissue that were compared are not what a lower "
        "level shows in their place: tissue may have been missed"
    )
    if unlike / compared * all_around > LARGEST_UNLIKE * in_tissue:
        return f"{found}. {_ADVICE}", ""
    return None, f"{found}."
