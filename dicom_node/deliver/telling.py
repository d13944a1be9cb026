"""A report of storage commitment on its way to the sender that asked (PS3.4 J.3.3)."""

from __future__ import annotations

from pynetdicom.association import Association

from dicom_node.association.commitment import (
    ALL_COMMITTED,
    INSTANCE,
    SOME_FAILED,
    written_report,
)
from dicom_node.association.requestor import request
from dicom_node.config.peers import Requestor
from dicom_node.ledger.answers.proofs import COMMITTED
from dicom_node.ledger.keeping.inquiries import Inquiry
from dicom_node.sop_classes import STORAGE_COMMITMENT


def may_report(association: Association) -> bool:
    """Whether the peer takes reports of storage commitment from us on an association."""
    return bool(association.is_established) and any(
        context.abstract_syntax == STORAGE_COMMITMENT.uid and context.as_scp
        for context in association.accepted_contexts
    )


def call(to: Requestor, own_ae_title: str) -> Association:
    """An association for reports; look with `may_report` whether it serves. Raises
    NETWORK_FAULTS."""
    return request(
        host=to.host,
        port=to.port,
        called_ae=to.called_ae_title or to.ae_title,
        calling_ae=own_ae_title,
        sop_classes=[STORAGE_COMMITMENT],
        tls=to.tls,
        as_scp=True,
    )


def report(association: Association, inquiry: Inquiry) -> int | None:
    """Status of the answer to a report on a request; None without one. Raises NETWORK_FAULTS."""
    kept = [pair for pair, outcome in inquiry.outcomes.items() if outcome == COMMITTED]
    failed = {
        pair: int(outcome or "0110", 16)
        for pair, outcome in inquiry.outcomes.items()
        if outcome != COMMITTED
    }
    status, _ = association.send_n_event_report(
        written_report(inquiry.transaction_uid, kept, failed),
        SOME_FAILED if failed else ALL_COMMITTED,
        STORAGE_COMMITMENT.uid,
        INSTANCE,
    )
    code: int | None = status.get("Status")
    return code
