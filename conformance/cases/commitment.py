"""Storage commitment, both ways, where it is negotiated (PS3.4 J)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pynetdicom import build_role, evt

from conformance.case import Case, Need
from conformance.pacs import COMMITMENT, ResultsPacs
from conformance.peers import associations
from conformance.peers.exchange import exchange, pacs_of, send
from conformance.session import Session
from conformance.slides.objects import WSM, new_uid
from conformance.slides.tiny import tiny
from conformance.verdicts import NotApplicable, expect, expect_equal

_NEEDS = frozenset({Need.STORE, Need.RESULTS})
_INSTANCE = "1.2.840.10008.1.20.1.1"
_ALL_COMMITTED, _SOME_FAILED = 1, 2
_NO_SUCH_INSTANCE, _CLASS_CONFLICT = 0x0112, 0x0119
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_NOT_OFFERED = (0x0118, 0x0122, 0x0124, 0x0211)
"""No such SOP Class, not supported, not authorized, unrecognized operation (PS3.7 C.5)."""


@contextmanager
def _asking(session: Session, pacs: ResultsPacs) -> Iterator[Any]:
    """An association for N-ACTION. Raises NotApplicable where the node refuses the class."""

    def report(event: Any) -> tuple[int, None]:
        with pacs.changed:
            pacs.reports.append((int(event.event_type), event.event_information))
            pacs.changed.notify_all()
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    made = associations.ask(session, [(COMMITMENT, _NATIVE)], handlers=handlers)
    if not made.is_established:
        raise NotApplicable(f"it is not negotiated: {associations.why_not(made)}")
    try:
        yield made
    finally:
        made.release()


def _ask(association: Any, information: Dataset) -> int:
    """The status of N-ACTION. Raises NotApplicable where that says that nothing is committed to."""
    answer, _ = association.send_n_action(information, 1, COMMITMENT, _INSTANCE)
    status = answer.get("Status")
    expect(status is not None, found="no answer to N-ACTION", expected="a status")
    if status in _NOT_OFFERED:
        raise NotApplicable(f"it is no SCP for us: N-ACTION is answered {status:04X}")
    return int(status)


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
        expect_equal(_ask(association, information), 0, "status of N-ACTION")
    expect(pacs.wait(mine, session.results_s), found="no report", expected="N-EVENT-REPORT")
    return mine()[0]


def _stored(session: Session, count: int) -> list[tuple[str, str]]:
    datasets = [tiny(session) for _ in range(count)]
    send(session, datasets)
    return [(WSM, str(d.SOPInstanceUID)) for d in datasets]


def _is_offered(session: Session) -> None:
    """Ask for an instance that is nowhere: nothing is stored where nothing is committed to."""

    def ask() -> None:
        with _asking(session, pacs_of(session)) as association:
            _ask(association, _request([(WSM, new_uid())]))

    session.once("commitment", ask)


def _committed(session: Session, count: int) -> None:
    _is_offered(session)
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
    _is_offered(session)
    ((_, uid),) = _stored(session, 1)
    _failure(session, [("1.2.840.10008.5.1.4.1.1.2", uid)], _CLASS_CONFLICT)


def _nothing(session: Session) -> None:
    with _asking(session, pacs_of(session)) as association:
        status = _ask(association, _request([]))
        expect(status, found="0000 for a request of nothing", expected="a failure such as 0115")


def _requests(session: Session) -> tuple[set[str], list[Dataset]]:
    """Results that came, and what the node asked about them."""
    pacs = pacs_of(session)
    sent = {str(r.dataset.SOPInstanceUID) for r in exchange(session).received}

    def ours() -> list[Dataset]:
        return [r for r in pacs.requests if sent & _named(r)]

    pacs.wait(ours, session.quiet_s)
    if not pacs.requests:
        raise NotApplicable("the node asked for no commitment of its results")
    return sent, ours()


def _named(request: Dataset) -> set[str]:
    return {str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence}


def _asks(session: Session) -> None:
    """The node asks us about the results that it sent."""
    _, asked = _requests(session)
    expect(asked, found="other instances", expected="its results")


def _reported(session: Session, information: Dataset) -> int:
    """The status that the node gives to a report, on an association that we ask for."""
    roles = [build_role(COMMITMENT, scp_role=True)]
    made = associations.ask(session, [(COMMITMENT, _NATIVE)], negotiation=roles)
    if not made.is_established:
        raise NotApplicable(f"the node takes no reports: {associations.why_not(made)}")
    try:
        if not any(c.as_scp for c in made.accepted_contexts):
            raise NotApplicable("the node takes no reports: our role as SCP is refused")
        answer, _ = made.send_n_event_report(information, _ALL_COMMITTED, COMMITMENT, _INSTANCE)
    finally:
        made.release()
    status = answer.get("Status")
    expect(status is not None, found="no answer to N-EVENT-REPORT", expected="a status")
    return int(status)


def _report_taken(session: Session, times: int) -> None:
    """What the node asked for is reported on an association of ours, once or again."""
    _, asked = _requests(session)
    for request in asked:
        for _ in range(times):
            expect_equal(f"{_reported(session, request):04X}", "0000", "status of the report")


def _report_unknown(session: Session) -> None:
    """Of a transaction that nobody began: any status is right, an end is not."""
    _reported(session, _request([(WSM, new_uid())]))


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
    Case("commitment.report", "PS3.4 J.3.3", "A report on another association is answered 0000",
         partial(_report_taken, times=1), _NEEDS),
    Case("commitment.report-again", "PS3.4 J.3.3", "A report that comes again is answered 0000",
         partial(_report_taken, times=2), _NEEDS),
    Case("commitment.report-unknown", "PS3.4 J.3.3",
         "A report of a transaction that nobody began is answered", _report_unknown, _NEEDS),
)  # fmt: skip
