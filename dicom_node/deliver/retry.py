"""When what failed is tried again, and when it is given up: one rule for deliveries and analyses.

Each has a policy of its own, from the section of the configuration that is named after it. The rule
is pure: time and chance are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dicom_node.config.sections import AnalysisSection, DeliverySection

_MOST_DOUBLINGS = 30
"""Further ones would only make a number that no float holds."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to wait between tries, and where to end."""

    first_retry_s: float
    """The wait after the first failure, on average; every further failure doubles it."""
    longest_retry_s: float
    """No wait is longer."""
    most_retries: int | None = None
    """After so many retries a failure is the last one; None: their number does not matter."""
    give_up_after_s: float | None = None
    """At this age a failure is the last one; None: the age does not matter."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try it once more, after a wait."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person has to look."""

    why: str
    """Begins a sentence that the last failure's reason ends."""


def decide(policy: Policy, *, failures: int, age_s: float, draw: float) -> Again | GiveUp:
    """What follows a failure of something that failed `failures` times before this one.

    `age_s` counts from when it was first due, and could be tried; `draw` is a random number from 0
    to 1.
    """
    if policy.most_retries is not None and failures >= policy.most_retries:
        return GiveUp(f"given up after {failures} retries")
    if policy.give_up_after_s is not None and age_s >= policy.give_up_after_s:
        return GiveUp(f"given up after {timedelta(seconds=round(age_s))}")
    return Again(back_off_s(policy, failures=failures, draw=draw))


def back_off_s(policy: Policy, *, failures: int, draw: float) -> float:
    """The wait after a failure: doubling, spread from a third of its longest value to that value.

    Until the longest wait is reached that is 0.5 to 1.5 times the doubled one. Things that failed
    together are spread over the longest wait too, so they do not come back together.
    """
    doubled_s = policy.first_retry_s * 2.0 ** min(failures, _MOST_DOUBLINGS)
    return min(policy.longest_retry_s, 1.5 * doubled_s) * ((1 + 2 * draw) / 3)


def for_analysis(section: AnalysisSection) -> Policy:
    """An analysis ends by the number of its retries: none of them waits for somebody else."""
    return Policy(section.first_retry_s, section.longest_retry_s, most_retries=section.most_retries)


def for_delivery(section: DeliverySection) -> Policy:
    """A delivery ends by its age: a PACS may be down for a weekend, and is tried on."""
    return Policy(
        section.first_retry_s, section.longest_retry_s, give_up_after_s=section.give_up_after_s
    )
