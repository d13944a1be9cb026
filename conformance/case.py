"""A case: a sentence of the standard, where it stands, and what asks the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from conformance.session import Session
from conformance.verdicts import Verdict


class Need(StrEnum):
    """What must have been given on the command line before a case is run."""

    STORE = "--store"
    """It sends a test patient."""
    RESULTS = "--results-port"
    """It waits for what the node sends back."""
    HOSTILE = "--hostile"
    """It sends what no peer should."""
    TLS = "--tls"
    LARGE = "--large"
    """It sends more than 4 GiB."""
    DRAINING = "--draining"
    """The node is stopping, with an association still open."""
    FULL = "--full"
    """The node has no room."""


EXCLUSIVE = frozenset({Need.DRAINING, Need.FULL})
"""States of a node in which other cases make no sense: with one of them only its cases are run."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the node. `ask` returns when the answer is right, raises Failed when it is
    not, Skipped when it cannot be asked, and NotApplicable where the node offers no such thing."""

    id: str
    """Unique; lower case, words joined by hyphens, the subject before a dot."""
    section: str
    """Where it stands: part and section of the standard."""
    sentence: str
    """What the node does when it is right."""
    ask: Callable[[Session], None]
    needs: frozenset[Need] = frozenset()

    @property
    def part(self) -> str:
        """The part of the standard, such as PS3.8."""
        return self.section.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    case: Case
    verdict: Verdict
    seconds: float
    found: str = ""
    expected: str = ""
    why: str = ""
    """Why it was skipped, or does not apply."""
