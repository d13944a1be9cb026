"""The ledger as each process has it: what it may write, and what it may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

from dicom_node.ledger.analyses import Analyses
from dicom_node.ledger.answers.fallbacks import Fallbacks
from dicom_node.ledger.arrivals import Arrivals
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.look import Where
from dicom_node.ledger.deliveries import Deliveries
from dicom_node.ledger.events import Events
from dicom_node.ledger.keeping.discards import Discards
from dicom_node.ledger.keeping.endings import Endings
from dicom_node.ledger.keeping.holds import Holds
from dicom_node.ledger.keeping.promises import Promises
from dicom_node.ledger.keeping.retention import Retention
from dicom_node.ledger.keeping.withdrawals import Withdrawals
from dicom_node.ledger.queries.queries import Queries
from dicom_node.ledger.studies import Studies
from dicom_node.ledger.switches import Switches

_PARTS: dict[str, Callable[[Database], Any]] = {
    "arrivals": Arrivals,
    "analyses": Analyses,
    "studies": Studies,
    "deliveries": Deliveries,
    "commitments": Commitments,
    "promises": Promises,
    "retention": Retention,
    "discards": Discards,
    "endings": Endings,
    "events": Events,
    "queries": Queries,
    "switches": Switches,
    "holds": Holds,
    "withdrawals": Withdrawals,
    "fallbacks": Fallbacks,
}


@dataclass(frozen=True)
class _OnDatabase:
    database: Database

    @classmethod
    def open(
        cls, where: Where, *, owner: str = "node", clock: Callable[[], float] | None = None
    ) -> Self:
        """In a SQLite file or on a server. Raises what `Database.open` raises."""
        return cls.on(Database.open(where, owner=owner, clock=clock))

    @classmethod
    def on(cls, database: Database) -> Self:
        """On an opened database."""
        mine = (f.name for f in fields(cls) if f.name in _PARTS)
        return cls(database, **{name: _PARTS[name](database) for name in mine})


@dataclass(frozen=True)
class IngestLedger(_OnDatabase):
    """What a receiver has: it adds instances, and can neither close nor read a study."""

    arrivals: Arrivals
    commitments: Commitments
    promises: Promises
    events: Events
    switches: Switches


@dataclass(frozen=True)
class WorkerLedger(_OnDatabase):
    """What closes and analyzes has: it adds no instance."""

    studies: Studies
    analyses: Analyses
    deliveries: Deliveries
    events: Events
    queries: Queries
    switches: Switches


@dataclass(frozen=True)
class EgressLedger(_OnDatabase):
    """What delivers has: it adds no instance, and closes no study."""

    deliveries: Deliveries
    commitments: Commitments
    promises: Promises
    retention: Retention
    discards: Discards
    endings: Endings
    events: Events
    queries: Queries
    switches: Switches
    holds: Holds
    fallbacks: Fallbacks


@dataclass(frozen=True)
class Ledger(IngestLedger, WorkerLedger, EgressLedger):
    """All of it, for commands of people.

    The writers are thread-safe. A committed row survives a power cut.
    """

    withdrawals: Withdrawals
