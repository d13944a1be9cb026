"""Rows of the ledger as frozen values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.states import DeliveryState, Proof, State

WITHDRAWN = "-withdrawn"
"""How the kind of an object ends that says of others that they are withdrawn."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at one revision: who asks for a move. Only the current attempt may."""

    study: str
    revision: int
    attempt: int

    @property
    def is_open(self) -> bool:
        """Whether it is of a study that has not closed: nothing was attempted yet."""
        return self.attempt == 0

    @property
    def folder(self) -> str:
        """Name of the folder of what is made for its revision: ours, not of DICOM values."""
        return hashlib.sha256(f"{self.study}/{self.revision}".encode()).hexdigest()[:24]


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
    sha256: str | None = None
    """Of the dataset, where one is made while it arrives."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a study that was acknowledged."""

    sop_instance_uid: str
    path: str
    """Relative to the spool."""
    size_bytes: int
    purged_at: float | None = None
    """When its file was removed; None as long as it is there."""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """Where the spool keeps an instance that was acknowledged."""

    path: str
    transfer_syntax_uid: str
    size_bytes: int
    study_instance_uid: str
    sha256: str | None = None
    """Of the dataset; known of what was removed, and where one is made on arrival."""
    purged_at: float | None = None


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
    evidence: Evidence | None
    """None as long as nothing is counted."""
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
    executor: str | None
    """Who analyzes it now."""

    @property
    def run(self) -> Run:
        """The current attempt."""
        return Run(self.study_instance_uid, self.revision, self.attempt)


@dataclass(frozen=True, slots=True)
class ModelRun:
    """What an attempt runs of one model: frozen when it begins."""

    model: str
    """Name in the configuration; empty where there is one for all slides."""
    bundle_digest: str
    engine: str
    """With its version and device, as reports have it."""
    precision: str
    silent: bool
    """Whether its results go nowhere."""
    worked_s: float = 0.0
    """What slides took by it so far."""


@dataclass(frozen=True, slots=True)
class Overview:
    """One revision in a list of all: what is told in two lines."""

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
    slide: str | None
    tiles_done: int
    tiles_total: int
    tiles_per_s: float
    instances: int | None
    """None as long as nothing is counted."""
    slides: int | None
    deliveries: int
    delivered: int


@dataclass(frozen=True, slots=True)
class Result:
    """One object made for a revision."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    slide: str
    path: str
    sha256: str
    purged_at: float | None = None
    """When its file was removed; None as long as it is there."""
    model: str = ""
    """That made it; empty where there is one for all slides, or where none applied."""
    silent: bool = False
    """Whether it goes nowhere."""
    series_instance_uid: str = ""
    """Empty, like all below, where an earlier version made it."""
    engine: str = ""
    """That the object says it was made with; empty where no model ran."""
    dated_at: float | None = None
    """The instant that its dates tell."""
    predecessor: str = ""
    """SOP Instance UID of the document that it says it replaces."""
    number: int | None = None
    """Place of its slide and model among those of the study, which its Series Number is made of."""
    replaced: bool = False
    """Whether a later attempt of the same revision made other objects in its place."""
    withdrawn_at: float | None = None
    """When it was withdrawn; None as long as it may be used."""

    @property
    def is_withdrawal(self) -> bool:
        """Whether it says of others that they are withdrawn."""
        return self.kind.endswith(WITHDRAWN)


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
    proof: Proof | None
    """None as long as nobody has asked."""
    proof_at: float | None


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One object that a destination should be sent now."""

    run: Run
    sop_instance_uid: str
    path: str
    """Relative to the data folder."""
    sha256: str
    attempts: int
    due_since: float
    """When it was made, or found to be lost there."""
    kind: str = ""
    slide: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a destination is sent of a revision, and where it stands there."""

    kind: str
    slide: str
    model: str
    state: DeliveryState
    error: str | None


@dataclass(frozen=True, slots=True)
class Unproven:
    """One object that a destination has taken, and that nobody has proof of."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    path: str
    """Relative to the data folder."""
    asks: int


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One request for storage commitment, as it was kept before it was sent."""

    transaction_uid: str
    items: tuple[tuple[str, str], ...]
    """SOP class and SOP Instance UIDs."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a story."""

    at: float
    study_instance_uid: str | None
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DestinationSeen:
    """What a destination was last seen to accept."""

    checked_at: float
    reachable: bool
    accepted: dict[str, list[str]]
    """Transfer syntaxes by SOP class, as UIDs; while it is not reachable, of its last answer."""
    reason: str
