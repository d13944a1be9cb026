"""Storage commitment (PS3.4 Annex J): reports on our results, and requests of senders.

A report may come on any association, late, twice, or for what nobody asked; whatever it is, it is
answered, and recorded only where a request of ours awaits it. A request is answered 0000 when it is
durable, and decided on elsewhere; without promises every one is turned down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import structlog
from pynetdicom import evt

from dicom_node.association.commitment import (
    Answer,
    Report,
    Request,
    take_report,
    take_request,
)
from dicom_node.association.service import Service
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.ledger.keeping.promises import Promises, Receipt
from dicom_node.sop_classes import STORAGE_COMMITMENT

log = structlog.get_logger()

_SUCCESS, _PROCESSING_FAILURE = 0x0000, 0x0110
_NOT_AUTHORIZED, _RESOURCE_LIMITATION = 0x0124, 0x0213  # PS3.7 10.1.4.1.10


class Commitment:
    """Takes reports and requests of storage commitment, on associations that peers ask for."""

    def __init__(
        self,
        commitments: Commitments,
        promises: Promises,
        reporters: Mapping[str, Collection[str]],
        requestors: Collection[str] | None = None,
    ) -> None:
        """`reporters` are destinations by the AE title that reports for them; `requestors` AE
        titles that may ask, because it is known where they take reports: None for nobody at all."""
        self._commitments = commitments
        self._promises = promises
        self._reporters = reporters
        self._requestors = requestors

    @property
    def service(self) -> Service:
        """What the acceptor is given."""
        return Service(
            sop_classes=(STORAGE_COMMITMENT,),
            handlers=(
                (evt.EVT_N_EVENT_REPORT, self.on_report),
                (evt.EVT_N_ACTION, self.on_request),
            ),
        )

    def on_report(self, event: Any) -> Answer:
        """Record a report; exceptions end here as statuses."""
        destinations = self._reporters.get(_calling_ae(event), ())

        def record(report: Report) -> str:
            return self._commitments.report(
                report.transaction_uid, destinations, report.committed, report.failed
            )

        return take_report(event, record, may_pass=LedgerFailed)

    def on_request(self, event: Any) -> Answer:
        """Keep a request; exceptions end here as statuses."""
        if self._requestors is None:
            return _NOT_AUTHORIZED, None
        peer = _calling_ae(event)
        if peer not in self._requestors:
            log.warning(
                "commitment_turned_down",
                calling_ae=peer,
                reason="nobody knows where it takes reports",
                to_allow_it_add="[[commitment.requestors]] with ae_title, host and port",
            )
            return _NOT_AUTHORIZED, None
        return take_request(event, lambda request: self._keep(peer, request))

    def _keep(self, peer: str, request: Request) -> int:
        try:
            receipt = self._promises.ask(peer, request.transaction_uid, request.references)
        except LedgerFailed:
            log.warning("commitment_request_not_kept", reason="the ledger cannot be written now")
            return _PROCESSING_FAILURE
        log.info(
            "commitment_requested",
            calling_ae=peer,
            receipt=receipt,
            transaction_uid=request.transaction_uid,
            objects=len(request.references),
        )
        return _RESOURCE_LIMITATION if receipt is Receipt.TOO_MANY else _SUCCESS


def _calling_ae(event: Any) -> str:
    title: str = event.assoc.requestor.primitive.calling_ae_title
    return title.strip()
