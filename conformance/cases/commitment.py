"""Storage commitment, both ways, where it is negotiated (PS3.4 J)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pynetdicom import evt

from conformance.case import Case, Need
from conformance.pacs import COMMITMENT, ResultsPacs
from conformance.peers import associations
from conformance.peers.exchange import exchange, pacs_of, send
from conformance.session import Session
from conformance.slides.objects import WSM, new_uid
from conformance.slides.tiny import tiny
from conformance.verdicts import Skipped, expect, expect_equal

_NEEDS = frozenset({Need.STORE, Need.RESULTS})
_INSTANCE = "1.2.840.10008.1.20.1.1"
_ALL_COMMITTED, _SOME_FAILED = 1, 2
_NO_SUCH_INSTANCE, _CLASS_CONFLICT = 0x0112, 0x0119
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


@contextmanager
def _asking(session: Session, pacs: ResultsPacs) -> Iterator[Any]:
    """An association for N-ACTION. Raises Skipped where the node refuses the class."""

    def report(event: Any) -> tuple[int, None]:
        with pacs.changed:
            pacs.reports.append((int(event.event_type), event.event_information))
            pacs.changed.notify_all()
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    made = associations.ask(session, [(COMMITMENT, _NATIVE)], handlers=handlers)
    if not made.is_established:
        raise Skipped(f"storage commitment is not negotiated: {associations.why_not(made)}")
    try:
        yield made
    finally:
        made.release()


def _request(references: Sequence[tuple[str, str]]) -> Dataset:
    information = Dataset()
    information.TransactionUID = new_uid()
    items = []
    for class_uid, instance_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, instance_uid
        items.append(item)
    information.ReferencedSOPSequence = DicomSequence(items)
    return information


def _report_on(session: Session, references: Sequence[tuple[str, str]]) -> tuple[int, Dataset]:
    """Ask for commitment; event type and information of the report that comes."""
    pacs = pacs_of(session)
    information = _request(references)

    def mine() -> list[tuple[int, Dataset]]:
        uid = information.TransactionUID
        return [r for r in pacs.reports if r[1].get("TransactionUID") == uid]

    with _asking(session, pacs) as association:
        answer, _ = association.send_n_action(information, 1, COMMITMENT, _INSTANCE)
        expect_equal(answer.get("Status"), 0, "status of N-ACTION")
    expect(pacs.wait(mine, session.results_s), found="no report", expected="N-EVENT-REPORT")
    return mine()[0]


def _stored(session: Session, count: int) -> list[tuple[str, str]]:
    datasets = [tiny(session) for _ in range(count)]
    send(session, datasets)
    return [(WSM, str(d.SOPInstanceUID)) for d in datasets]


def _committed(session: Session, count: int) -> None:
    with _asking(session, pacs_of(session)):
        pass  # first: nothing is stored for a node that does not know the service
    references = _stored(session, count)
    kind, report = _report_on(session, references)
    named = sorted(str(i.ReferencedSOPInstanceUID) for i in report.get("ReferencedSOPSequence", []))
    expect_equal(kind, _ALL_COMMITTED, "event type")
    expect(named == sorted(u for _, u in references), found=f"{len(named)} named", expected=count)


def _failure(session: Session, references: Sequence[tuple[str, str]], reason: int) -> None:
    kind, report = _report_on(session, references)
    reasons = [int(i.FailureReason) for i in report.get("FailedSOPSequence", [])]
    expect_equal(kind, _SOME_FAILED, "event type")
    expect_equal([f"{r:04X}" for r in reasons], [f"{reason:04X}"], "failure reasons")


def _unknown(session: Session) -> None:
    _failure(session, [(WSM, new_uid())], _NO_SUCH_INSTANCE)


def _other_class(session: Session) -> None:
    with _asking(session, pacs_of(session)):
        pass
    ((_, uid),) = _stored(session, 1)
    _failure(session, [("1.2.840.10008.5.1.4.1.1.2", uid)], _CLASS_CONFLICT)


def _nothing(session: Session) -> None:
    with _asking(session, pacs_of(session)) as association:
        answer, _ = association.send_n_action(_request([]), 1, COMMITMENT, _INSTANCE)
        expect(answer.get("Status", 0), found="0000 for a request of nothing", expected="0115")


def _asks(session: Session) -> None:
    """The node asks us about the results that it sent."""
    pacs = pacs_of(session)
    sent = {str(r.dataset.SOPInstanceUID) for r in exchange(session).received}
    if not pacs.wait(lambda: pacs.requests, session.quiet_s):
        raise Skipped("the node asked for no commitment of its results")
    asked = {
        str(item.ReferencedSOPInstanceUID)
        for request in pacs.requests
        for item in request.ReferencedSOPSequence
    }
    expect(sent & asked, found="other instances", expected="its results")


CASES = (
    *(
        Case(f"commitment.of-{n}", "PS3.4 J.3.3", f"{n} stored instances are committed, all named",
             partial(_committed, count=n), _NEEDS)
        for n in (1, 20)
    ),
    Case("commitment.unknown", "PS3.4 J.3.3", "An unknown instance fails with 0112", _unknown,
         _NEEDS),
    Case("commitment.class", "PS3.4 J.3.3", "Another class of an instance fails with 0119",
         _other_class, _NEEDS),
    Case("commitment.nothing", "PS3.4 J.3.2", "A request of no instance is refused", _nothing,
         _NEEDS),
    Case("commitment.as-user", "PS3.4 J.2", "The node asks for commitment of its results", _asks,
         _NEEDS),
)  # fmt: skip
