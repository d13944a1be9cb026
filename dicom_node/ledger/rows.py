"""Values of the ledger: states, and rows as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    """A late instance opened a newer revision before this one was analyzed."""


MAY_FOLLOW = {
    State.ANALYZING: {State.QUEUED, State.ANALYZING},
    State.DELIVERING: {State.ANALYZING, State.DELIVERING},
    State.DONE: {State.DELIVERING},
    State.QUEUED: {State.QUEUED, State.ANALYZING},
    State.PARKED: {State.QUEUED, State.ANALYZING, State.DELIVERING},
}
"""From which states a run may move a revision into each state. A move from any other state, or by
an attempt that is no longer the current one, changes nothing."""


class DeliveryState(StrEnum):
    """Where one object stands with one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The destination will never take it as it is; the error says why."""


class Conflict(Exception):
    """A SOP Instance UID that is already known with other content."""


class LedgerFailed(Exception):
    """The database did not do what was asked of it."""


class LedgerBusy(LedgerFailed):
    """The database could not be used now; the cause may pass."""


class LedgerDamaged(LedgerFailed):
    """The database is damaged or cannot be opened at all; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at one revision: who asks for a move. Only the current attempt may."""

    study: str
    revision: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One instance on the spool, durable before this row is written."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    """Of the dataset as received, file meta information excluded."""
    path: str
    """Relative to the spool."""
    calling_ae: str
    peer: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """Where the spool keeps an instance that was acknowledged."""

    path: str
    transfer_syntax_uid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a study, as the ledger has it."""

    study_instance_uid: str
    revision: int
    state: State
    reason: str | None
    opened_at: float
    last_instance_at: float
    closed_at: float | None
    started_at: float | None
    analyzed_at: float | None
    finished_at: float | None
    evidence: dict[str, Any] | None
    attempt: int
    failures: int
    not_before: float
    engine: str | None
    bundle_digest: str | None
    resend: bool
    slide: str | None
    tiles_done: int
    tiles_total: int
    tiles_per_s: float

    @property
    def run(self) -> Run:
        """The current attempt."""
        return Run(self.study_instance_uid, self.revision, self.attempt)


@dataclass(frozen=True, slots=True)
class Result:
    """One object made for a revision."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    slide: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object at one destination."""

    sop_instance_uid: str
    destination: str
    state: DeliveryState
    status: str | None
    error: str | None
    attempts: int
    next_attempt_at: float | None
    delivered_at: float | None


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One object that a destination should be sent now."""

    run: Run
    sop_instance_uid: str
    path: str
    """Relative to the data folder."""
    sha256: str
    attempts: int
    analyzed_at: float
