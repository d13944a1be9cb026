"""Answers to C-STORE (PS3.4 Table B.2-1, PS3.7 Annex C) and what each refusal is answered with."""

from __future__ import annotations

from enum import IntEnum

from dicom_node.ledger.errors import Conflict, LedgerFailed
from dicom_node.spool.incoming import SpoolFailed, SpoolFull
from dicom_node.spool.refusals import Refused, Why
from dicom_node.spool.spool import SpoolUnusable


class StoreStatus(IntEnum):
    """Status of a C-STORE-RSP."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    DUPLICATE = 0x0111
    """Duplicate SOP Instance: same UID, other content."""
    CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    """Refused: the sender may try again later."""
    MISMATCH = 0xA900
    """Dataset does not match SOP class (or instance) of the command."""
    # Cannot understand, Cxxx: the low digits are ours
    UNPARSABLE = 0xC001
    NO_SOP_UID = 0xC002
    NO_STUDY_UID = 0xC003
    NO_SERIES_UID = 0xC004
    ILLEGAL_UID = 0xC005
    HEADER_TOO_LARGE = 0xC006
    OWN_RESULT = 0xC007


STATUS_OF = {
    Why.UNPARSABLE: StoreStatus.UNPARSABLE,
    Why.NO_SOP_UID: StoreStatus.NO_SOP_UID,
    Why.NO_STUDY_UID: StoreStatus.NO_STUDY_UID,
    Why.NO_SERIES_UID: StoreStatus.NO_SERIES_UID,
    Why.ILLEGAL_UID: StoreStatus.ILLEGAL_UID,
    Why.HEADER_TOO_LARGE: StoreStatus.HEADER_TOO_LARGE,
    Why.OWN_RESULT: StoreStatus.OWN_RESULT,
    Why.PAUSED: StoreStatus.OUT_OF_RESOURCES,
    Why.OTHER_CLASS: StoreStatus.CLASS_NOT_SUPPORTED,
    Why.OTHER_INSTANCE: StoreStatus.MISMATCH,
}
"""Every refusal has its answer; a test holds the table complete."""

NotStored = Refused | SpoolFull | SpoolFailed | SpoolUnusable | LedgerFailed | Conflict
"""What keeping an instance raises."""
NOT_STORED = (Refused, SpoolFull, SpoolFailed, SpoolUnusable, LedgerFailed, Conflict)


def answer_to(error: NotStored) -> tuple[StoreStatus, str]:
    """Status and comment for the peer (at most 64 characters, nothing of the dataset)."""
    if isinstance(error, Refused):
        return STATUS_OF[error.why], error.comment
    if isinstance(error, LedgerFailed):
        return StoreStatus.OUT_OF_RESOURCES, "ledger not writable: send again later"
    if isinstance(error, Conflict):
        return StoreStatus.DUPLICATE, "this SOP Instance UID has other content here"
    return StoreStatus.OUT_OF_RESOURCES, "no room or no working storage: later"
