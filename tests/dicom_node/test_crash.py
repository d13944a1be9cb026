"""kill -9 at every step boundary and in the middle of each step: one result set, the same UIDs."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest
from bundles import write_sums
from crashing import EGRESS_POINTS, POINTS
from matrix import thinned
from nodes import ROOT, node, storescp, storescu, study_of, wait_for

from dicom_node.ledger.states import DeliveryState, State
from dicom_node.work.rounds import WORKFLOW_VERSION
from engines.bundle import open_bundle
from slides import new_study_copy

NTH = {
    "in analyze, after some tiles": 2,
    "between two deliveries": 2,
    "after the last delivery": 2,
    "in finish, recorded": 2,
}


@pytest.fixture(scope="module")
def undisturbed(phantom_study, tmp_path_factory):
    """The study, and SOP classes of the results of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = study_of(phantom_study.folder)
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        storescu(n.port, phantom_study.folder)
        n.finished(study)
        return study, sorted(o.SOPClassUID for o in pacs.objects())


@pytest.mark.parametrize("point", thinned([*POINTS, *EGRESS_POINTS], 2))
def test_after_kill_9_one_result_set_reaches_the_pacs_that_of_the_ledger(
    point, phantom_study, undisturbed, tmp_path
):
    study, classes = undisturbed
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        n.crash(point, NTH.get(point, 1))
        already_there = pacs.digests()
        n.work()
        assert n.finished(study).state is State.DONE
        received = pacs.digests()
        assert sorted(o.SOPClassUID for o in pacs.objects()) == classes
        assert already_there.items() <= received.items(), "an object changed after it was delivered"
        deliveries = n.ledger.queries.deliveries(study, 1)
        assert {d.state for d in deliveries} == {DeliveryState.DELIVERED}
        made = {r.sop_instance_uid for r in n.ledger.queries.results(study, 1)}
        assert set(received) == made


def test_a_study_that_kills_the_worker_again_and_again_is_parked_and_the_next_one_runs(
    phantom_study, tmp_path
):
    other = tmp_path / "other"
    new_study_copy(phantom_study.folder, other, "other")
    study, healthy = (study_of(folder) for folder in (phantom_study.folder, other))
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="most_crashes = 1") as n,
    ):
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        for _ in range(2):
            n.crash("in analyze, before the prediction is written")
        storescu(n.port, other)
        n.work()
        parked = n.finished(study)
        assert parked.state is State.PARKED
        assert "the worker died 2 times" in parked.reason
        assert n.finished(healthy).state is State.DONE
        assert {str(o.StudyInstanceUID) for o in pacs.objects()} == {healthy}


def test_a_study_whose_counting_kills_the_worker_is_parked_and_no_other_is_blamed(
    phantom_study, tmp_path
):
    """As a disk does whose page cannot be read, or a decoder: no exception is ever seen."""
    folder = tmp_path / "deadly"
    new_study_copy(phantom_study.folder, folder, "deadly")
    deadly, sound = study_of(folder), study_of(phantom_study.folder)
    dying = str(ROOT / "tests" / "support" / "dying.py")
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="most_crashes = 2") as n,
    ):
        n.start("ingest")
        n.start("egress")
        storescu(n.port, phantom_study.folder)
        worker = n.start("worker", dying, deadly)
        wait_for(lambda: n.ledger.queries.revision(sound).tiles_done > 0, what="some tiles")
        storescu(n.port, folder)
        for _ in range(3):
            assert worker.wait(60) == -signal.SIGSEGV
            worker = n.start("worker", dying, deadly)
        parked = n.finished(deadly)
        assert parked.state is State.PARKED
        assert parked.reason == "the worker died 3 times while counting it"
        over = n.finished(sound)
        assert over.state is State.DONE
        assert n.ledger.queries.events(sound)[-1].kind == "study_done"
        assert "study_interrupted" not in [e.kind for e in n.ledger.queries.events(sound)]
        assert worker.poll() is None
        n.run("retry", deadly)  # which is counted anew, not parked for what was before
        assert worker.wait(60) == -signal.SIGSEGV
        assert n.ledger.queries.revision(deadly).state is State.RECEIVING


