"""The node on PostgreSQL: its job, kills, a server that comes and goes, and a password."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from crashing import EGRESS_POINTS, POINTS
from matrix import thinned
from nodes import dicom_node, node, storescp, storescu, study_of, wait_for
from pydicom.uid import generate_uid
from wsm_files import write_wsm

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.database.postgresql import LOCK_WAIT_S
from dicom_node.ledger.errors import LedgerBusy, LedgerDamaged
from dicom_node.ledger.keeping.rules import Policy
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.spool.purge import Purger
from dicom_node.study.closing import close_ready

RESTARTS = 5
"""Of the server under load."""
NTH = {"in analyze, after some tiles": 2, "after the last delivery": 2}
FEW_POINTS = [
    "in open_slides",
    "in analyze, after some tiles",
    "in build, after the rows are written",
    "in deliver, sent but not recorded",
    "after the last delivery",
]


@pytest.mark.parametrize("point", thinned(FEW_POINTS, 2))
def test_a_study_that_a_kill_interrupts_is_done_once_on_postgresql(
    point, postgres, phantom_study, tmp_path
):
    assert point in POINTS | EGRESS_POINTS
    study = study_of(phantom_study.folder)
    database = postgres.create()
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, database=database) as n,
    ):
        n.start("ingest")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        n.crash(point, NTH.get(point, 1))
        already_there = pacs.digests()
        n.work()
        assert n.finished(study).state is State.DONE
        received = pacs.digests()
        assert len(received) == 3
        assert already_there.items() <= received.items(), "an object changed after it was delivered"
        outcomes = n.ledger.queries.deliveries(study, 1)
        assert [d.state for d in outcomes] == [DeliveryState.DELIVERED] * 3
        assert not (n.folder / "node-data" / "node.sqlite").exists()


def test_a_server_that_restarts_again_and_again_loses_nothing(postgres, phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    database = postgres.create()
    files = sorted(phantom_study.folder.glob("*.dcm"))
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, database=database) as n,
    ):
        n.start()
        answers = []
        is_over = threading.Event()

        def send() -> None:
            while not is_over.is_set():
                answers.append(storescu(n.port, *files))

        sender = threading.Thread(target=send)
        sender.start()
        rng = random.Random(7)
        try:
            for _ in range(RESTARTS):
                time.sleep(rng.uniform(0.2, 1.0))
                postgres.stop()
                time.sleep(rng.uniform(0.2, 1.0))
                postgres.start()
        finally:
            is_over.set()
            sender.join()
        wait_for(lambda: storescu(n.port, *files).returncode == 0, what="received after all")
        assert n.finished(study, within_s=180).state is State.DONE
        assert len(pacs.objects()) == 3
    statuses = {
        line.rpartition("Status: ")[2].rstrip("]")
        for answer in answers
        for line in (answer.stdout + answer.stderr).splitlines()
        if "Store Response" in line and "Status" in line
    }
    assert all("Success" in s or "OutOfResources" in s for s in statuses), statuses


def test_senders_at_once_a_resend_and_other_content_are_answered_as_on_sqlite(postgres, tmp_path):
    database = postgres.create()
    study = generate_uid()

    def study_file(name: str, **attributes: object) -> Path:
        write_wsm(tmp_path / name, size_bytes=200_000, StudyInstanceUID=study, **attributes)
        return tmp_path / name

    files = [study_file(f"{n}.dcm") for n in range(16)]
    with node(tmp_path / "node", 11112, database=database, quiet_time_s=600) as n:
        n.start("ingest")
        with ThreadPoolExecutor(8) as pool:  # each file twice, so that both meet
            sent = list(pool.map(lambda path: storescu(n.port, path), [*files, *files]))
        assert [answer.returncode for answer in sent] == [0] * 32
        (revision,) = n.ledger.queries.of_study(study)
        kept = n.ledger.queries.instances(study, revision.revision)
        assert len(kept) == 16
        spool = n.folder / "node-data" / "spool"
        assert sum(1 for _ in spool.glob("[0-9a-f][0-9a-f]/*.dcm")) == 16
        uid = kept[0].sop_instance_uid
        other = study_file("other.dcm", SOPInstanceUID=uid, SeriesDescription="other content")
        assert "Status: 0x111" in storescu(n.port, other).stderr  # duplicate SOP Instance
        assert n.ledger.queries.instances(study, 1) == kept


def test_the_password_comes_from_a_file_and_is_shown_nowhere(postgres, tmp_path):
    database = postgres.create()
    with node(tmp_path / "node", 11112, database=database) as n:
        (n.folder / "secret").write_text("pass/word @1\n")
        n.config.write_text(n.config.read_text().replace(
            f'url = "{database}"', f'url = "{database}"\npassword_file = "secret"'))  # fmt: skip
        n.start("ingest")
        told = n.run("check").stdout + n.run("studies").stdout + n.log
        assert "postgresql+psycopg://postgres" in told
        assert "word @1" not in told
        assert "pass%2Fword" not in told
        assert "***" in told


def test_a_password_in_the_url_is_refused_without_being_repeated(tmp_path):
    url = "postgresql+psycopg://node:sesame@db/pathology"
    with node(tmp_path / "node", 11112, database=url) as n:
        refusal = n.run("check")
        assert refusal.returncode != 0
        assert "use password_file" in refusal.stderr
        assert "sesame" not in refusal.stdout + refusal.stderr


def test_a_server_that_is_away_is_busy_and_a_database_that_is_not_there_is_said(postgres):
    there = postgres.create()
    with pytest.raises(LedgerDamaged, match="expected a database that"):
        Ledger.open(there + "_not")
    ledger = Ledger.open(there)
    postgres.stop()
    try:
        with pytest.raises(LedgerBusy, match="cannot be used now"):
            ledger.events.record("note", text="DOE^JANE")
    finally:
        postgres.start()
    ledger.events.record("note")  # the same object goes on
    assert [e.kind for e in ledger.queries.events()] == ["note"]


def test_check_and_studies_make_no_tables(postgres, tmp_path):
    database = postgres.create()
    with node(tmp_path / "node", 11112, database=database) as n:
        assert "absent yet" in n.run("check").stdout
        assert "no node has run on" in n.run("studies").stderr
    assert sa.inspect(sa.create_engine(database)).get_table_names() == []


def test_one_node_forgets_its_own_open_transfers_and_studies_only(postgres):
    database = postgres.create()
    east, west = (Ledger.open(database, owner=name) for name in ("east", "west"))
    east.arrivals.open_transfer(calling_ae="PACS", peer="10.0.0.1")
    west.arrivals.open_transfer(calling_ae="PACS", peer="10.0.0.2")
    east.arrivals.close_all_transfers()
    with west.database.read() as db:
        left = db.execute(sa.text("SELECT ingest, peer FROM transfers")).all()
    assert left == [("west", "10.0.0.2")]


def test_dicom_node_says_what_it_needs_where_the_server_refuses(tmp_path):
    with node(tmp_path / "n", 1, database="postgresql+psycopg://a@127.0.0.1:1/b") as n:
        said = dicom_node("check", "--config", str(n.config)).stdout
        assert "cannot be used now (no connection)" in said


def test_a_study_that_another_holds_too_long_is_busy_for_a_sender(postgres):
    database = postgres.create()
    ledger = Ledger.open(database)
    instance = ReceivedInstance("1.2.1", "1.2", "1.9", "1.9.1", "1.2.1", 5, "aa/b", "PACS", "::1")
    holder = sa.create_engine(database)
    with holder.begin() as db:
        db.execute(sa.text("INSERT INTO studies VALUES ('1.9')"))
        began = time.monotonic()
        with pytest.raises(LedgerBusy, match="55P03"):
            ledger.arrivals.record(instance)
        assert LOCK_WAIT_S - 1 < time.monotonic() - began < 3 * LOCK_WAIT_S
    ledger.arrivals.record(instance)


def test_what_one_node_erases_of_another_is_removed_there_and_results_there_are_not_forgotten(
    postgres, tmp_path
):
    database = postgres.create()
    day_s = 86400.0
    policy = Policy(day_s, day_s, day_s, day_s, True, False, frozenset({"pacs"}))
    ledgers, purgers = {}, {}
    for name in ("east", "west"):
        (tmp_path / name / "results").mkdir(parents=True)
        ledgers[name] = Ledger.open(database, owner=name)
        purgers[name] = Purger(tmp_path / name, ledgers[name], policy, 0.0)
    east, west = ledgers["east"], ledgers["west"]
    file = tmp_path / "west" / "spool" / "by-west" / "aa" / "b.dcm"
    file.parent.mkdir(parents=True)
    file.touch()

    def receive() -> Run:
        west.arrivals.record(ReceivedInstance(
            "1.2.1", "1.2", "1.9", "1.9.1", "1.2.1", 0, "by-west/aa/b.dcm", "PACS", "::1"
        ))  # fmt: skip
        return west.queries.revision("1.9").run

    west.studies.park_uncounted(receive(), Evidence(1), "sick")
    assert not purgers["east"]._there.is_done_with(east.retention.facts("1.9"))
    assert east.endings.erase("1.9", lambda: purgers["east"].set_aside("1.9"))
    purgers["east"].unlink_listed()
    assert file.exists()
    assert east.discards.of_others() == {"spool/by-west/aa/b.dcm": "west"}
    purgers["west"].unlink_listed()
    assert not file.exists()
    assert east.discards.of_others() == {}

    run = receive()
    assert west.studies.close(run, Evidence(1))
    run = west.queries.revision("1.9").run
    assert west.studies.start_analysis(run, "openvino", "digest")
    folder = tmp_path / "west" / "results" / run.folder
    folder.mkdir()
    made = Result("9", "1.2", "report", "s", f"results/{run.folder}/9.dcm", "d")
    assert west.deliveries.start(run, [made], ["pacs"])
    west.deliveries.record("9", "pacs", DeliveryState.REFUSED, status="0110", error="no")
    west.deliveries.finish(run)
    with pytest.raises(ValueError, match="in the data folder of another node"):
        east.endings.erase("1.9", lambda: purgers["east"].set_aside("1.9"))
    assert west.endings.erase("1.9", lambda: purgers["west"].set_aside("1.9"))
    purgers["west"].unlink_listed()
    assert not folder.exists()


def test_who_waits_for_a_study_that_is_erased_meanwhile_holds_it_afterwards(postgres):
    """Else a third could add to it at the same time."""
    database = postgres.create()
    one, two = (Ledger.open(database, owner="east").database for _ in range(2))
    held, done = threading.Event(), threading.Event()

    def wait_and_hold() -> None:
        with two.write(study="1.9"):
            held.set()
            done.wait(30)

    with one.write(study="1.9"):
        pass
    waiting = threading.Thread(target=wait_and_hold)
    with one.write(study="1.9") as db:
        waiting.start()
        assert not held.wait(1.0)
        db.execute(sa.text("DELETE FROM studies"))
    assert held.wait(10)
    with one.engine.begin() as db:
        insert = "INSERT INTO studies VALUES ('1.9') ON CONFLICT DO NOTHING"
        db.execute(sa.text("SET LOCAL lock_timeout = '500ms'"))
        with pytest.raises(sa.exc.OperationalError):
            db.execute(sa.text(insert))
    done.set()
    waiting.join()


def test_what_a_schema_1_node_writes_is_taken_up_by_this_one(postgres):
    """One step back and forth: it knows neither owners nor the rows that are locked."""
    database = postgres.create()
    ledger = Ledger.open(database, owner="east")
    with ledger.database.write() as db:
        db.execute(sa.text(
            "INSERT INTO revisions (study_instance_uid, revision, state, opened_at,"
            " last_instance_at, attempt, failures, crashes, not_before, resend, tiles_done,"
            " tiles_total, tiles_per_s)"
            " VALUES ('1.9', 1, 'analyzing', 1, 1, 1, 0, 0, 0, false, 0, 0, 0)"))  # fmt: skip
    (found,) = ledger.queries.my_analyses()
    assert ledger.studies.try_later(found.run, "the worker died", 0.0)
    assert ledger.queries.revision("1.9").state is State.QUEUED


def test_a_study_that_another_machine_analyzes_is_left_alone(postgres):
    database = postgres.create()
    east, west = (Ledger.open(database, owner=name) for name in ("east", "west"))
    east.arrivals.record(
        ReceivedInstance("1.2.1", "1.2", "1.9", "1.9.1", "1.2.1", 5, "aa/b", "PACS", "::1")
    )
    assert east.studies.close(Run("1.9", 1, 0), Evidence(1))
    run = east.queries.revision("1.9").run
    assert east.studies.start_analysis(run, "openvino", "digest")
    assert west.queries.my_analyses() == []
    assert not west.studies.start_analysis(run, "openvino", "digest")
    assert not west.studies.park(run, "no")
    assert not west.studies.try_later(run, "no", 0.0)
    assert not west.deliveries.start(run, [], ["pacs"])
    assert west.studies.note_interruption(run) == 0, "another's crash"
    assert east.deliveries.start(run, [], ["pacs"])
    assert west.deliveries.finish(run) is State.DONE, "what is sent belongs to nobody"


def test_a_study_in_the_spool_of_another_node_is_left_to_that_node(postgres, tmp_path, capsys):
    database = postgres.create()
    east, west = (Ledger.open(database, owner=name) for name in ("east", "west"))
    east.arrivals.record(
        ReceivedInstance("1.2.1", "1.2", "1.9", "1.9.1", "1.2.1", 5, "by-east/aa/b", "PACS", "::1")
    )
    assert close_ready(west, tmp_path, quiet_time_s=0, incomplete_after_s=0) == []
    left = west.queries.revision("1.9")
    assert left.state is State.RECEIVING
    assert left.reason == "waits for a node that sees the spool its files are in"
    (tmp_path / "by-east" / "aa").mkdir(parents=True)  # now it is in this spool, and lost
    close_ready(west, tmp_path, quiet_time_s=0, incomplete_after_s=0)
    assert west.queries.revision("1.9").state is State.PARKED


def test_without_its_driver_the_node_says_what_to_install(run_python):
    said = run_python(
        "import sys; sys.modules['psycopg'] = None\n"
        "from dicom_node.ledger.errors import LedgerDamaged\n"
        "from dicom_node.ledger.ledger import Ledger\n"
        "try: Ledger.open('postgresql+psycopg://a@b/c')\n"
        "except LedgerDamaged as error: print(error)"
    )
    assert 'pip install "dicom-node[postgresql]"' in said
