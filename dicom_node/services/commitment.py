"""Storage commitment (PS3.4 Annex J): reports of those who were asked to keep our results.

A report may come on any association, late, twice, or for what nobody asked; whatever it is, it is
answered, and recorded only where a request of ours awaits it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pynetdicom import evt

from dicom_node.association.commitment import Answer, Report, take_report
from dicom_node.association.service import Service
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.errors import LedgerFailed
from dicom_node.sop_classes import STORAGE_COMMITMENT

_NOT_AUTHORIZED = 0x0124


class Reports:
    """Takes reports of storage commitment, on associations that peers ask for."""

    def __init__(self, commitments: Commitments, reporters: Mapping[str, Collection[str]]) -> None:
        """`reporters` are destinations by the AE title that reports for them."""
        self._commitments = commitments
        self._reporters = reporters

    @property
    def service(self) -> Service:
        """What the acceptor is given. We commit to nothing: what senders ask is turned down."""
        return Service(
            sop_classes=(STORAGE_COMMITMENT,),
            handlers=(
                (evt.EVT_N_EVENT_REPORT, self.on_report),
                (evt.EVT_N_ACTION, lambda _: (_NOT_AUTHORIZED, None)),
            ),
        )

    def on_report(self, event: Any) -> Answer:
        """Record a report; exceptions end here as statuses."""
        calling_ae = event.assoc.requestor.primitive.calling_ae_title.strip()
        destinations = self._reporters.get(calling_ae, ())

        def record(report: Report) -> str:
            return self._commitments.report(
                report.transaction_uid, destinations, report.committed, report.failed
            )

        return take_report(event, record, may_pass=LedgerFailed)
