"""Whether the source still holds the slides it sent: asked of a destination that is the sender."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

import structlog

from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse
from dicom_node.deliver.keeping import policy_of
from dicom_node.deliver.query import held_of_series
from dicom_node.ledger.keeping import rules
from dicom_node.ledger.keeping.facts import KeptInput
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.sop_classes import STUDY_ROOT_FIND

log = structlog.get_logger()

_EVERY_S = 600.0
_MOST_STUDIES = 50
_MOST_LOOKS, _MOST_LOOKING_S = 50, 10.0
"""Queries in one round: the lane that asks them also delivers."""


class Source:
    """Asks one destination, now and then, for the inputs that only wait for its answer."""

    def __init__(self, config: Config, destination: Destination, ledger: EgressLedger) -> None:
        self._config = config
        self._destination = destination
        self._retention = ledger.retention
        self._now = ledger.database.now
        self._policy = policy_of(config)
        self._next_at = 0.0
        self._asked: set[str] = set()
        """Studies whose turn was in this turn of all."""
        self._series: list[tuple[str, str, set[str]]] = []
        """Those still to be asked for in this turn: study, series, and instances."""

    def round(self) -> None:
        """Ask a few of those that are due."""
        if self._policy.source_holds_slides:
            return
        if not self._series and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _EVERY_S
            self._begin()
        if self._series and not self._ask():
            self._series.clear()  # until the next turn

    def _begin(self) -> None:
        """Take up what waits, series by series."""
        waiting = self._waiting()
        if not waiting and self._asked:
            self._asked.clear()
            waiting = self._waiting()
        self._asked |= waiting.keys()
        for study, inputs in waiting.items():
            of_study = _by_series(inputs).items()
            self._series += [(study, uid, instances) for uid, instances in of_study]

    def _waiting(self) -> dict[str, list[KeptInput]]:
        """Inputs by study that could go if the source held them.

        Those whose turn was come last: what the source does not hold holds up no other study.
        """
        now, policy = self._now(), self._policy
        found: dict[str, list[KeptInput]] = {}
        for study in self._retention.at_rest(now):
            facts = None if study in self._asked else self._retention.facts(study)
            if facts is None or rules.inputs(facts, policy, now).may_go:
                continue
            if not rules.waits_for_source(facts, policy, now):
                continue
            inputs = self._retention.inputs(study)
            if inputs and all(i.calling_ae == self._destination.ae_title for i in inputs):
                found[study] = inputs
            if len(found) == _MOST_STUDIES:
                break
        return found

    def _ask(self) -> bool:
        """Ask for the first series that wait; whether the destination was there."""
        try:
            association = dimse.associate(
                self._destination, self._config.node.ae_title, [STUDY_ROOT_FIND]
            )
        except dimse.NETWORK_FAULTS:
            log.warning("source_not_asked", destination=self._destination.name)
            return False
        if not association.is_established:
            return False
        until = time.monotonic() + _MOST_LOOKING_S
        try:
            for _ in range(min(_MOST_LOOKS, len(self._series))):
                # Before it is asked: what ends the association holds up no other.
                study, uid, instances = self._series.pop(0)
                self._retention.note_held(
                    held_of_series(association, study, uid, instances) or set()
                )
                if time.monotonic() >= until or not association.is_established:
                    break
        except dimse.NETWORK_FAULTS:
            log.warning("source_not_asked", destination=self._destination.name)
        finally:
            association.release()
        return True


def _by_series(inputs: Iterable[KeptInput]) -> dict[str, set[str]]:
    """SOP Instance UIDs by Series Instance UID."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in inputs:
        found[one.series_instance_uid].add(one.sop_instance_uid)
    return found