OLD_ANSWER = {"slides": ["a"]}
"""Of `open_slides`, as versions before 3 recorded it."""


@pytest.mark.parametrize(
    ("version", "status", "failures"),
    [("2", "PENDING", 0), ("2", "ENQUEUED", 0), (WORKFLOW_VERSION, "PENDING", 1)],
)
def test_an_attempt_with_the_answers_of_an_old_version_is_begun_anew_and_finished(
    version, status, failures, phantom_study, tmp_path
):
    """An update costs the study no retry; old answers under this version's name would cost one."""
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        n.crash("between open_slides and analyze")
        with closing(sqlite3.connect(n.folder / "node-data" / "node.sqlite")) as db, db:
            values = (version, status, f"{study}/1/1")
            of_workflow = "application_version = ?, status = ? WHERE workflow_uuid = ?"
            assert db.execute(f"UPDATE workflow_status SET {of_workflow}", values).rowcount == 1
            old = (json.dumps(OLD_ANSWER), f"{study}/1/1")
            of_step = "output = ? WHERE workflow_uuid = ?"
            assert db.execute(f"UPDATE operation_outputs SET {of_step}", old).rowcount == 1
        n.work()
        revision = n.finished(study)
        assert (revision.state, revision.attempt, revision.failures) == (State.DONE, 2, failures)
        assert ("study_begun_anew" in n.log) == (failures == 0)
        assert len(pacs.objects()) == 3


def test_a_bundle_that_a_restart_changed_does_not_sign_what_another_one_computed(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        bundle = n.folder / "student"
        shutil.copytree(open_bundle("default").root, bundle)
        n.config.write_text(n.config.read_text() + '[model]\nbundle = "./student"\n')
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        n.crash("between analyze and build")
        (bundle / "card.md").write_text("another student")
        write_sums(bundle)
        n.work()
        revision = n.finished(study)
        assert revision.state is State.DONE
        assert revision.attempt == 2
        reasons = [e.fields for e in n.ledger.queries.events(study) if e.kind == "attempt_failed"]
        assert "changed during the analysis" in reasons[0]["reason"]
        assert revision.bundle_digest == open_bundle(bundle).digest
        report = next(o for o in pacs.objects() if o.Modality == "SR")
        assert open_bundle(bundle).digest in report.to_json()


def test_a_stop_in_the_middle_of_a_slide_exits_0_soon_and_the_next_start_goes_on_there(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        held = str(ROOT / "tests" / "support" / "held.py")
        n.start("worker", held, str(tmp_path / "never"))
        wait_for(lambda: n.ledger.queries.revision(study).tiles_done > 0, what="some tiles")
        assert n.stop() == 0
        assert "slide_paused" in n.log
        assert n.ledger.queries.revision(study).state is State.ANALYZING
        n.work()
        assert n.finished(study).state is State.DONE
        (resumed,) = [line for line in n.log.splitlines() if "slide_resumed" in line]
        assert json.loads(resumed)["tiles_kept"] > 0
        assert not list(n.config.parent.rglob("tiles-*"))
        crashes = [
            e.fields for e in n.ledger.queries.events(study) if e.kind == "study_interrupted"
        ]
        assert crashes == [], "an orderly stop"


def test_a_second_worker_waits_until_the_first_is_gone(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        first = n.start("worker")
        wait_for(lambda: "model_ready" in n.log, what="the first worker")
        n.start("worker")
        wait_for(lambda: "waiting_for_lock" in n.log, what="the second worker to see it")
        first.terminate()
        assert first.wait(30) == 0
        wait_for(lambda: n.log.count("model_ready") == 2, what="the second worker to begin")
