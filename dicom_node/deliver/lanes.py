"""Delivery: one thread per destination, so that a sick one costs nobody but itself.

What is due stands in the ledger, and sending again is harmless; so a lane keeps nothing that a
crash could lose.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse
from dicom_node.deliver.courier import Courier
from dicom_node.deliver.losses import Losses
from dicom_node.deliver.order import reports_first
from dicom_node.deliver.proof import Prover
from dicom_node.deliver.retry import back_off_s, for_delivery
from dicom_node.deliver.source import Source
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import DeliveryState
from dicom_node.observe.log import place_of, trace_of

log = structlog.get_logger()

_ROUND_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""A destination that does not answer is tried again, with one object, at least so often."""
_ASK_EVERY_S = 60.0


class Lanes:
    """The lanes of all destinations of the configuration."""

    def __init__(
        self,
        config: Config,
        ledger: EgressLedger,
        stop: threading.Event,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` gives the random numbers, from 0 to 1, that spread the retries."""
        self._lanes = [_Lane(config, d, ledger, stop, draw) for d in config.destinations]

    def start(self) -> None:
        """Ask every destination what it takes, and deliver what is due, until `stop`."""
        for lane in self._lanes:
            lane.start()

    def join(self, within_s: float) -> bool:
        """Wait for the objects that are being sent; whether every lane has ended in time."""
        deadline = time.monotonic() + within_s
        for lane in self._lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
        return not any(lane.is_alive() for lane in self._lanes)


class _Lane(threading.Thread):
    def __init__(
        self,
        config: Config,
        destination: Destination,
        ledger: EgressLedger,
        stop: threading.Event,
        draw: Callable[[], float],
    ) -> None:
        super().__init__(name=f"lane-{destination.name}", daemon=True)
        self._config = config
        self._destination = destination
        self._ledger = ledger
        self._stop_asked = stop
        self._draw = draw
        self._policy = for_delivery(config.delivery)
        self._courier = Courier(config, destination, ledger, draw)
        self._source = Source(config, destination, ledger)
        self._prover = Prover(config, destination, ledger, stop.is_set)
        self._losses = Losses(destination.name, ledger)
        self._failures = 0
        """Attempts in a row that found nobody who answers."""
        self._asked_at = -_ASK_EVERY_S
        self._answer: dimse.Acceptance | None = None

    def run(self) -> None:
        pause_s = 0.0
        while not self._stop_asked.wait(pause_s):
            try:
                pause_s = self._round()
            except LedgerFailed as error:
                log.warning("ledger_busy", error=str(error))
                pause_s = _ROUND_S
            except Exception as error:  # noqa: BLE001 - a lane that ends would deliver nothing more
                name, trace = self._destination.name, trace_of(error)
                log.error("lane_failed", destination=name, error=place_of(error), trace=trace)
                pause_s = _LONGEST_PAUSE_S

    def _round(self) -> float:
        """Send what is due; how long to wait before the next look.

        A paused destination is left alone: it is not even asked.
        """
        if self._is_paused():
            return _ROUND_S
        due = reports_first(self._ledger.queries.due_deliveries(self._destination.name))
        if self._answer is None:
            self._ask()
        is_busy = False
        troubled: set[Run] = set()
        for delivery in due:
            if self._stop_asked.is_set() or self._is_paused():
                break
            if delivery.run in troubled:
                continue  # the objects of a study keep their order
            outcome = self._courier.deliver(delivery)
            if outcome is None:
                continue  # its report is awaited, maybe for days
            is_busy = True
            if outcome.state is not DeliveryState.PENDING:
                self._failures = 0
                continue
            troubled.add(delivery.run)
            if not outcome.is_answered:  # the others would fare no better
                pause_s = back_off_s(self._policy, failures=self._failures, draw=self._draw())
                self._failures += 1
                return min(pause_s, _LONGEST_PAUSE_S)
        if not is_busy:
            self._ask_a_little()
        return _ROUND_S

    def _ask_a_little(self) -> None:
        """What is done while nothing can be sent; each step is short, so that what is due soon does
        not wait for long."""
        if self._stop_asked.is_set() or self._is_paused():
            return
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._ask()
        self._prover.round()
        self._source.round()
        self._losses.round()

    def _is_paused(self) -> bool:
        return self._ledger.switches.is_paused(self._destination.name)

    def _ask(self) -> None:
        """Learn what the destination accepts; a change is logged."""
        name = self._destination.name
        answer = dimse.ask(self._destination, self._config.node.ae_title)
        self._asked_at = time.monotonic()
        self._ledger.deliveries.note_destination(
            name, answer.reachable, answer.accepted, answer.reason
        )
        if answer == self._answer:
            return
        self._answer = answer
        if answer.reason:
            log.warning("destination_problem", destination=name, reason=answer.reason)
        else:
            log.info("destination_ready", destination=name)
