"""What can go wrong between files and a prediction. The tree:

SlideError
├── SlideUnreadable   a file is broken or does not belong here: an operator must act
├── Refused           the slide is whole but must not be judged: becomes a report
├── FramesUnreadable  pixels are missing or broken: becomes a report
└── Stopped           the caller asked to stop
"""

from __future__ import annotations

from struct import error as StructError

from pydicom.errors import BytesLengthException, InvalidDicomError

from inference.types import NotAssessable

MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OSError,
    EOFError,
    StructError,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and wsidicom raise on altered bytes, found by altering them: neither has a root of
its own for that. Caught only around their calls."""


class SlideError(Exception):
    """Root of the errors of inference."""


class SlideUnreadable(SlideError):
    """Files that cannot be taken for one slide: what was found, expected, what to do."""


class Refused(SlideError):
    """A slide that must not be judged; carries the refusal that becomes a report."""

    def __init__(self, verdict: NotAssessable) -> None:
        super().__init__(f"{verdict.reason}: {verdict.detail}")
        self.verdict = verdict


class FramesUnreadable(SlideError):
    """A frame without usable pixels. `frame` is 1-based within the instance."""

    def __init__(self, sop_instance_uid: str, frame: int, cause: str) -> None:
        super().__init__(f"Frame {frame} of instance {sop_instance_uid} cannot be read: {cause}.")
        self.sop_instance_uid = sop_instance_uid
        self.frame = frame
        self.cause = cause


class Stopped(SlideError):
    """The caller's stop callback said so; nothing was predicted."""
