"""The whole ledger: what arrived, what became of it, what was delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.ledger.arrivals import Arrivals
from dicom_node.ledger.database.database import Database
from dicom_node.ledger.database.look import Where
from dicom_node.ledger.deliveries import Deliveries
from dicom_node.ledger.events import Events
from dicom_node.ledger.queries import Queries
from dicom_node.ledger.studies import Studies


@dataclass(frozen=True, slots=True)
class Ledger:
    """Its writers and its questions, on one database. A part of the node is given what it needs.

    The writers are thread-safe. A committed row survives a power cut.
    """

    database: Database
    arrivals: Arrivals
    studies: Studies
    deliveries: Deliveries
    events: Events
    queries: Queries

    @classmethod
    def open(
        cls, where: Where, *, owner: str = "node", clock: Callable[[], float] | None = None
    ) -> Ledger:
        """The ledger in a SQLite file or on a server. Raises what `Database.open` raises."""
        return cls.on(Database.open(where, owner=owner, clock=clock))

    @classmethod
    def on(cls, database: Database) -> Ledger:
        """Every part, on an opened database."""
        return cls(
            database,
            Arrivals(database),
            Studies(database),
            Deliveries(database),
            Events(database),
            Queries(database),
        )
