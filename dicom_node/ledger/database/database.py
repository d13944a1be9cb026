"""One database, opened: its transactions, its clock, and what its errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from dicom_node.ledger.database import postgresql, schema, sqlite
from dicom_node.ledger.database.clock import HostClock, ServerClock
from dicom_node.ledger.database.dialects import insert_all_once, is_shared
from dicom_node.ledger.database.look import Where
from dicom_node.ledger.database.tables import studies
from dicom_node.ledger.errors import LedgerBusy, LedgerFailed

_MOST_LOCKS_AT_ONCE = 500


class Database:
    """Transactions and the clock of the ledger. One object per process; it is thread-safe.

    `owner` names who opened it among all that share the database, the same after a restart: what
    is under way under another name is left alone.
    """

    def __init__(
        self, engine: sa.Engine, *, owner: str = "node", clock: Callable[[], float] | None = None
    ) -> None:
        self.engine = engine
        """The database engine, shared with the workflow library."""
        self.owner = owner
        self.is_shared = is_shared(engine)
        """Whether several machines may use it."""
        self._clock = clock or self._own_clock()

    @classmethod
    def open(
        cls, where: Where, *, owner: str = "node", clock: Callable[[], float] | None = None
    ) -> Database:
        """The ledger in a SQLite file, created when absent, or in a database of a server; its
        tables brought to this version.

        Raises LedgerDamaged, as every use does, LedgerBusy, and LedgerTooNew for tables that a
        later version changed beyond what this one reads.
        """
        if isinstance(where, Path):
            where.parent.mkdir(parents=True, exist_ok=True)
            engine = sqlite.connect(where)
        else:
            engine = postgresql.connect(where)
        with _failures_are_ours(engine, opening=True):
            schema.bring_up_to_date(engine)
            return cls(engine, owner=owner, clock=clock)

    @property
    def name(self) -> str:
        """The file, or the address without the password."""
        return _name(self.engine)

    def now(self) -> float:
        """The ledger's clock, seconds since 1970: it counts on when the host's clock is set."""
        return self._clock()

    def wall_time(self, at: float) -> float:
        """A time of the ledger as the clock on the wall has it now, for people."""
        return at if self.is_shared else at + time.time() - self.now()

    @contextmanager
    def write(
        self, *, study: str | None = None, studies: Collection[str] = ()
    ) -> Iterator[sa.Connection]:
        """One durable transaction. Raises LedgerBusy and LedgerDamaged.

        With a study, or several: nobody else adds to it, closes or moves it until the transaction
        ends.
        """
        with _failures_are_ours(self.engine), self.engine.begin() as db:
            # What the transaction reads must still be true when it writes.
            if not self.is_shared:
                db.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                _lock(db, {*studies, *([] if study is None else [study])})
            yield db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One look. Raises LedgerBusy and LedgerDamaged."""
        with _failures_are_ours(self.engine), self.engine.connect() as db:
            yield db

    def _own_clock(self) -> Callable[[], float]:
        if not self.is_shared:
            return HostClock(schema.anchor_of_this_boot(self.engine))

        def ask() -> float:
            with self.read() as db:
                return postgresql.now(db)

        return ServerClock(ask, LedgerFailed)


def _lock(db: sa.Connection, wanted: Collection[str]) -> None:
    """Take the rows of studies first, before anything is read: there is one order of locks.

    Sorted: two that take several never wait for each other. A row that another transaction deletes
    while it is waited for is not there to be locked: then it is made anew.
    """
    in_order = sorted(wanted)
    for start in range(0, len(in_order), _MOST_LOCKS_AT_ONCE):
        some = in_order[start : start + _MOST_LOCKS_AT_ONCE]
        uid = studies.c.study_instance_uid
        take = sa.select(uid).where(uid.in_(some)).order_by(uid).with_for_update()
        locked = 0
        while locked < len(some):
            insert_all_once(db, studies, [{"study_instance_uid": one} for one in some])
            locked = len(db.execute(take).all())


def _name(engine: sa.Engine) -> str:
    return str(engine.url) if is_shared(engine) else str(engine.url.database)


@contextmanager
def _failures_are_ours(engine: sa.Engine, *, opening: bool = False) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError):
        raise  # a mistake of ours, not of the database
    except NoConnectionFree as error:  # the pool's, which is no error of the database
        reason = "all connections of this process are in use"
        raise LedgerBusy(f"{_name(engine)}: {reason}") from error
    except DBAPIError as error:
        if is_shared(engine):
            raise postgresql.failure(_name(engine), error.orig, opening=opening) from error
        if not isinstance(error, OperationalError):
            raise
        raise sqlite.failure(Path(_name(engine)), error.orig, opening=opening) from error
