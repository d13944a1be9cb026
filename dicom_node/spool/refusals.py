"""Why an instance is not kept: our own values, which each way in maps to its own answer."""

from __future__ import annotations

from enum import Enum, auto


class Why(Enum):
    """What stands between an instance and the spool."""

    UNPARSABLE = auto()
    NO_SOP_UID = auto()
    NO_STUDY_UID = auto()
    NO_SERIES_UID = auto()
    ILLEGAL_UID = auto()
    HEADER_TOO_LARGE = auto()
    OTHER_CLASS = auto()
    """A SOP class that is not taken, or not the one that was announced."""
    PAUSED = auto()
    """An operator has paused intake: later."""
    OWN_RESULT = auto()
    """A picture that a dicom-node drew: to analyze it would make another one, for ever."""
    OTHER_INSTANCE = auto()
    """The instance is not the one that was announced."""


class Refused(Exception):
    """An instance that is not accepted as it is, or not now. `comment` is for the peer: no patient
    data, at most 64 characters."""

    def __init__(self, why: Why, comment: str) -> None:
        super().__init__(comment)
        self.why = why
        self.comment = comment
