"""The ledger in PostgreSQL: how it is reached, and what its errors mean."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged, LedgerFailed

LOCK_WAIT_S = 5
"""How long a writer waits for another; a sender is answered A700 then."""
_CONNECT_WAIT_S = 5
_TABLES_DIFFER = ("42P01", "42703", "42804")  # undefined table, undefined column, other type
_NO_RIGHT = "42501"
# A refused connection has no SQLSTATE. A server that speaks another language is waited for.
_SHUT_OUT = ("does not exist", "authentication failed", "no pg_hba.conf entry", "permission denied")
_DAMAGED = ("XX001", "XX002")  # data, index


def connect(url: str) -> sa.Engine:
    """An engine on a database of a server; a connection that has died is replaced when asked for.

    Its errors quote neither the parameters nor the password. Raises LedgerDamaged without a driver.
    """
    try:
        return sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _CONNECT_WAIT_S,
                "application_name": "dicom-node",
                "options": f"-c lock_timeout={LOCK_WAIT_S}s -c timezone=UTC",
            },
        )
    except ModuleNotFoundError as error:
        raise LedgerDamaged(
            f"[database] url: found no {error.name}, which PostgreSQL needs: "
            'pip install "dicom-node[postgresql]"'
        ) from error


def now(db: sa.Connection) -> float:
    """The server's clock, seconds since 1970, whenever the transaction began."""
    asked = sa.text("SELECT extract(epoch FROM clock_timestamp())")
    return float(db.execute(asked).scalar_one())


def failure(name: str, error: BaseException | None, *, opening: bool = False) -> LedgerFailed:
    """What an error of the server or its driver means, in words of ours."""
    state = str(getattr(error, "sqlstate", None) or "no connection")
    if state in _DAMAGED:
        return LedgerDamaged(
            f"{name}: the server found damage (SQLSTATE {state}): put back a backup, then run "
            "`dicom-node recover`; the received files are safe in the spool"
        )
    if state in _TABLES_DIFFER:
        return LedgerDamaged(
            f"{name}: its tables are not those of this version (SQLSTATE {state}): start the "
            "version that wrote it; the received files are safe in the spool"
        )
    is_shut_out = state == _NO_RIGHT or any(words in str(error) for words in _SHUT_OUT)
    if opening and is_shut_out:
        return LedgerDamaged(
            f"{name}: the server does not let us in ({_words(state)}), expected a database that "
            "exists, a user that may create tables in it, and its password: see [database]"
        )
    return LedgerBusy(f"{name}: cannot be used now ({_words(state)})")


def _words(state: str) -> str:
    return state if " " in state else f"SQLSTATE {state}"
