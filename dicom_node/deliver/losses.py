"""Saying what a destination took, does not have any more, and is not sent again."""

from __future__ import annotations

import time

import structlog

from dicom_node.ledger.ledger import EgressLedger

log = structlog.get_logger()

_EVERY_S = 60.0
_MOST_NAMED = 5


class Losses:
    """Told when they change, and after a start: whoever heard of one may be another process."""

    def __init__(self, destination: str, ledger: EgressLedger) -> None:
        self._destination = destination
        self._queries = ledger.queries
        self._next_at = 0.0
        self._told: dict[str, int] = {}

    def round(self) -> None:
        """Look now and then."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _EVERY_S
        lost = self._queries.lost().get(self._destination, {})
        if lost and lost != self._told:
            objects, some = sum(lost.values()), sorted(lost)[:_MOST_NAMED]
            log.error("results_lost", destination=self._destination, objects=objects, studies=some)
        self._told = lost
