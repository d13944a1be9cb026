"""What messages of storage commitment say (PS3.4 J.3, PS3.3 C.14), read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from dicom_node.observe.log import trace_of

log = structlog.get_logger()

INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of the service (PS3.4 J.3.5)."""
REQUEST = 1  # action type (PS3.4 J.3.2.1)
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types (PS3.4 J.3.3.1)
_UID = re.compile(r"[0-9.]{1,64}")
_PROCESSING_FAILURE = 0x0110
Answer = tuple[int, Dataset | None]
"""Status and data set, as the library takes them from a handler."""


class Invalid(Exception):
    """A message that is not what PS3.4 J asks for; the message says why, and quotes nothing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        """Of the answer (PS3.7 10.1.1.1.8 and 10.1.4.1.10)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an N-ACTION asks for."""

    transaction_uid: str
    references: tuple[tuple[str, str], ...]
    """SOP class and SOP Instance UIDs, each pair once."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an N-EVENT-REPORT says."""

    transaction_uid: str
    committed: frozenset[str]
    failed: dict[str, str]
    """Failure reasons, four hexadecimal digits, by SOP Instance UID."""


def written_request(transaction_uid: str, items: Iterable[tuple[str, str]]) -> Dataset:
    """Action information for SOP class and SOP Instance UIDs."""
    ds = Dataset()
    ds.TransactionUID = UID(transaction_uid)
    ds.ReferencedSOPSequence = _references(items)
    return ds


def written_report(
    transaction_uid: str,
    committed: Iterable[tuple[str, str]],
    failed: Mapping[tuple[str, str], int],
) -> Dataset:
    """Event information: what is committed to, and what is not for which reason."""
    ds = Dataset()
    ds.TransactionUID = UID(transaction_uid)
    if kept := _references(committed):
        ds.ReferencedSOPSequence = kept
    if failed:
        ds.FailedSOPSequence = _references(failed)
        for item, reason in zip(ds.FailedSOPSequence, failed.values(), strict=True):
            item.FailureReason = reason
    return ds


def read_request(event: Any) -> Request:
    """What a peer asks for. Raises Invalid."""
    if str(event.request.RequestedSOPInstanceUID) != INSTANCE:
        raise Invalid(0x0112, "not the well-known instance")
    if event.request.ActionTypeID != REQUEST:
        raise Invalid(0x0123, "no such action type")
    ds = _decoded(event, "action_information")
    # The same instance as of two classes stays two references: each of them is reported on.
    pairs = dict.fromkeys(_pairs(ds, "ReferencedSOPSequence"))
    if not pairs:
        raise Invalid(0x0115, "no instance is referenced")
    return Request(_transaction(ds), tuple((sop_class, uid) for uid, sop_class in pairs))


def read_report(event: Any) -> Report:
    """What a peer reports. Raises Invalid."""
    if event.request.EventTypeID not in (ALL_COMMITTED, SOME_FAILED):
        raise Invalid(0x0113, "no such event type")
    ds = _decoded(event, "event_information")
    failed = {}
    for item in _items(ds, "FailedSOPSequence"):
        reason = getattr(item, "FailureReason", None)
        uid = _uid(item, "ReferencedSOPInstanceUID")
        failed[uid] = f"{reason:04X}" if isinstance(reason, int) else "0110"
    committed = {uid for uid, _ in _pairs(ds, "ReferencedSOPSequence")}
    return Report(_transaction(ds), frozenset(committed - failed.keys()), failed)


def take_request(event: Any, record: Callable[[Request], int]) -> Answer:
    """Hand a request over and answer it with the status of `record`: exceptions end here."""
    try:
        return record(read_request(event)), None
    except Invalid as error:
        log.warning("commitment_request_invalid", reason=str(error))
        return error.status, None
    except Exception as error:  # noqa: BLE001 - the peer gets an answer whatever went wrong
        log.error("commitment_request_failed", trace=trace_of(error))
        return _PROCESSING_FAILURE, None


def take_report(
    event: Any, record: Callable[[Report], str], *, may_pass: type[Exception]
) -> Answer:
    """Hand a report over and answer it: exceptions end here as statuses (PS3.7 10.1.1.1.8)."""
    try:
        report = read_report(event)
        receipt = record(report)
    except Invalid as error:
        log.warning("commitment_report_invalid", reason=str(error))
        return error.status, None
    except may_pass:
        log.warning("commitment_report_not_kept", reason="the ledger cannot be written now")
        return _PROCESSING_FAILURE, None
    except Exception as error:  # noqa: BLE001 - the peer gets an answer whatever went wrong
        log.error("commitment_report_failed", trace=trace_of(error))
        return _PROCESSING_FAILURE, None
    log.info(
        "commitment_reported",
        receipt=receipt,
        transaction_uid=report.transaction_uid,
        committed=len(report.committed),
        failed=len(report.failed),
    )
    return 0x0000, None


def _decoded(event: Any, name: str) -> Dataset:
    try:
        ds = getattr(event, name)
        # Nothing in it is needed that cannot be read: whatever is odd shows here, not later.
        for element in ds:
            if element.VR == "SQ":
                for item in element.value:
                    list(item)
    except Exception as error:  # whatever a peer's bytes break in the library
        raise Invalid(0x0115, "the data set cannot be read") from error
    if not isinstance(ds, Dataset):
        raise Invalid(0x0115, "no data set")
    return ds


def _transaction(ds: Dataset) -> str:
    return _uid(ds, "TransactionUID")


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    return list(ds.get(keyword) or [])


def _pairs(ds: Dataset, keyword: str) -> list[tuple[str, str]]:
    """SOP Instance and class UIDs of a sequence."""
    return [
        (_uid(item, "ReferencedSOPInstanceUID"), _uid(item, "ReferencedSOPClassUID"))
        for item in _items(ds, keyword)
    ]


def _uid(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    if not isinstance(value, str) or not _UID.fullmatch(value):
        raise Invalid(0x0115, f"{keyword} is missing, or no UID")
    return str(value)


def _references(items: Iterable[tuple[str, str]]) -> Items:
    references = []
    for sop_class, instance in items:
        item = Dataset()
        item.ReferencedSOPClassUID = UID(sop_class)
        item.ReferencedSOPInstanceUID = UID(instance)
        references.append(item)
    return Items(references)
