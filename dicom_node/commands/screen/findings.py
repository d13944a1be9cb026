"""What `dicom-node check` has found, line by line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the screen."""

    what: str
    ok: bool
    says: str
    warns: bool = False
    """Whether the node works, and a person should still look at it."""
