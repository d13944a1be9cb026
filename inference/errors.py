"""What can go wrong between files and a prediction. The tree:

SlideError
├── SlideUnreadable   a file is broken or does not belong here: an operator must act
├── Refused           the slide is whole but must not be judged: becomes a report
├── FramesUnreadable  pixels are missing or broken: becomes a report
└── Stopped           the caller asked to stop

Messages go to logs, to a database and into reports, so they are our own words: of an error of a
library its class, never its text, which can quote the patient; of a file its SOP Instance UID,
never its path. `from None` where one is raised keeps such a text out of tracebacks too.
"""

from __future__ import annotations

import os
from errno import EINVAL
from pathlib import Path
from struct import error as StructError
from zlib import error as ZlibError

from pydicom.errors import BytesLengthException, InvalidDicomError

from inference.types import NotAssessable

MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    OSError,
    EOFError,
    StructError,
    ZlibError,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and wsidicom raise on altered bytes, found by altering them: neither has a root of
its own for that. Caught only around their calls; an OSError may be `is_of_the_machine`."""


class SlideError(Exception):
    """Root of the errors of inference."""


class SlideUnreadable(SlideError):
    """Files that cannot be taken for one slide: what was found, expected, what to do."""

    def __init__(self, sentence: str, path: Path | None = None) -> None:
        super().__init__(sentence)
        self.path = path
        """The file that is meant, for a command that was given paths; no part of the message."""


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


def never() -> bool:
    """The stop callback of callers that stop nothing."""
    return False


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says that a file cannot be read now, not that it is malformed.

    pydicom raises OSError without a number for bytes that are no DICOM; a place of no sense in a
    file is EINVAL.
    """
    return isinstance(error, OSError) and error.errno not in (None, EINVAL)


def without_path(error: OSError) -> OSError:
    """The same error of the machine without the path that Python puts into its message."""
    return OSError(error.errno, os.strerror(error.errno or 0))
