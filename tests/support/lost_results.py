"""Studies in a ledger whose results a PACS has taken, and what it says of them afterwards."""

from __future__ import annotations

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState

STUDY = "1.2"
_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


def arrive(ledger: Ledger, number: int, study: str = STUDY) -> int:
    """One more instance comes; the revision that it belongs to."""
    uid = f"{study}.9.{number}"
    ledger.arrivals.record(
        ReceivedInstance(uid, "1", study, f"{study}.8", "1", 1, f"{uid}.dcm", "A", "p")
    )
    last = ledger.queries.revision(study)
    assert last is not None
    return last.revision


def analyze(ledger: Ledger, revision: int, study: str = STUDY) -> Run:
    """Close what has come, of which there are as many as revisions, and begin its analysis."""
    if (last := ledger.queries.revision(study)) and last.closed_at is None:
        assert ledger.studies.close(Run(study, revision, 0), Evidence(revision))
    last = ledger.queries.revision(study)
    assert last is not None
    assert ledger.studies.start_analysis(last.run, "engine", "digest")
    return last.run


def build(
    ledger: Ledger, run: Run, *objects: str, to: tuple[str, ...] = ("pacs",), **start: str
) -> None:
    made = [Result(o, _CLASS, "report", f"slide {o}", f"{o}.dcm", "x") for o in objects]
    assert ledger.deliveries.start(run, made, to, **start)


def deliver(ledger: Ledger, run: Run, *objects: str) -> None:
    """The PACS takes them, and the study ends if they were the last."""
    for one in objects:
        ledger.deliveries.record(one, "pacs", DeliveryState.DELIVERED, status="0000", error=None)
    ledger.deliveries.finish(run)


def delivered(ledger: Ledger, *objects: str, study: str = STUDY, **start: str) -> Run:
    """A study whose first revision has these objects, and the PACS has taken them."""
    arrive(ledger, 1, study)
    run = analyze(ledger, 1, study)
    build(ledger, run, *objects, **start)
    deliver(ledger, run, *objects)
    return run


def asked(ledger: Ledger) -> str:
    """The PACS is asked to commit to all it has; the Transaction UID."""
    due = ledger.commitments.due("pacs", most=99, needs_commitment=False)
    request = ledger.commitments.open("pacs", due)
    assert request is not None
    ledger.commitments.sent(request.transaction_uid)
    return request.transaction_uid


def report(ledger: Ledger, transaction: str, **failed: str) -> None:
    """What the PACS says: `a="0112"` of the object `a`."""
    ledger.commitments.report(transaction, ["pacs"], [], failed)


def of(ledger: Ledger, one: str, revision: int = 1, study: str = STUDY) -> Delivery:
    """Where an object stands."""
    (found,) = [d for d in ledger.queries.deliveries(study, revision) if d.sop_instance_uid == one]
    return found


def due(ledger: Ledger) -> list[tuple[str, int]]:
    """What is to be sent now, with the revision it is sent for."""
    found = ledger.queries.due_deliveries("pacs")
    return [(d.sop_instance_uid, d.run.revision) for d in found]


def stand(ledger: Ledger, study: str = STUDY) -> list[str]:
    """Where each revision stands."""
    return [str(r.state) for r in ledger.queries.of_study(study)]
