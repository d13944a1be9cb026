"""What a case can say: nothing when it passed, or one of these."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not applicable"


class Failed(Exception):
    """The node did something else than the standard, or its own statement, says."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}, expected {expected}")
        self.found = found
        self.expected = expected


class Skipped(Exception):
    """The case cannot be asked here; the message says why."""


class NotApplicable(Exception):
    """The node does not offer what the case is about, and says so; the message says how."""


def expect(is_so: object, *, found: object, expected: object) -> None:
    """Raise Failed unless something is so."""
    if not is_so:
        raise Failed(str(found), str(expected))


def expect_equal(found: object, expected: object, what: str) -> None:
    """Raise Failed unless two values are equal."""
    expect(found == expected, found=f"{what} {found}", expected=expected)
