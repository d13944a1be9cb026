"""Presence rule: tissue that is not in the data is not analyzed, counted, and never much."""

from __future__ import annotations

LARGEST_MISSING = 0.1
"""Share of tissue tiles that may be missing: what a slide's number would be with more of them is
anybody's guess."""


def tissue_missing(missing: int, tiles: int) -> tuple[str | None, str]:
    """A refusal, or a caution, for so many of all tissue tiles that are not in the data."""
    if not missing:
        return None, ""
    found = f"{missing} of {tiles} tissue tiles were not in the data"
    if missing > LARGEST_MISSING * tiles:
        return f"{found}; up to {LARGEST_MISSING:.0%} may be missing. Send the whole slide.", ""
    return None, f"{found} and were left out."
