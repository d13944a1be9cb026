"""Where a study and an object stand, and which moves are allowed."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a study revision stands."""

    RECEIVING = "receiving"
    """Instances arrive, or something is still missing."""
    QUEUED = "queued"
    """Closed on evidence; waits for the worker, or for the time of its next attempt."""
    ANALYZING = "analyzing"
    DELIVERING = "delivering"
    """Results are built; at least one object still has to reach a destination."""
    DONE = "done"
    PARKED = "parked"
    """Cannot go on by itself; the reason says why. `retry` or a late instance moves it."""
    SUPERSEDED = "superseded"
    """A newer revision stands in its place: this one is not analyzed, sent or seen to any more."""


MAY_FOLLOW = {
    State.ANALYZING: {State.QUEUED, State.ANALYZING},
    State.DELIVERING: {State.ANALYZING, State.DELIVERING},
    State.DONE: {State.DELIVERING},
    State.QUEUED: {State.QUEUED, State.ANALYZING},
    State.PARKED: {State.QUEUED, State.ANALYZING, State.DELIVERING},
}
"""From which states a run may move a revision into each state. A move from any other state, or by
an attempt that is no longer the current one, changes nothing."""


AT_REST = (State.DONE, State.PARKED, State.SUPERSEDED)
"""Nothing is under way for a revision in one of these."""


class Proof(StrEnum):
    """What is known of an object that a destination has taken, beyond its answer to C-STORE."""

    ASKED = "asked"
    """Part of a request for storage commitment whose report is awaited."""
    COMMITTED = "committed"
    FOUND = "found"
    """A query found it there."""
    LOST = "lost"
    """The destination does not have it, and it is not sent again: a newer object stands in its
    place, its file was removed, or the study was cancelled."""


class CommitmentState(StrEnum):
    """Where a request for storage commitment stands."""

    MADE = "made"
    """Kept; whether the destination got it is not known."""
    ASKED = "asked"
    """The destination took it; the report is awaited."""
    REPORTED = "reported"
    CLOSED = "closed"
    """Turned down, or without a report for too long."""


class InquiryState(StrEnum):
    """Where a sender's request that we commit to what it sent stands."""

    ASKED = "asked"
    DECIDED = "decided"
    """What is promised is durable; the sender has yet to be told."""
    REPORTED = "reported"
    GIVEN_UP = "given_up"
    """The sender could not be told for too long; what was promised stays promised."""


class DeliveryState(StrEnum):
    """Where one object stands with one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The destination will never take it as it is; the error says why."""
