"""One database, opened: its transactions, its clock, and what its errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from dicom_node.ledger import schema, sqlite


class Database:
    """Transactions and the clock of the ledger. One object per process; it is thread-safe."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Database:
        """The ledger in a SQLite file, created when absent, its tables brought to this version.

        Raises LedgerDamaged, as every use does, LedgerBusy, and LedgerTooNew for a file that a
        later version changed beyond what this one reads.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = cls(sqlite.connect(path), clock)
        with opened._failures_are_ours(opening=True):
            schema.bring_up_to_date(opened.engine)
        return opened

    @property
    def engine(self) -> sa.Engine:
        """The database engine, shared with the workflow library."""
        return self._engine

    def now(self) -> float:
        """The ledger's clock, seconds since 1970."""
        return self._clock()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One durable transaction. Raises LedgerBusy and LedgerDamaged."""
        with self._failures_are_ours(), self._engine.begin() as db:
            # The write lock first, so that what the transaction reads is still true when it writes.
            db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One look. Raises LedgerBusy and LedgerDamaged."""
        with self._failures_are_ours(), self._engine.connect() as db:
            yield db

    @contextmanager
    def _failures_are_ours(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            path = Path(str(self._engine.url.database))
            raise sqlite.failure(path, error.orig, opening=opening) from error
