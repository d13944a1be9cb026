"""What senders are promised, and what not: storage commitment as SCP (PS3.4 Annex J)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asking_sender import WSM, AskingSender, asking_sender, hearing
from nodes import free_port, wait_for
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from structlog.testing import capture_logs
from wsm_files import encoded, wsm_header

from dicom_node.commands.screen.keeping import keeping
from dicom_node.config.peers import Sender
from dicom_node.config.whole import Config
from dicom_node.deliver import reporting, telling
from dicom_node.deliver.keeping import policy_of, purger_of
from dicom_node.deliver.reporting import Reporters
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database import tables
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import InquiryState, State
from dicom_node.processes.ingest import Ingest
from dicom_node.spool.incoming import file_header
from dicom_node.spool.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
KEPT = {"commitment": {"scp": True}, "retention": {"keep_inputs": True}}


def config_of(folder: Path, port: int, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "node": {"ae_title": "DICOMNODE", "data_dir": folder},
            "senders": [{"ae_title": t, "networks": ["127.0.0.0/8"]} for t in ("PACS", "SCANNER")],
            "destinations": [
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
            ],
            **KEPT,
            **sections,
        }
    )


class Rig:
    """A listener and what decides and reports, on one data folder; the test is the sender."""

    def __init__(self, folder: Path, where: Path | str) -> None:
        self.folder = folder
        self.ledger = Ledger.open(where)
        self.config = config_of(folder, free_port())
        self.listener: Ingest | None = None

    def listen(self, requestors: set[str] | None = frozenset({"PACS"})) -> int:  # type: ignore[assignment]
        self.listener = Ingest(
            ae_title="DICOMNODE",
            bind="127.0.0.1",
            port=0,
            senders=[
                Sender.model_validate({"ae_title": t, "networks": ["127.0.0.0/8"]})
                for t in ("PACS", "SCANNER")
            ],
            spool=Spool(self.folder / "spool", 0),
            ledger=self.ledger,
            maximum_associations=8,
            requestors=requestors,
        )
        self.listener.start()
        assert self.listener.port is not None
        return self.listener.port

    @contextmanager
    def reporting(self, **sections: Any) -> Iterator[None]:
        """With what decides and reports, until the end of the block."""
        (destination,) = self.config.destinations
        stop = threading.Event()
        config = config_of(self.folder, destination.port, **sections)
        running = Reporters(config, self.ledger, stop, draw=lambda: 0.5)
        running.start()
        try:
            yield
        finally:
            stop.set()
            assert running.join(20)

    @contextmanager
    def sender(self, **behaves: Any) -> Iterator[AskingSender]:
        assert self.listener is not None
        (destination,) = self.config.destinations
        with asking_sender(self.listener.port or 0, port=destination.port, **behaves) as sender:
            yield sender

    def file_of(self, uid: str) -> Path:
        return self.folder / "spool" / self.ledger.promises.kept([uid])[uid].path


@pytest.fixture
def rig(where: Path | str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, where)
    yield made
    if made.listener is not None:
        made.listener.drain(1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_FIRST_RETRY_S", 0.3)
    monkeypatch.setattr(reporting, "_LONGEST_RETRY_S", 0.5)


def instances(count: int, **attributes: object) -> list[Dataset]:
    made = []
    for number in range(count):
        ds = wsm_header(InstanceNumber=number, **attributes)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.ImageComments = "x" * 5000
        made.append(ds)
    return made


def references(datasets: list[Dataset]) -> list[tuple[str, str]]:
    return [(WSM, str(ds.SOPInstanceUID)) for ds in datasets]


def test_what_is_here_and_whole_is_promised_over_an_association_of_our_own_as_scp(rig):
    rig.listen()
    sent = references(instances(3))
    with rig.sender() as sender, rig.reporting():
        datasets = instances(3)
        sent = references(datasets)
        sender.store(datasets)
        transaction, status = sender.ask(sent)
        assert status == 0x0000
        assert sender.told(transaction) == dict.fromkeys(sent, "committed")
        time.sleep(1)
        assert len(sender.of(transaction)) == 1, "reported once"
        assert sender.called == ["DICOMNODE"]
        assert set(sender.roles) == {(False, True)}, "SCP and not SCU (PS3.7 D.3.3.4)"
    assert rig.ledger.promises.peers() == {}


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-10] ^= 1
    path.write_bytes(raw)


def test_each_reference_fails_for_its_own_reason_and_none_is_left_out(rig):
    rig.listen()
    datasets = instances(6)
    sound, gone, flipped, cut, other, header = references(datasets)
    unknown, strange = (WSM, generate_uid()), (CT, generate_uid())
    as_ct = (CT, other[1])
    with rig.sender() as sender:
        sender.store(datasets)
        rig.file_of(gone[1]).unlink()
        damage(rig.file_of(flipped[1]))
        with rig.file_of(cut[1]).open("r+b") as file:
            file.truncate(4000)
        raw = rig.file_of(header[1]).read_bytes()
        rig.file_of(header[1]).write_bytes(raw.replace(b"DICM", b"XXXX", 1))
        asked = [sound, gone, flipped, cut, other, as_ct, header, unknown, strange]
        transaction, _ = sender.ask(asked)
        with rig.reporting():
            assert sender.told(transaction) == {
                sound: "committed",
                gone: "0112",
                flipped: "0110",
                cut: "0110",
                other: "committed",
                as_ct: "0119",
                header: "0110",
                unknown: "0112",
                strange: "0122",
            }


def test_what_came_before_digests_were_made_is_promised_only_after_it_came_again(rig):
    rig.listen(None)
    datasets = instances(2)
    with rig.sender() as sender:
        sender.store(datasets)
    rig.listener.drain(1)
    rig.listen()
    with rig.sender() as sender, rig.reporting():
        first, _ = sender.ask(references(datasets))
        assert set(sender.told(first).values()) == {"0110"}
        sender.store(datasets[:1])
        again, _ = sender.ask(references(datasets))
        assert list(sender.told(again).values()).count("committed") == 1
        assert sender.told(again)[references(datasets)[0]] == "committed"


def test_a_request_is_durable_before_it_is_answered_and_reported_after_a_restart(rig):
    rig.listen()
    datasets = instances(2)
    with rig.sender() as sender:
        sender.store(datasets)
        transaction, status = sender.ask(references(datasets))
        assert status == 0x0000
        assert rig.ledger.promises.peers() == {"PACS": 1}
        time.sleep(0.5)
        assert sender.reports == []
        with rig.reporting():
            assert set(sender.told(transaction).values()) == {"committed"}


def test_the_same_request_once_more_before_its_report_is_one_request(rig):
    rig.listen()
    datasets = instances(2)
    sent = references(datasets)
    with rig.sender() as sender:
        sender.store(datasets)
        transaction, _ = sender.ask(sent)
        assert sender.ask(sent[::-1], transaction) == (transaction, 0x0000)
        with rig.reporting():
            sender.told(transaction)
            time.sleep(1)
        assert len(sender.of(transaction)) == 1


def test_another_request_under_a_used_transaction_uid_fails_as_a_duplicate(rig):
    rig.listen()
    datasets = instances(2)
    one, other = references(datasets)
    with rig.sender() as sender:
        sender.store(datasets)
        transaction, _ = sender.ask([one])
        assert sender.ask([other], transaction)[1] == 0x0000
        with rig.reporting():
            wait_for(lambda: len(sender.of(transaction)) == 2, within_s=20, what="two reports")
            assert sender.of(transaction) == [(1, {one: "committed"}), (2, {other: "0131"})]
            assert sender.ask([one], transaction)[1] == 0x0000, "known, and over"
            wait_for(lambda: len(sender.of(transaction)) == 3, within_s=20, what="three reports")
            assert sender.of(transaction)[2] == (2, {one: "0131"})


def test_the_transaction_uid_of_another_sender_is_no_duplicate(rig):
    rig.listen({"PACS", "SCANNER"})
    (uid,) = references(instances(1))
    with rig.sender() as pacs:
        scanner = AskingSender(rig.listener.port, "SCANNER")
        with hearing(scanner):
            transaction, _ = pacs.ask([uid])
            scanner.ask([uid], transaction)
            to = {"ae_title": "SCANNER", "host": "127.0.0.1", "port": scanner.port}
            with rig.reporting(commitment={"scp": True, "requestors": [to]}):
                assert pacs.told(transaction) == scanner.told(transaction) == {uid: "0112"}


def test_a_report_is_tried_until_the_sender_takes_it(rig, quick):
    rig.listen()
    datasets = instances(1)
    with rig.sender() as sender:
        sender.store(datasets)
        transaction, _ = sender.ask(references(datasets))
    with rig.reporting():
        time.sleep(1)  # nobody listens there
        with rig.sender(answers=0x0110) as sender:
            wait_for(lambda: len(sender.of(transaction)) >= 2, within_s=20, what="tries")
            sender.answers = 0x0000
            known = len(sender.reports)
            wait_for(lambda: len(sender.reports) > known, within_s=20, what="a report")
            wait_for(lambda: rig.ledger.promises.peers() == {}, within_s=60, what="told")
    kinds = [e.kind for e in rig.ledger.queries.events()]
    assert kinds.count("commitment_told") == 1


@pytest.mark.parametrize("fails", ["when it is decided", "when it is written"])
def test_a_request_that_breaks_something_holds_up_no_other(rig, quick, monkeypatch, fails):
    rig.listen()
    datasets = instances(2)
    bad, good = references(datasets)
    is_early = fails == "when it is decided"
    owner, name = (reporting, "judge") if is_early else (telling, "written_report")
    works = getattr(owner, name)
    mended = threading.Event()

    def breaks(of: Any, *arguments: Any, **more: Any) -> Any:
        if broken in (of, getattr(of, "transaction_uid", None)) and not mended.is_set():
            raise ZeroDivisionError("ZZSECRET")
        return works(of, *arguments, **more)

    with rig.sender() as sender:
        sender.store(datasets)
        broken, _ = sender.ask([bad])
        whole, _ = sender.ask([good])
        monkeypatch.setattr(owner, name, breaks)
        with capture_logs() as said, rig.reporting():
            assert sender.told(whole) == {good: "committed"}
            mended.set()
            assert sender.told(broken) == {bad: "committed"}
    (first, *_) = [line for line in said if line["event"] == "inquiry_failed"]
    assert first["trace"]
    assert "ZZSECRET" not in str(said)


BAD_TEXT = "cast(x'ff41' as text)"
SPOILED = {
    "Transaction UID": ("inquiries", "transaction_uid", BAD_TEXT),
    "time": ("inquiries", "asked_at", "'soon'"),
    "number of tries": ("inquiries", "attempts", "'many'"),
    "SOP Instance UID": ("inquiry_items", "sop_instance_uid", BAD_TEXT),
    "outcome": ("inquiry_items", "outcome", BAD_TEXT),
    "received file": ("instances", "path", BAD_TEXT),
    "AE title": ("inquiries", "calling_ae", BAD_TEXT),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_row_that_cannot_be_read_costs_its_own_request_and_no_other(tmp_path, quick, what):
    rig = Rig(tmp_path, tmp_path / "ledger.sqlite3")
    rig.listen()
    datasets = instances(2)
    bad, good = references(datasets)
    try:
        with rig.sender() as sender:
            sender.store(datasets)
            broken, _ = sender.ask([bad])  # the oldest: the first to be looked at
            table, column, value = SPOILED[what]
            which = f"sop_instance_uid = '{bad[1]}'" if table != "inquiries" else "true"
            with rig.ledger.database.write() as db:
                db.exec_driver_sql(f"UPDATE {table} SET {column} = {value} WHERE {which}")
            whole, _ = sender.ask([good])
            with capture_logs() as said, rig.reporting():
                assert sender.told(whole) == {good: "committed"}
                time.sleep(1)
                heals = what == "number of tries"  # the next try counts from none
                assert bool(sender.of(broken)) == heals
    finally:
        assert rig.listener is not None
        rig.listener.drain(1)
    assert not [line for line in said if line["event"] in ("reporter_failed", "ledger_busy")]
    told = [line for line in said if line["event"].startswith("inquiry_")]
    is_seen = what != "AE title"  # that one is nobody's
    assert bool(told) == is_seen
    assert len(told) <= 5, "it is tried later, not all the time"


def test_no_report_is_sent_where_the_role_of_scp_is_not_taken(rig, quick):
    rig.listen()
    datasets = instances(1)
    with rig.sender(takes=False) as sender, rig.reporting():
        sender.store(datasets)
        sender.ask(references(datasets))
        time.sleep(1.5)
        assert sender.reports == []
    assert rig.ledger.promises.peers() == {"PACS": 1}


def test_a_report_that_nobody_takes_is_given_up_and_what_was_promised_stays(rig, quick):
    rig.listen()
    datasets = instances(1)
    with rig.sender() as sender:
        sender.store(datasets)
        sender.ask(references(datasets))
    with rig.reporting(commitment={"scp": True, "give_up_after_s": 1}):
        wait_for(lambda: rig.ledger.promises.peers() == {}, within_s=20, what="given up")
    with rig.ledger.database.read() as db:
        (state,) = db.exec_driver_sql("SELECT state FROM inquiries").scalars()
        promised = db.exec_driver_sql("SELECT promised_at FROM instances").scalars().all()
    assert state == InquiryState.GIVEN_UP
    assert all(promised)


@pytest.mark.parametrize(
    "sections",
    [
        {"commitment": {"scp": False}},
        {"commitment": {"scp": False}, "retention": {"keep_inputs": False}},
    ],
)
def test_what_may_be_removed_is_never_promised_and_who_asked_before_is_told_so(rig, sections):
    rig.listen()
    datasets = instances(2)
    here, gone = references(datasets)
    with rig.sender() as sender:
        sender.store(datasets)
        rig.file_of(gone[1]).unlink()
        transaction, _ = sender.ask([here, gone])
        with rig.reporting(**sections):
            assert sender.told(transaction) == {here: "0110", gone: "0112"}


def test_the_service_cannot_be_offered_while_received_files_have_an_end(tmp_path):
    with pytest.raises(ValueError, match="keep_inputs"):
        config_of(tmp_path, 1, retention={"inputs_days": 36500})


def done(ledger: Ledger, study: str) -> None:
    """A study whose results are proven, long ago."""
    ledger.studies.close(Run(study, 1, 0), Evidence(1))
    with ledger.database.write() as db:
        db.exec_driver_sql(f"UPDATE revisions SET state = '{State.PARKED}', finished_at = 5")
        db.exec_driver_sql("UPDATE instances SET received_at = 5")


def test_nothing_that_was_promised_is_removed_whatever_the_configuration_says_later(rig):
    rig.listen()
    datasets = instances(2)
    study = str(datasets[0].StudyInstanceUID)
    datasets[1].StudyInstanceUID = study
    with rig.sender() as sender, rig.reporting():
        sender.store(datasets)
        transaction, _ = sender.ask(references(datasets)[:1])
        sender.told(transaction)
    done(rig.ledger, study)
    retention = {
        "inputs_days": 0,
        "parked_days": 0,
        "ledger_days": 1,
        "source_holds_slides": True,
        "require_commitment": False,
        "free_target_percent": 95,
    }
    later = config_of(rig.folder, 1, commitment={"scp": False}, retention=retention)
    purger = purger_of(later, rig.ledger)
    (planned,) = purger.plan()
    assert (planned.what, planned.may_go, planned.why) == ("inputs", False, "promised to a sender")
    purger.round()
    assert all(rig.file_of(uid).exists() for _, uid in references(datasets))
    assert rig.ledger.queries.of_study(study)
    with rig.ledger.database.write() as db:
        db.exec_driver_sql("UPDATE instances SET promised_at = NULL")
    purger.round()
    uid = str(datasets[0].SOPInstanceUID)
    assert rig.ledger.promises.kept([uid]), "the data folder knows of the promise, too"
    (rig.folder / "promised").unlink()
    purger_of(later, rig.ledger).round()
    assert not rig.ledger.promises.kept([uid]), "else it would go"


def test_what_is_removed_between_the_look_and_the_word_is_not_promised(rig):
    rig.listen()
    datasets = instances(3)
    uids = [str(ds.SOPInstanceUID) for ds in datasets]
    with rig.sender() as sender:
        sender.store(datasets)
        sender.ask(references(datasets))
    (inquiry,) = rig.ledger.promises.due("PACS", most=9)
    looked_at = rig.ledger.promises.kept(uids)
    with rig.ledger.database.write() as db:
        db.exec_driver_sql(f"UPDATE instances SET purged_at = 1 WHERE sop_instance_uid='{uids[0]}'")
        db.exec_driver_sql(f"UPDATE instances SET path = 'x' WHERE sop_instance_uid='{uids[1]}'")
    wanted = dict.fromkeys(inquiry.outcomes, "committed")
    decided = rig.ledger.promises.decide(inquiry, wanted, looked_at)
    found = {uid: outcome for (_, uid), outcome in decided.outcomes.items()}
    assert found == {uids[0]: "0112", uids[1]: "0110", uids[2]: "committed"}
    with rig.ledger.database.read() as db:
        promised = db.exec_driver_sql(
            "SELECT sop_instance_uid FROM instances WHERE promised_at IS NOT NULL"
        ).scalars()
        assert list(promised) == [uids[2]]


def test_what_a_disk_lost_after_the_decision_is_not_reported_as_kept(rig, quick):
    rig.listen()
    datasets = instances(2)
    kept, lost = references(datasets)
    with rig.sender() as sender:
        sender.store(datasets)
        transaction, _ = sender.ask([kept, lost])
    with rig.reporting():
        wait_for(lambda: rig.ledger.promises.due("PACS", most=1) == [], what="decided, not told")
    rig.file_of(lost[1]).unlink()
    with rig.sender() as sender, rig.reporting():
        assert sender.told(transaction) == {kept: "committed", lost: "0112"}


def test_a_keep_for_ever_outlives_age_and_a_full_disk(tmp_path):
    from dicom_node.ledger.keeping import rules
    from dicom_node.ledger.keeping.rules import StudyFacts

    facts = StudyFacts("1.2", (State.PARKED,), 1.0, 1.0, frozenset(), (), None, False)
    policy = policy_of(config_of(tmp_path, 1))
    assert not rules.inputs(facts, policy, 1e12, pressed=True).may_go
    assert not rules.rows(facts, policy, 1e12).may_go
    assert not rules.waits_for_source(facts, policy, 1e12)


@pytest.fixture
def off(rig):
    rig.listen(None)
    with rig.sender() as sender:
        yield sender


def test_off_by_default_every_request_is_turned_down(off):
    assert off.ask([(WSM, "1.2")])[1] == 0x0124


def test_who_has_no_address_for_reports_is_turned_down(rig):
    rig.listen({"SCANNER"})
    with rig.sender() as sender:
        assert sender.ask([(WSM, "1.2")])[1] == 0x0124
    assert rig.ledger.promises.peers() == {}


def without(keyword: str) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = "1.2.3"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = WSM, "1.2"
    ds.ReferencedSOPSequence = [item]
    if keyword in item:
        delattr(item, keyword)
    elif keyword in ds:
        delattr(ds, keyword)
    return ds


@pytest.mark.parametrize(
    "keyword",
    [
        "TransactionUID",
        "ReferencedSOPSequence",
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
    ],
)
def test_a_request_that_lacks_something_is_refused_and_kept_nowhere(rig, keyword):
    rig.listen()
    with rig.sender() as sender:
        assert sender.send(without(keyword)) == 0x0115
        assert sender.send(without(""), action=2) == 0x0123
        assert sender.send(without(""), instance="1.2.3") == 0x0112
    assert rig.ledger.promises.peers() == {}


def test_more_open_requests_than_a_sender_may_have_are_not_taken(rig, monkeypatch):
    from dicom_node.ledger.keeping import promises

    monkeypatch.setattr(promises, "_MOST_OPEN", 2)
    rig.listen()
    with rig.sender() as sender:
        statuses = [sender.ask([(WSM, "1.2")])[1] for _ in range(3)]
    assert statuses == [0x0000, 0x0000, 0x0213]


def test_check_says_what_is_promised_to_whom(tmp_path):
    says = [f.says for f in keeping(config_of(tmp_path, 104)) if f.what == "commitment"]
    assert any("PACS at 127.0.0.1:104" in s for s in says)
    assert any("SCANNER" in s and "[[commitment.requestors]]" in s for s in says)
    off = config_of(tmp_path, 104, commitment={})
    assert not [f for f in keeping(off) if f.what == "commitment"]


def lay_down(rig: Rig, datasets: list[Dataset]) -> None:
    """Files and rows as they are after C-STORE, without waiting for each to be durable."""
    rows = []
    for number, ds in enumerate(datasets):
        header = file_header(WSM, str(ds.SOPInstanceUID), ExplicitVRLittleEndian)
        body = encoded(ds)
        path = rig.folder / "spool" / f"{number % 256:02x}" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(header + body)
        rows.append(
            {
                "sop_instance_uid": str(ds.SOPInstanceUID),
                "sop_class_uid": WSM,
                "study_instance_uid": str(ds.StudyInstanceUID),
                "series_instance_uid": str(ds.SeriesInstanceUID),
                "transfer_syntax_uid": str(ExplicitVRLittleEndian),
                "size_bytes": len(body),
                "path": str(path.relative_to(rig.folder / "spool")),
                "calling_ae": "PACS",
                "peer": "127.0.0.1",
                "received_at": 1.0,
                "revision": 1,
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        )
    with rig.ledger.database.write() as db:
        db.execute(tables.instances.insert(), rows)


@pytest.mark.timeout(120)
def test_a_thousand_objects_in_one_request_are_promised_one_by_one(rig):
    """The bar is 5 s on a quiet machine; what it took is printed."""
    rig.listen()
    datasets = [ds for _ in range(20) for ds in instances(50, StudyInstanceUID=generate_uid())]
    lay_down(rig, datasets)
    with rig.sender() as sender, rig.reporting():
        began = time.monotonic()
        transaction, _ = sender.ask(references(datasets))
        outcomes = sender.told(transaction, within_s=60)
        took_s = time.monotonic() - began
    assert list(outcomes.values()) == ["committed"] * 1000
    print(f"{took_s:.2f} s from N-ACTION to the report")
