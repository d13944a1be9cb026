"""Reports to senders that asked for storage commitment: one thread per sender (PS3.4 J.3.3).

A report goes over an association of its own, on which we propose to be the SCP (PS3.7 D.3.3.4).
Requests and decisions stand in the ledger: a crash forgets none, and a sender that was told what
we promised was told only after the promise was durable.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from pynetdicom.association import Association

from dicom_node.config.peers import Requestor
from dicom_node.config.whole import Config
from dicom_node.deliver.dimse import NETWORK_FAULTS
from dicom_node.deliver.promising import judge, still_there
from dicom_node.deliver.retry import GiveUp, Policy, decide
from dicom_node.deliver.telling import call, may_report, report
from dicom_node.ledger.answers.proofs import COMMITTED, MISSING
from dicom_node.ledger.errors import LedgerBusy, LedgerFailed
from dicom_node.ledger.keeping.inquiries import Inquiry, Unreadable
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.states import InquiryState
from dicom_node.observe.log import os_reason, place_of, trace_of
from dicom_node.spool.pledges import Pledges

log = structlog.get_logger()

_ROUND_S = 0.25
_AT_ONCE = 20
"""Requests reported on over one association."""
_POSTPONED = -1
"""In place of a status: the request is to be tried later, by itself."""
_NOWHERE = "nobody knows where it takes reports: add it to [[commitment.requestors]]"
_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 600.0


class Reporters:
    """The threads of all senders that may ask, or have asked."""

    def __init__(
        self,
        config: Config,
        ledger: EgressLedger,
        stop: threading.Event,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` gives the random numbers, from 0 to 1, that spread the retries."""
        known = config.requestors if config.commitment.scp else {}
        # Whoever asked is told, also when asking is over.
        asked = {title: config.requestors.get(title) for title in ledger.promises.peers()}
        self._threads = [
            _Reporter(config, title, to, ledger, stop, draw)
            for title, to in sorted({**asked, **known}.items())
        ]

    def start(self) -> None:
        """Decide on what was asked, and report, until `stop`."""
        for thread in self._threads:
            thread.start()

    def join(self, within_s: float) -> bool:
        """Wait for the reports that are being sent; whether every thread has ended in time."""
        deadline = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


