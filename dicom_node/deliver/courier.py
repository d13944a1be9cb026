"""One object to one destination: whether its turn is come, the sending, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import structlog

from dicom_node.config.peers import Destination
from dicom_node.config.whole import Config
from dicom_node.deliver import dimse, order
from dicom_node.deliver.duplicate.verifying import UNKNOWN, Verdict, verify
from dicom_node.deliver.finishing import finish
from dicom_node.deliver.forms.chains import chain
from dicom_node.deliver.retry import Again, GiveUp, decide, for_delivery
from dicom_node.ledger.ledger import EgressLedger
from dicom_node.ledger.rows import DueDelivery
from dicom_node.ledger.states import DeliveryState, Proof
from dicom_node.observe.log import os_reason, place_of
from dicom_node.results.kinds import kind_of

log = structlog.get_logger()

_RETRY = "if it takes what stands for that, `dicom-node retry` sends it"


class Courier:
    """Called by the lane of the destination, one call at a time."""

    def __init__(
        self,
        config: Config,
        destination: Destination,
        ledger: EgressLedger,
        draw: Callable[[], float],
    ) -> None:
        """`draw` gives the random numbers, from 0 to 1, that spread the retries."""
        self._config = config
        self._destination = destination
        self._ledger = ledger
        self._draw = draw
        self._policy = for_delivery(config.delivery)

    def deliver(self, delivery: DueDelivery) -> dimse.Outcome | None:
        """Send one object and store what became of it; None where it has to wait for its report."""
        standing = self._ledger.queries.standing_at(delivery.run, self._destination.name)
        match order.turn_of(delivery, standing):
            case order.Wait():
                return None
            case order.Never(why):
                outcome, proof = dimse.Outcome(DeliveryState.REFUSED, None, why), None
            case order.Send():
                outcome, proof = self._verified(delivery, self._send(delivery))
        self._record(delivery, outcome, proof)
        finish(self._ledger, delivery.run)
        return outcome

    def _record(self, delivery: DueDelivery, outcome: dimse.Outcome, proof: Proof | None) -> None:
        """Store what became of an attempt, and when the next one is due."""
        state, error, next_attempt_at = outcome.state, outcome.error, None
        if state is DeliveryState.PENDING:
            now = self._ledger.database.now()
            going_since = self._ledger.switches.going_since(self._destination.name)
            age_s = now - max(delivery.due_since, going_since)
            match decide(self._policy, failures=delivery.attempts, age_s=age_s, draw=self._draw()):
                case Again(wait_s):
                    next_attempt_at = now + wait_s
                case GiveUp(why):
                    state, error = DeliveryState.REFUSED, f"{why}: {error}"
        self._ledger.deliveries.record(
            delivery.sop_instance_uid,
            self._destination.name,
            state,
            status=outcome.status,
            error=error,
            next_attempt_at=next_attempt_at,
            proof=proof,
        )
        is_delivered = state is DeliveryState.DELIVERED
        say = log.info if is_delivered else log.warning
        say(
            "result_sent" if is_delivered else "result_not_delivered",
            study=delivery.run.study,
            destination=self._destination.name,
            sop_instance_uid=delivery.sop_instance_uid,
            status=outcome.status,
            error=error,
        )

    def _verified(
        self, delivery: DueDelivery, outcome: dimse.Outcome
    ) -> tuple[dimse.Outcome, Proof | None]:
        """0111, "it is here already", is not believed where the destination can be asked."""
        if outcome.status != dimse.ALREADY_THERE or outcome.state is not DeliveryState.DELIVERED:
            return outcome, None
        name, status = self._destination.name, outcome.status
        verdict = self._asked(delivery)
        if verdict.is_there is False:
            why = f"{name} says that it has the object and does not find it"
            return dimse.Outcome(DeliveryState.PENDING, status, why), None
        if verdict.other:
            return dimse.Outcome(
                DeliveryState.REFUSED, status, self._alarm(delivery, verdict)
            ), None
        if verdict.is_same:
            told = "the destination already held it, and its content was compared"
        elif verdict.is_there:
            told = "the destination already held it; that its content is ours is believed"
        else:
            told = "the destination already held it, which is believed: it answers no query"
        proof = Proof.FOUND if verdict.is_there else None
        return dimse.Outcome(DeliveryState.DELIVERED, status, told), proof

    def _advised(self, delivery: DueDelivery, outcome: dimse.Outcome) -> dimse.Outcome:
        """With what to do where the choice was made before the destination had answered."""
        is_not_taken = outcome.state is DeliveryState.REFUSED and outcome.status is None
        kind = kind_of(delivery.kind)
        if not is_not_taken or kind is None or len(chain(kind.name)) < 2:
            return outcome
        return replace(outcome, error=f"{outcome.error}; {_RETRY}")

    def _asked(self, delivery: DueDelivery) -> Verdict:
        path = self._config.node.data_dir / delivery.path
        try:
            return verify(path, self._destination, self._config.node.ae_title)
        except OSError as error:  # of the file
            log.warning("result_unreadable", error=place_of(error))
            return UNKNOWN
        except Exception as error:  # noqa: BLE001 - one object must not hold back all others
            log.warning("duplicate_not_asked", destination=self._destination.name,
                        reason=place_of(error))  # fmt: skip
            return UNKNOWN

    def _alarm(self, delivery: DueDelivery, verdict: Verdict) -> str:
        """Told to everybody: a UID of ours stands for something that we did not make."""
        name, uid = self._destination.name, delivery.sop_instance_uid
        log.error(
            "other_content",
            study=delivery.run.study,
            destination=name,
            sop_instance_uid=uid,
            reason=verdict.other,
        )
        self._ledger.events.record(
            "other_content",
            study_instance_uid=delivery.run.study,
            destination=name,
            sop_instance_uid=uid,
            reason=verdict.other,
        )
        return (
            f"{name} holds other content under the SOP Instance UID {uid} ({verdict.other}): find "
            "out who stored it and have it removed there; then `dicom-node retry` sends ours"
        )

    def _send(self, delivery: DueDelivery) -> dimse.Outcome:
        path = self._config.node.data_dir / delivery.path
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != delivery.sha256:
                reason = "the result file was damaged on the disk; `dicom-node retry` makes it anew"
                return dimse.Outcome(DeliveryState.REFUSED, None, reason)
            outcome = dimse.send(path, self._destination, self._config.node.ae_title)
            return self._advised(delivery, outcome)
        except OSError as error:  # of the file: the network's are an outcome already
            reason = f"the result file cannot be read: {os_reason(error)}"
        except Exception as error:  # noqa: BLE001 - one object must not hold back all others
            reason = f"the result cannot be sent: {place_of(error)}"
        return dimse.Outcome(DeliveryState.PENDING, None, reason)
