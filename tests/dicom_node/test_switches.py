"""What an operator pauses for a night, resumes, or cancels."""

from __future__ import annotations

import json
import time
from pathlib import Path

from nodes import ROOT, node, storescp, storescu, study_of, wait_for

from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.states import State
from slides import new_study_copy

SLOW = str(ROOT / "tests" / "support" / "slow.py")


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
    new_study_copy(first, second, "second")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        worker = n.start("worker", SLOW)
        storescu(n.port, first)
        wait_for(lambda: _is(n, study_of(first), State.ANALYZING), what="the first analysis")
        storescu(n.port, second)
        wait_for(lambda: _is(n, study_of(second), State.QUEUED), what="the second in the queue")
        time.sleep(1)
        n.run("pause", "analysis")
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
        assert len(pacs.objects()) == 2


def test_a_cancelled_study_stops_soon_is_parked_and_comes_back_by_retry(phantom_study, tmp_path):
    other = tmp_path / "other"
    new_study_copy(phantom_study.folder, other, "other")
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        n.start("worker", SLOW)
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: _is(n, study, State.ANALYZING), what="the analysis")
        wait_for(lambda: n.ledger.queries.revision(study).tiles_done, what="a tile")
        n.ledger.studies.cancel(study)
        wait_for(lambda: "slide_stopped" in n.log, within_s=5, what="the end of the analysis")
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


def _is(n, study: str, state: State) -> bool:
    revision = n.ledger.queries.revision(study)
    return revision is not None and revision.state is state
