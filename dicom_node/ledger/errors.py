"""How the ledger fails."""

from __future__ import annotations


class Conflict(Exception):
    """A SOP Instance UID that is already known with other content."""


class LedgerFailed(Exception):
    """The database did not do what was asked of it."""


class LedgerBusy(LedgerFailed):
    """The database could not be used now; the cause may pass."""


class LedgerDamaged(LedgerFailed):
    """The database is damaged or cannot be opened at all; the message says what to do."""


class LedgerTooNew(LedgerFailed):
    """A later version changed the tables beyond what this one may use."""
