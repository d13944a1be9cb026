"""What an operator pauses for a night, resumes, or cancels."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lost_results import STUDY, analyze, arrive, asked, build, delivered, of, report
from nodes import ROOT, free_port, node, storescp, storescu, study_of, wait_for

from dicom_node.config.whole import Config
from dicom_node.deliver.lanes import Lanes
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance
from dicom_node.ledger.states import DeliveryState, State
from dicom_node.study.closing import close_ready
from slides import new_study_copy

HELD = str(ROOT / "tests" / "support" / "held.py")


def test_a_switch_is_moved_once_and_told_in_the_events(where: Path | str) -> None:
    switches = Ledger.open(where).switches
    assert not switches.is_paused("pacs")
    assert [switches.pause("pacs"), switches.pause("pacs")] == [True, False]
    assert switches.is_paused("pacs")
    assert not switches.is_paused("analysis")
    assert list(switches.paused()) == ["pacs"]
    assert [switches.resume("pacs"), switches.resume("pacs")] == [True, False]
    assert not switches.is_paused("pacs")
    assert [e.kind for e in Ledger.open(where).queries.events()] == ["paused", "resumed"]


def test_paused_intake_answers_a700_until_it_is_resumed(phantom_study, tmp_path):
    with node(tmp_path / "node", 1) as n:
        n.start("ingest")
        assert n.run("pause", "intake").returncode == 0
        assert "OutOfResources" in storescu(n.port, phantom_study.folder).stderr
        assert "intake is paused" in n.log
        assert "intake" in n.run("studies").stdout
        told = json.loads(n.run("check", "--json").stdout)
        assert [f["says"] for f in told if f["what"] == "paused"] == [
            "intake: `dicom-node resume intake` lets it go on"
        ]
        assert n.run("resume", "intake").returncode == 0
        assert storescu(n.port, phantom_study.folder).returncode == 0


def test_a_name_that_is_nothing_is_told_with_those_that_are(tmp_path):
    with node(tmp_path / "node", 1) as n:
        refused = n.run("pause", "pasc")
        assert refused.returncode == 1
        assert "expected one of intake, analysis, pacs" in refused.stderr


def test_paused_analysis_finishes_what_is_under_way_and_begins_nothing(phantom_study, tmp_path):
    first, second = phantom_study.folder, tmp_path / "second"
    go_on = tmp_path / "go-on"
    new_study_copy(first, second, "second")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        worker = n.start("worker", HELD, str(go_on))
        n.work()  # what delivers, too
        storescu(n.port, first)
        wait_for(lambda: _is(n, study_of(first), State.ANALYZING), what="the first analysis")
        storescu(n.port, second)
        wait_for(lambda: _is(n, study_of(second), State.QUEUED), what="the second in the queue")
        assert n.run("pause", "analysis").returncode == 0
        go_on.touch()
        assert n.finished(study_of(first)).state is State.DONE
        time.sleep(3)
        assert _is(n, study_of(second), State.QUEUED), n.log[-2000:]
        worker.terminate()
        assert worker.wait(20) == 0
        n.start("worker")
        n.run("resume", "analysis")
        assert n.finished(study_of(second)).state is State.DONE


def test_the_deliveries_to_a_paused_destination_wait(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.run("pause", "pacs")
        n.start()
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: _is(n, study, State.DELIVERING), within_s=90, what="the results")
        time.sleep(3)
        assert pacs.objects() == []
        n.run("resume", "pacs")
        assert n.finished(study).state is State.DONE
        assert len(pacs.objects()) == 3


def test_a_cancelled_study_stops_soon_is_parked_and_comes_back_by_retry(phantom_study, tmp_path):
    other = tmp_path / "other"
    new_study_copy(phantom_study.folder, other, "other")
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        n.start("worker", HELD, str(tmp_path / "never"))
        n.work()  # what delivers, too
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: _is(n, study, State.ANALYZING), what="the analysis")
        wait_for(lambda: n.ledger.queries.revision(study).tiles_done, what="a tile")
        n.ledger.studies.cancel(study)
        wait_for(lambda: "slide_stopped" in n.log, what="the end of the analysis")
        parked = n.finished(study)
        assert parked.state is State.PARKED
        assert "cancelled by operator" in str(parked.reason)
        assert n.run("studies", "cancel", study).returncode == 1
        storescu(n.port, other)
        assert n.finished(study_of(other)).state is State.DONE
        assert n.run("retry", study).returncode == 0
        assert n.finished(study).state is State.DONE


def test_a_study_that_waits_for_its_files_can_be_cancelled(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with node(tmp_path / "node", 1, quiet_time_s=60) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        assert n.run("studies", "cancel", study).returncode == 0
        assert _is(n, study, State.PARKED)
        assert n.run("retry", study).returncode == 0
        assert _is(n, study, State.RECEIVING)


def test_check_names_studies_whose_results_a_pacs_lost_and_that_were_cancelled(tmp_path):
    with node(tmp_path / "node", free_port()) as n:
        delivered(n.ledger, "a")
        transaction = asked(n.ledger)
        n.ledger.studies.retry(STUDY)
        n.ledger.studies.cancel(STUDY)
        report(n.ledger, transaction, a="0112")
        told = json.loads(n.run("check", "--json").stdout)
    (finding,) = (f for f in told if "lost there" in f["says"])
    assert finding["warns"]
    assert finding["says"].endswith(f"which are {STUDY}")


class _Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_time_in_which_it_was_paused_is_not_time_in_which_it_could_go_on(where: Path | str) -> None:
    clock = _Clock()
    switches = Ledger.open(where, clock=clock).switches
    assert switches.going_since("pacs") < 0.0
    switches.pause("pacs")
    clock.at = 2000.0
    assert switches.going_since("pacs") == 2000.0
    switches.resume("pacs")
    clock.at = 3000.0
    assert switches.going_since("pacs") == 2000.0
    assert switches.going_since("pac") < 0.0


def test_no_study_is_given_up_for_late_while_intake_is_paused_and_for_as_long_after(
    where: Path | str, tmp_path: Path
) -> None:
    clock = _Clock()
    ledger = Ledger.open(where, clock=clock)
    received = ReceivedInstance("1.2.9", "1", STUDY, "1.2.8", "1", 1, "gone.dcm", "A", "p")
    ledger.arrivals.record(received)

    def state_at(at: float) -> State:
        clock.at = at
        close_ready(ledger, tmp_path, quiet_time_s=1.0, incomplete_after_s=600.0)
        found = ledger.queries.revision(STUDY)
        assert found is not None
        return found.state

    ledger.switches.pause("intake")
    assert state_at(5000.0) is State.RECEIVING
    ledger.switches.resume("intake")
    assert state_at(5599.0) is State.RECEIVING
    assert state_at(5601.0) is State.PARKED


@contextmanager
def _lanes(ledger: Ledger, folder: Path, port: int) -> Iterator[None]:
    stop = threading.Event()
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    config = Config.model_validate(
        {"node": {"ae_title": "DICOMNODE", "data_dir": folder}, "destinations": [pacs]}
    )
    lanes = Lanes(config, ledger, stop, draw=lambda: 0.5)
    lanes.start()
    try:
        yield
    finally:
        stop.set()
        assert lanes.join(20)


def test_a_delivery_is_not_given_up_for_the_days_its_destination_was_paused(tmp_path):
    clock = _Clock()
    ledger = Ledger.open(tmp_path / "node.sqlite", clock=clock)
    arrive(ledger, 1)
    build(ledger, analyze(ledger, 1), "a")
    (tmp_path / "a.dcm").write_bytes(b"")  # whatever it holds: nobody is there to take it
    with ledger.database.write() as db:
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        db.exec_driver_sql(f"UPDATE results SET sha256 = '{empty}'")
    ledger.switches.pause("pacs")
    clock.at += 4 * 86400.0
    ledger.switches.resume("pacs")
    with _lanes(ledger, tmp_path, free_port()):
        wait_for(lambda: of(ledger, "a").attempts, within_s=20, what="an attempt")
    assert of(ledger, "a").state is DeliveryState.PENDING


def test_a_paused_destination_is_asked_nothing(tmp_path):
    ledger = Ledger.open(tmp_path / "node.sqlite")
    delivered(ledger, "a")
    ledger.switches.pause("pacs")
    with storescp(tmp_path / "pacs") as pacs, _lanes(ledger, tmp_path, pacs.port):
        time.sleep(2)
        assert ledger.queries.destinations() == {}
        assert ledger.commitments.due("pacs", most=9, needs_commitment=False), "still to be proven"
        ledger.switches.resume("pacs")
        wait_for(ledger.queries.destinations, within_s=20, what="a question")


def _is(n, study: str, state: State) -> bool:
    revision = n.ledger.queries.revision(study)
    return revision is not None and revision.state is state
