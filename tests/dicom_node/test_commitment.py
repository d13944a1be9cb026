"""Proof that a destination keeps what it took: storage commitment as SCU (PS3.4 Annex J)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from keeping_pacs import KeepingPacs, keeping_pacs
from nodes import wait_for
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_node.config.peers import Sender
from dicom_node.config.whole import Config
from dicom_node.deliver.finishing import tend
from dicom_node.deliver.lanes import Lanes
from dicom_node.deliver.proof import Prover
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, ReceivedInstance, Result, Run, Unproven
from dicom_node.ledger.states import DeliveryState, Proof, State
from dicom_node.processes.ingest import Ingest
from dicom_node.sop_classes import COMPREHENSIVE_3D_SR
from dicom_node.spool.spool import Spool

STUDY = "1.2"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "node.sqlite")


@pytest.fixture
def listener(ledger: Ledger, tmp_path: Path) -> Iterator[Ingest]:
    """A listener that hears reports of PACS, and lets another AE in."""
    ingest = Ingest(
        ae_title="DICOMNODE",
        bind="127.0.0.1",
        port=0,
        senders=[_sender("PACS"), _sender("OTHER")],
        spool=Spool(tmp_path / "spool", 0),
        ledger=ledger,
        maximum_associations=8,
        reporters={"PACS": ["pacs"]},
    )
    ingest.start()
    yield ingest
    ingest.drain(1)


def _sender(title: str) -> Sender:
    return Sender.model_validate({"ae_title": title, "networks": ["127.0.0.0/8"]})


def make_results(ledger: Ledger, folder: Path, objects: int, *, study: str = STUDY) -> list[str]:
    """A study with so many results that are to be delivered; their UIDs."""
    ledger.arrivals.record(
        ReceivedInstance(f"{study}.9", "1", study, f"{study}.8", "1", 1, f"{study}.dcm", "A", "p")
    )
    ledger.studies.close(Run(study, 1, 0), Evidence(1))
    run = Run(study, 1, 1)
    ledger.studies.start_analysis(run, "engine", "digest")
    made = []
    for _ in range(objects):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = COMPREHENSIVE_3D_SR.uid, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.7"
        path = folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        uid = str(ds.SOPInstanceUID)
        made.append(Result(uid, COMPREHENSIVE_3D_SR.uid, "report", "s", path.name, digest))
    assert ledger.deliveries.start(run, made, ["pacs"])
    return [m.sop_instance_uid for m in made]


def config_of(folder: Path, pacs: KeepingPacs, **destination: Any) -> Config:
    values = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    return Config.model_validate(
        {
            "node": {"ae_title": "DICOMNODE", "data_dir": folder},
            "destinations": [{**values, **destination}],
            "delivery": {"first_retry_s": 0.2, "longest_retry_s": 0.5},
        }
    )


@contextmanager
def lanes(ledger: Ledger, folder: Path, pacs: KeepingPacs, **destination: Any) -> Iterator[None]:
    stop = threading.Event()
    config = config_of(folder, pacs, **destination)
    running = Lanes(config, ledger, stop, draw=lambda: 0.5)
    running.start()
    try:
        yield
    finally:
        stop.set()
        assert running.join(60)  # an exchange under way is not broken off


def rows(ledger: Ledger, study: str = STUDY) -> list[Delivery]:
    return ledger.queries.deliveries(study, 1)


def proofs(ledger: Ledger) -> set[Proof | None]:
    return {d.proof for d in rows(ledger)}


def told(ledger: Ledger) -> list[str]:
    return [e.kind for e in ledger.queries.events()]


def state(ledger: Ledger) -> State:
    """Where the study stands, after a round of the egress process."""
    for one in ledger.queries.in_state(State.DELIVERING):
        tend(ledger, one, {"pacs"})
    revision = ledger.queries.revision(STUDY)
    assert revision is not None
    return revision.state


@pytest.mark.parametrize("reports", ["new", "same"])
def test_a_report_is_proof_on_whatever_association_it_comes(reports, ledger, listener, tmp_path):
    uids = make_results(ledger, tmp_path, 3)
    times = 2 if reports == "new" else 1  # the same association is over after the first
    with keeping_pacs(listener.port, reports=reports, times=times) as pacs:
        with lanes(ledger, tmp_path, pacs):
            wait_for(lambda: proofs(ledger) == {Proof.COMMITTED}, within_s=20, what="proof")
            wait_for(lambda: len(pacs.answered) == times, within_s=60, what="answers")
        assert len(pacs.asked) == 1, "one request for all objects of a round"
        assert sorted(pacs.asked[0][1]) == sorted(uids)
        assert pacs.answered == [0x0000] * times, "the second report is answered, too"
    assert state(ledger) is State.DONE
    (event,) = [e for e in ledger.queries.events() if e.kind == "commitment_reported"]
    assert event.fields["committed"] == 3


def test_what_the_pacs_does_not_have_is_sent_again_once_and_asked_for_again(
    ledger, listener, tmp_path
):
    lost, kept = make_results(ledger, tmp_path, 2)
    with keeping_pacs(listener.port, loses={lost}) as pacs:
        with lanes(ledger, tmp_path, pacs):
            wait_for(lambda: proofs(ledger) == {Proof.COMMITTED}, within_s=30, what="proof")
        assert pacs.stored.count(lost) == 2
        assert pacs.stored.count(kept) == 1
        transactions = [uid for uid, _ in pacs.asked]
        assert len(set(transactions)) == len(transactions) == 2
    wait_for(lambda: state(ledger) is State.DONE, what="done")


def test_what_the_pacs_loses_twice_parks_the_study(ledger, listener, tmp_path):
    (lost,) = make_results(ledger, tmp_path, 1)
    with keeping_pacs(listener.port, failing={lost: 0x0112}) as pacs, lanes(ledger, tmp_path, pacs):
        wait_for(lambda: state(ledger) is State.PARKED, within_s=30, what="parked")
        assert pacs.stored == [lost, lost]
    assert "took the object twice" in ledger.queries.revision(STUDY).reason


@pytest.mark.parametrize("reason", [0x0119, 0x0122])
def test_what_the_pacs_will_never_commit_to_parks_the_study_and_is_not_sent_again(
    reason, ledger, listener, tmp_path
):
    (uid,) = make_results(ledger, tmp_path, 1)
    with keeping_pacs(listener.port, failing={uid: reason}) as pacs, lanes(ledger, tmp_path, pacs):
        wait_for(lambda: state(ledger) is State.PARKED, within_s=30, what="parked")
        assert pacs.stored == [uid]
    assert rows(ledger)[0].status == f"{reason:04X}"


@pytest.mark.parametrize("reason", [0x0110, 0x0213, 0x0131])
def test_a_reason_that_may_pass_is_asked_for_again_later(reason, ledger, listener, tmp_path):
    (uid,) = make_results(ledger, tmp_path, 1)
    with keeping_pacs(listener.port, failing={uid: reason}) as pacs, lanes(ledger, tmp_path, pacs):
        wait_for(lambda: pacs.answered, within_s=30, what="a report")
        wait_for(lambda: proofs(ledger) == {None}, what="not proven")
        assert pacs.stored == [uid]
        assert ledger.commitments.due("pacs", most=9, needs_commitment=False) == []
    assert state(ledger) is State.DONE


def test_without_a_report_a_query_decides(ledger, listener, tmp_path):
    lost, kept = make_results(ledger, tmp_path, 2)
    with keeping_pacs(listener.port, reports="never", loses={lost}) as pacs:
        with lanes(ledger, tmp_path, pacs, commitment_wait_s=0.5):
            wait_for(lambda: proofs(ledger) == {Proof.FOUND}, within_s=40, what="found")
        assert pacs.stored.count(lost) == 2
        assert pacs.stored.count(kept) == 1


def test_a_pacs_that_does_not_commit_is_queried(ledger, listener, tmp_path):
    make_results(ledger, tmp_path, 2)
    with (
        keeping_pacs(listener.port, commits=False) as pacs,
        lanes(ledger, tmp_path, pacs),
    ):
        wait_for(lambda: proofs(ledger) == {Proof.FOUND}, within_s=20, what="found")


def test_a_pacs_that_turns_the_request_down_is_queried(ledger, listener, tmp_path):
    make_results(ledger, tmp_path, 1)
    with keeping_pacs(listener.port, answers=0x0124) as pacs, lanes(ledger, tmp_path, pacs):
        wait_for(lambda: "commitment_closed" in told(ledger), within_s=20, what="its answer")
        with ledger.database.write() as db:
            db.exec_driver_sql("UPDATE deliveries SET ask_at = NULL")
        wait_for(lambda: proofs(ledger) == {Proof.FOUND}, within_s=20, what="found")
        assert len(pacs.asked) == 1


def test_0111_is_not_believed_where_the_pacs_does_not_find_the_object(ledger, listener, tmp_path):
    (uid,) = make_results(ledger, tmp_path, 1)
    with keeping_pacs(listener.port, stores_as=0x0111) as pacs, lanes(ledger, tmp_path, pacs):
        wait_for(lambda: pacs.stored.count(uid) > 1, within_s=20, what="sent again")
        assert rows(ledger)[0].state is DeliveryState.PENDING
        assert "does not find it" in rows(ledger)[0].error
        pacs.held[uid] = Dataset()
        pacs.held[uid].StudyInstanceUID = STUDY
        wait_for(lambda: rows(ledger)[0].proof, within_s=20, what="verified")


def test_never_asks_for_nothing(ledger, listener, tmp_path):
    make_results(ledger, tmp_path, 1)
    with (
        keeping_pacs(listener.port) as pacs,
        lanes(ledger, tmp_path, pacs, commitment="never"),
    ):
        wait_for(lambda: state(ledger) is State.DONE, within_s=20, what="done")
        time.sleep(1.5)
        assert pacs.asked == []
    assert proofs(ledger) == {None}


def request_kept(ledger: Ledger, tmp_path: Path, objects: int = 1) -> tuple[str, list[str]]:
    """A request in the ledger that may or may not have been sent when the process died."""
    uids = make_results(ledger, tmp_path, objects)
    for uid in uids:
        ledger.deliveries.record(uid, "pacs", DeliveryState.DELIVERED, status="0000", error=None)
    ledger.deliveries.finish(Run(STUDY, 1, 1))
    due = ledger.commitments.due("pacs", most=5000, needs_commitment=False)
    made = ledger.commitments.open("pacs", due)
    assert made is not None
    return made.transaction_uid, uids


def test_a_request_that_a_crash_left_is_sent_under_the_same_uid(ledger, listener, tmp_path):
    transaction, uids = request_kept(ledger, tmp_path)
    with keeping_pacs(listener.port) as pacs:
        pacs.held = {uid: Dataset() for uid in uids}
        with lanes(ledger, tmp_path, pacs):
            wait_for(lambda: proofs(ledger) == {Proof.COMMITTED}, within_s=20, what="proof")
        assert pacs.asked == [(transaction, uids)]


def test_an_object_is_never_in_two_requests_at_once(ledger, tmp_path):
    transaction, (uid,) = request_kept(ledger, tmp_path)
    assert ledger.commitments.due("pacs", most=9, needs_commitment=False) == []
    again = Unproven(uid, COMPREHENSIVE_3D_SR.uid, STUDY, "x", 0)
    assert ledger.commitments.open("pacs", [again]) is None
    assert [r.transaction_uid for r in ledger.commitments.unsent("pacs")] == [transaction]


@pytest.mark.parametrize("why", ["no commitment is offered", "no report came"])
def test_queries_are_asked_fifty_at_a_time_and_each_fifty_are_kept(why, ledger, tmp_path):
    """Between them the lane looks at what is due."""
    transaction, uids = request_kept(ledger, tmp_path, 120)
    ledger.commitments.sent(transaction)
    is_offered = why == "no report came"
    with ledger.database.write() as db:
        if is_offered:
            db.exec_driver_sql("UPDATE commitments SET asked_at = 0")
        else:
            db.exec_driver_sql("DELETE FROM commitments")
            db.exec_driver_sql("UPDATE deliveries SET proof = NULL, transaction_uid = NULL")
    with keeping_pacs(1, commits=is_offered, reports="never") as pacs:
        pacs.held = {uid: dcmread(tmp_path / f"{uid}.dcm") for uid in uids}
        config = config_of(tmp_path, pacs)
        prover = Prover(config, config.destinations[0], ledger, lambda: False)
        found = []
        for _ in range(3):
            prover.round()
            found.append(sum(d.proof is Proof.FOUND for d in rows(ledger)))
    assert found == [50, 100, 120]
    if is_offered:
        assert told(ledger).count("commitment_closed") == 1
    assert ledger.commitments.overdue("pacs", 0.0) == []


def report(transaction: str, uids: list[str]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID = COMPREHENSIVE_3D_SR.uid
        item.ReferencedSOPInstanceUID = uid
        ds.ReferencedSOPSequence.append(item)
    return ds


def test_reports_of_nothing_asked_or_of_another_peer_are_answered_and_ignored(
    ledger, listener, tmp_path
):
    transaction, uids = request_kept(ledger, tmp_path)
    pacs = KeepingPacs(listener.port)
    pacs.send_report(report(transaction, uids), calling="OTHER")
    pacs.send_report(report(generate_uid(), uids))
    assert proofs(ledger) == {Proof.ASKED}
    pacs.send_report(report(transaction, uids))
    assert proofs(ledger) == {Proof.COMMITTED}
    pacs.send_report(report(transaction, []))
    assert proofs(ledger) == {Proof.COMMITTED}, "a late report changes nothing"
    assert pacs.answered == [0x0000] * 4


def test_a_report_without_a_transaction_uid_is_refused(ledger, listener, tmp_path):
    _, uids = request_kept(ledger, tmp_path)
    ds = report("1.2.3", uids)
    del ds.TransactionUID
    pacs = KeepingPacs(listener.port)
    pacs.send_report(ds)
    assert pacs.answered == [0x0115]
    assert proofs(ledger) == {Proof.ASKED}


def test_a_sender_that_asks_us_to_commit_is_turned_down(listener):
    from pynetdicom import AE
    from pynetdicom.sop_class import StorageCommitmentPushModel

    entity = AE("PACS")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate("127.0.0.1", listener.port, ae_title="DICOMNODE")
    assert association.is_established
    status, _ = association.send_n_action(
        report("1.2.3", ["1.2"]), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    association.release()
    assert status.Status == 0x0124


@pytest.mark.timeout(120)
def test_a_thousand_objects_in_one_request_are_reported_on(ledger, listener, tmp_path):
    """The bar is 5 s on a quiet machine; what it took is printed."""
    _, uids = request_kept(ledger, tmp_path, 1000)
    with keeping_pacs(listener.port) as pacs:
        pacs.held = {uid: Dataset() for uid in uids}
        began = time.monotonic()
        with lanes(ledger, tmp_path, pacs):
            wait_for(lambda: pacs.answered, within_s=60, what="a report")
            took_s = time.monotonic() - began
        assert proofs(ledger) == {Proof.COMMITTED}
    print(f"{took_s:.2f} s")
