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
_LONGEST_S = 120.0
"""Of asking at a time: the lane has objects to send. The rest is asked in the next turn."""


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
        self._asked_series: set[tuple[str, str]] = set()
        """Their series, and those of a study for which the time was too short."""

    def round(self) -> None:
        """Ask what is due."""
        if self._policy.source_holds_slides or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _EVERY_S
        waiting = self._waiting()
        if not waiting and self._asked:
            self._asked.clear()
            self._asked_series.clear()
            waiting = self._waiting()
        if waiting:
            try:
                self._ask(waiting)
            except dimse.NETWORK_FAULTS:
                log.warning("source_not_asked", destination=self._destination.name)

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

    def _ask(self, waiting: dict[str, list[KeptInput]]) -> None:
        association = dimse.associate(
            self._destination, self._config.node.ae_title, [STUDY_ROOT_FIND]
        )
        if not association.is_established:
            return
        until = time.monotonic() + _LONGEST_S
        try:
            for study, inputs in waiting.items():
                for series, instances in _by_series(inputs).items():
                    if (study, series) in self._asked_series:
                        continue
                    if time.monotonic() > until or not association.is_established:
                        return
                    # Before it is asked: what ends the association holds up no other.
                    self._asked_series.add((study, series))
                    held = held_of_series(association, study, series, instances)
                    self._retention.note_held(held or set())
                self._asked.add(study)
        finally:
            association.release()


def _by_series(inputs: Iterable[KeptInput]) -> dict[str, set[str]]:
    """SOP Instance UIDs by Series Instance UID."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in inputs:
        found[one.series_instance_uid].add(one.sop_instance_uid)
    return found