class _Reporter(threading.Thread):
    def __init__(
        self,
        config: Config,
        title: str,
        to: Requestor | None,
        ledger: EgressLedger,
        stop: threading.Event,
        draw: Callable[[], float],
    ) -> None:
        """`to` is None where nobody knows where the sender takes reports."""
        super().__init__(name=f"reports-{title}", daemon=True)
        self._own_ae_title = config.node.ae_title
        self._spool = config.spool_dir
        self._pledges = Pledges(config.node.data_dir)
        self._may_promise = config.commitment.scp and config.retention.keep_inputs
        self._title = title
        self._to = to
        self._promises = ledger.promises
        self._now = ledger.database.now
        self._stop_asked = stop
        self._draw = draw
        self._policy = Policy(
            _FIRST_RETRY_S, _LONGEST_RETRY_S, give_up_after_s=config.commitment.give_up_after_s
        )

    def run(self) -> None:
        pause_s = 0.0
        while not self._stop_asked.wait(pause_s):
            pause_s = _ROUND_S
            try:
                self._round()
            except LedgerFailed as error:
                log.warning("ledger_busy", error=str(error))
            except Exception as error:  # noqa: BLE001 - a thread that ends would tell nobody more
                trace = trace_of(error)
                log.error("reporter_failed", peer=self._title, error=place_of(error), trace=trace)
                pause_s = _FIRST_RETRY_S

    def _round(self) -> None:
        decided = []
        for one in self._promises.due(self._title, most=_AT_ONCE):
            if isinstance(one, Unreadable):
                log.error("inquiry_unreadable", peer=self._title, inquiry=one.id)
                self._promises.postpone(one, _LONGEST_RETRY_S)
                continue
            try:
                inquiry = self._decided(one)
            except LedgerBusy:
                raise  # of all requests
            except Exception as error:  # noqa: BLE001 - whatever it is, the other requests go on
                self._failed(one, error)
                continue
            if inquiry is not None:
                decided.append(inquiry)
        if not decided or self._stop_asked.is_set():
            return
        settled, why = self._tell(decided)
        for one in decided:
            if one.id not in settled:
                self._not_told(one, why)

    def _decided(self, inquiry: Inquiry) -> Inquiry | None:
        """What may be said of a request, which is durable; None if there is no time for it."""
        known = self._promises.kept([uid for _, uid in inquiry.outcomes])
        if inquiry.state is InquiryState.ASKED:
            outcomes = judge(
                inquiry,
                known,
                self._spool,
                may_promise=self._may_promise,
                is_stopping=self._stop_asked.is_set,
            )
            if outcomes is None:
                return None
            # First where a lost database does not take it along: the word is given after that.
            self._pledges.promise(uid for (_, uid), o in outcomes.items() if o == COMMITTED)
            return self._promises.decide(inquiry, outcomes, known)
        # Decided before a crash, or before a sender could be reached: a disk may have lost it.
        promised = [pair for pair, outcome in inquiry.outcomes.items() if outcome == COMMITTED]
        there = still_there(promised, known, self._spool)
        gone = {pair: MISSING for pair in promised if pair[1] not in there}
        return replace(inquiry, outcomes={**inquiry.outcomes, **gone})

    def _tell(self, decided: list[Inquiry]) -> tuple[set[int], str]:
        """Ids of the requests that are settled for now, and why the others are not told."""
        settled: set[int] = set()
        if self._to is None:
            return settled, _NOWHERE
        try:
            association = call(self._to, self._own_ae_title)
            if not may_report(association):
                if association.is_established:
                    association.release()
                    return settled, "it does not take the node as SCP of storage commitment"
                return settled, "no association"
            try:
                for inquiry in decided:
                    if self._stop_asked.is_set():
                        return {one.id for one in decided}, ""  # due at once after the next start
                    status = self._told(association, inquiry)
                    if status == 0x0000 or status == _POSTPONED:
                        settled.add(inquiry.id)
                    elif status is None:
                        return settled, "no answer"
            finally:
                association.release()
        except NETWORK_FAULTS as error:
            return settled, os_reason(error) if isinstance(error, OSError) else place_of(error)
        return settled, "it did not accept the report"

    def _told(self, association: Association, inquiry: Inquiry) -> int | None:
        """Status of the answer to the report on a request, None without one, or `_POSTPONED`.
        Raises NETWORK_FAULTS."""
        try:
            status = report(association, inquiry)
        except NETWORK_FAULTS:
            raise  # of the association, so of all requests
        except Exception as error:  # noqa: BLE001 - whatever it is, the other requests go on
            self._failed(inquiry, error)
            return _POSTPONED
        if status == 0x0000:
            self._promises.close(inquiry, InquiryState.REPORTED)
            log.info("commitment_told", peer=self._title, **_numbers(inquiry))
        return status

    def _failed(self, inquiry: Inquiry, error: Exception) -> None:
        """An error nobody expected postpones its request, and no other."""
        place, trace = place_of(error), trace_of(error)
        log.error("inquiry_failed", peer=self._title, error=place, trace=trace)
        self._not_told(inquiry, f"unexpected {place}")

    def _not_told(self, inquiry: Inquiry, why: str) -> None:
        """Try again later, or never."""
        age_s = self._now() - inquiry.asked_at
        next_step = decide(self._policy, failures=inquiry.attempts, age_s=age_s, draw=self._draw())
        fields = {"peer": self._title, "reason": why, **_numbers(inquiry)}
        if isinstance(next_step, GiveUp):
            log.error("commitment_untold", **fields)
            self._promises.close(inquiry, InquiryState.GIVEN_UP)
        else:
            log.warning("commitment_not_told_yet", **fields)
            self._promises.postpone(inquiry, next_step.wait_s)


def _numbers(inquiry: Inquiry) -> dict[str, object]:
    committed = sum(outcome == COMMITTED for outcome in inquiry.outcomes.values())
    return {
        "transaction_uid": inquiry.transaction_uid,
        "committed": committed,
        "failed": len(inquiry.outcomes) - committed,
    }
