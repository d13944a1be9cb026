"""Proof that a destination keeps what it took: storage commitment, and a query where none comes.

A request is in the ledger before it is sent, and its report may come on any association, also to
the listener, before the answer to the request: nothing here waits for it longer than a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.association import Association

from dicom_node.association.commitment import INSTANCE, REQUEST, Report, take_report
from dicom_node.association.commitment import written_request as written
from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse
from dicom_node.deliver.query import has_object
from dicom_node.ledger.answers.proofs import FOUND, MISSING
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import CommitmentRequest, Unproven
from dicom_node.observe.log import os_reason, place_of
from dicom_node.sop_classes import STORAGE_COMMITMENT, STUDY_ROOT_FIND

log = structlog.get_logger()

CLASSES = (STORAGE_COMMITMENT, STUDY_ROOT_FIND)
"""What a destination is asked for: proof, or else an answer."""
MOST_ITEMS = 1000
"""Objects in one request: 118 bytes each, far below what a PACS takes in one message."""
_MOST_LOOKS, _MOST_LOOKING_S = 50, 10.0
"""Queries on one association: the lane that asks them also delivers."""
_HOLD_S = 2.0
"""Some peers report on the association of the request, and only there."""
_LOOK_S = 0.05
_NO_OFFER_WAIT_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0
_UNSETTLED = ""


class Prover:
    """Gets proof from one destination; called by its lane, one call at a time."""

    def __init__(
        self,
        config: Config,
        destination: Destination,
        ledger: EgressLedger,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._config = config
        self._destination = destination
        self._name = destination.name
        self._commitments = ledger.commitments
        self._is_stopping = is_stopping
        self._failures = 0
        self._next_at = 0.0
        self._asks_again_at = 0.0

    def round(self) -> None:
        """Ask for what is due, if the destination did not fail a moment ago."""
        if time.monotonic() < self._next_at:
            return
        due = self._due()
        unsent = self._commitments.unsent(self._name)
        overdue = self._commitments.overdue(self._name, self._destination.commitment_wait_s)
        if not (due or unsent or overdue):
            return
        is_well = self._with_association(lambda a: self._prove(a, due, unsent, overdue))
        self._failures = 0 if is_well else self._failures + 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
        self._next_at = 0.0 if is_well else time.monotonic() + pause_s

    def _due(self) -> list[Unproven]:
        if self._destination.commitment == "never":
            return []
        return self._commitments.due(
            self._name,
            most=MOST_ITEMS,
            needs_commitment=self._destination.commitment == "required",
        )

    def _prove(
        self,
        association: Association,
        due: Sequence[Unproven],
        unsent: Sequence[CommitmentRequest],
        overdue: Sequence[CommitmentRequest],
    ) -> bool:
        commits = _takes(association, STORAGE_COMMITMENT.uid)
        commits = commits and time.monotonic() >= self._asks_again_at
        if not commits:
            for request in unsent:
                self._commitments.close(request.transaction_uid, {})
        # Each look takes its time: a few, and then what is due is looked at again.
        until = time.monotonic() + _MOST_LOOKING_S
        left = _MOST_LOOKS
        for request in overdue:
            left -= self._give_up_waiting(association, request, left, until)
        if not commits:
            self._query(association, due, left, until)
            return True
        new = self._commitments.open(self._name, due) if due else None
        return all([self._ask(association, r) for r in (*unsent, *([new] if new else []))])

    def _ask(self, association: Association, request: CommitmentRequest) -> bool:
        """Send one request and stay a moment; whether the destination answered well."""
        uid = request.transaction_uid
        status, _ = association.send_n_action(
            written(uid, request.items), REQUEST, STORAGE_COMMITMENT.uid, INSTANCE
        )
        code = status.get("Status")
        if code is None:
            return False  # it may have got it: the same request is sent again
        if code != 0x0000:
            log.warning("commitment_turned_down", destination=self._name, status=f"{code:04X}")
            self._commitments.close(uid, {})
            self._asks_again_at = time.monotonic() + _NO_OFFER_WAIT_S  # until then a query decides
            return True
        self._commitments.sent(uid)
        log.info("commitment_asked", destination=self._name, objects=len(request.items))
        until = time.monotonic() + _HOLD_S
        while time.monotonic() < until and not self._is_stopping():
            if not (association.is_established and self._commitments.is_open(uid)):
                break
            time.sleep(_LOOK_S)
        return True

    def _give_up_waiting(
        self, association: Association, request: CommitmentRequest, most: int, until: float
    ) -> int:
        """No report came: what a query finds is there, the rest is sent again; how many looks.

        What there was no time for is left in the request.
        """
        paths = self._commitments.paths(request)
        if not _takes(association, STUDY_ROOT_FIND.uid):
            if not self._is_stopping():
                self._commitments.close(request.transaction_uid, {})
            return 0
        outcomes = self._looks(association, paths, most, until)
        if outcomes:
            log.warning("commitment_not_reported", destination=self._name, objects=len(outcomes))
        self._commitments.answer(request.transaction_uid, outcomes)
        return len(outcomes)

    def _query(
        self, association: Association, due: Sequence[Unproven], most: int, until: float
    ) -> None:
        """Proof from a destination that does not commit."""
        if not due or self._is_stopping():
            return
        offers = _takes(association, STUDY_ROOT_FIND.uid)
        paths = {d.sop_instance_uid: d.path for d in due}
        outcomes = self._looks(association, paths, most, until) if offers else {}
        told = {uid: outcome for uid, outcome in outcomes.items() if outcome != _UNSETTLED}
        self._commitments.learn(self._name, told)
        mute = outcomes.keys() - told.keys() if offers else paths.keys()
        rest = [d for d in due if d.sop_instance_uid in mute]
        if rest:
            self._commitments.postpone(self._name, rest, _NO_OFFER_WAIT_S)
            log.warning("destination_proves_nothing", destination=self._name, objects=len(rest))

    def _looks(
        self, association: Association, paths: Mapping[str, str], most: int, until: float
    ) -> dict[str, str]:
        """What queries say of the first of some objects, as many as there is time for.

        One that the association did not outlive has no answer, and its turn is over.
        """
        outcomes: dict[str, str] = {}
        for uid, path in paths.items():
            is_over = len(outcomes) >= most or time.monotonic() >= until
            if is_over or self._is_stopping() or not association.is_established:
                break
            outcomes[uid] = self._look(association, path)
        return outcomes

    def _look(self, association: Association, path: str) -> str:
        """What a query says of one object."""
        try:
            is_there = has_object(association, self._path(path))
        except (OSError, AttributeError) as error:  # of the file
            log.warning("result_unreadable", error=place_of(error))
            return _UNSETTLED
        return _UNSETTLED if is_there is None else FOUND if is_there else MISSING

    def _path(self, path: str) -> Path:
        return self._config.node.data_dir / path

    def _with_association(self, act: Callable[[Association], bool]) -> bool:
        """Whether it stood and all went well on it."""
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        try:
            association = dimse.associate(
                self._destination,
                self._config.node.ae_title,
                CLASSES,
                handlers=handlers,
            )
            if not association.is_established:
                # One that takes neither class may refuse the association: it proves nothing.
                return bool(association.rejected_contexts) and act(association)
            try:
                return act(association) and association.is_established
            finally:
                association.release()
        except dimse.NETWORK_FAULTS as error:
            why = os_reason(error) if isinstance(error, OSError) else place_of(error)
            log.warning("proof_not_asked", destination=self._name, reason=why)
            return False

    def _on_report(self, event: Any) -> tuple[int, Any]:
        def record(report: Report) -> str:
            return self._commitments.report(
                report.transaction_uid, [self._name], report.committed, report.failed
            )

        return take_report(event, record, may_pass=LedgerFailed)


def _takes(association: Association, sop_class: str) -> bool:
    """Whether a class was accepted on an association that still stands."""
    return bool(association.is_established) and any(
        context.abstract_syntax == sop_class for context in association.accepted_contexts
    )
