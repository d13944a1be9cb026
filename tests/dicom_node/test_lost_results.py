"""Results that a PACS took and does not have any more, whatever became of the study meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from lost_results import (
    STUDY,
    analyze,
    arrive,
    asked,
    build,
    deliver,
    delivered,
    due,
    of,
    report,
    stand,
)

from dicom_node.ledger.commitments import Receipt
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import DeliveryState, Proof, State


@pytest.fixture
def ledger(where: Path | str) -> Ledger:
    return Ledger.open(where)


def test_what_was_lost_while_a_late_slide_waits_is_sent_again(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    arrive(ledger, 2)
    report(ledger, transaction, a="0112")
    assert due(ledger) == [("a", 1)]
    second = analyze(ledger, 2)
    build(ledger, second, "a", "b")
    assert due(ledger) == [("a", 2), ("b", 2)]
    deliver(ledger, second, "a", "b")
    assert stand(ledger) == ["superseded", "done"]


def test_what_was_lost_is_sent_again_though_the_newer_revision_has_no_results(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    arrive(ledger, 2)
    second = analyze(ledger, 2)
    report(ledger, transaction, a="0112")
    ledger.studies.park(second, "for a person")
    assert due(ledger) == [("a", 1)]
    deliver(ledger, Run(STUDY, 1, 1), "a")
    assert stand(ledger) == ["done", "parked"]


def test_what_was_lost_after_a_newer_revision_was_parked_is_sent_again(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    arrive(ledger, 2)
    ledger.studies.park(analyze(ledger, 2), "for a person")
    report(ledger, transaction, a="0112")
    assert due(ledger) == [("a", 1)]


def test_a_revision_that_was_superseded_sends_again_what_stands_and_is_not_parked(ledger):
    """Parked for its trouble, then superseded by a late slide that came to nothing."""
    delivered(ledger, "a", trouble="one slide is empty")
    transaction = asked(ledger)
    arrive(ledger, 2)
    assert stand(ledger) == ["superseded", "receiving"]
    report(ledger, transaction, a="0112")
    assert due(ledger) == [("a", 1)]
    deliver(ledger, Run(STUDY, 1, 1), "a")
    assert stand(ledger) == ["superseded", "receiving"]


def test_a_retry_that_fails_does_not_keep_what_was_lost_meanwhile(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    ledger.studies.retry(STUDY)
    again = analyze(ledger, 1)
    report(ledger, transaction, a="0112")
    assert due(ledger) == []
    ledger.studies.park(again, "it failed")
    assert due(ledger) == [("a", 1)]
    deliver(ledger, again, "a")
    last = ledger.queries.revision(STUDY)
    assert last is not None
    assert (last.state, last.reason) == (State.PARKED, "it failed"), "a person still has to look"


def test_a_revision_that_was_tried_too_late_does_not_keep_what_was_lost(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    ledger.studies.retry(STUDY)
    again = analyze(ledger, 1)
    report(ledger, transaction, a="0112")
    arrive(ledger, 2)
    ledger.studies.try_later(again, "out of memory", 1.0)
    assert due(ledger) == [("a", 1)]


def test_a_build_sends_what_an_earlier_version_left_lost(ledger):
    delivered(ledger, "a")
    arrive(ledger, 2)
    with ledger.database.write() as db:
        db.exec_driver_sql("UPDATE deliveries SET proof = 'lost'")
    build(ledger, analyze(ledger, 2), "a")
    assert due(ledger) == [("a", 2)]


def test_what_was_replaced_is_lost_and_not_sent_again(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    arrive(ledger, 2)
    second = analyze(ledger, 2)
    build(ledger, second, "b")
    deliver(ledger, second, "b")
    report(ledger, transaction, a="0112")
    assert of(ledger, "a").proof is Proof.LOST
    assert (due(ledger), ledger.queries.lost()) == ([], {})
    assert ledger.queries.unproven() == {"pacs": 1}, "b only"


def test_what_a_retry_made_others_in_the_place_of_is_lost_and_not_sent_again(ledger):
    delivered(ledger, "a", "b")
    transaction = asked(ledger)
    ledger.studies.retry(STUDY)
    again = analyze(ledger, 1)
    build(ledger, again, "a", "c")
    deliver(ledger, again, "a", "c")
    report(ledger, transaction, b="0112")
    assert (of(ledger, "b").proof, due(ledger)) == (Proof.LOST, [])
    made = {r.sop_instance_uid: r.replaced for r in ledger.queries.results(STUDY, 1)}
    assert made == {"a": False, "b": True, "c": False}


def test_a_revision_without_objects_replaces_none(ledger):
    arrive(ledger, 1)
    build(ledger, analyze(ledger, 1), "a")
    arrive(ledger, 2)
    build(ledger, analyze(ledger, 2), trouble="no slide could be reported on")
    assert due(ledger) == [("a", 1)]


@pytest.mark.parametrize(("reason", "state", "proof"), [
    ("0112", DeliveryState.DELIVERED, Proof.LOST),
    ("0122", DeliveryState.REFUSED, None),
])  # fmt: skip
def test_a_study_that_was_cancelled_sends_nothing_when_an_object_is_lost(
    reason, state, proof, ledger
):
    arrive(ledger, 1)
    run = analyze(ledger, 1)
    build(ledger, run, "a", "b")
    deliver(ledger, run, "a")
    transaction = asked(ledger)
    ledger.studies.cancel(STUDY)
    report(ledger, transaction, a=reason)
    assert (of(ledger, "a").state, of(ledger, "a").proof) == (state, proof)
    assert (due(ledger), stand(ledger)) == ([], ["parked"])


def test_a_cancelled_study_that_is_tried_again_sends_what_it_lost(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    ledger.studies.retry(STUDY)
    ledger.studies.cancel(STUDY)
    report(ledger, transaction, a="0112")
    assert ledger.queries.lost() == {"pacs": {STUDY: 1}}
    assert ledger.queries.unproven() == {"pacs": 1}
    (told,) = [e for e in ledger.queries.events(STUDY) if e.kind == "result_lost"]
    assert told.fields["reason"] == "not sent again: the study was cancelled"
    ledger.studies.retry(STUDY)
    ledger.studies.park(analyze(ledger, 1), "it failed")
    assert due(ledger) == [("a", 1)]


def test_a_study_that_is_sent_again_is_not_parked_for_what_is_over(ledger):
    arrive(ledger, 1)
    run = analyze(ledger, 1)
    build(ledger, run, "a")
    deliver(ledger, run, "a")
    transaction = asked(ledger)
    with ledger.database.write() as db:  # as a round that failed for once had parked it
        db.exec_driver_sql("UPDATE revisions SET state = 'parked', reason = 'unexpected'")
    report(ledger, transaction, a="0112")
    deliver(ledger, run, "a")
    last = ledger.queries.revision(STUDY)
    assert last is not None
    assert (last.state, last.reason) == (State.DONE, None)


def test_what_the_build_noted_for_a_person_still_parks_a_study_that_is_sent_again(ledger):
    run = delivered(ledger, "a", trouble="one slide is empty")
    transaction = asked(ledger)
    report(ledger, transaction, a="0112")
    deliver(ledger, run, "a")
    last = ledger.queries.revision(STUDY)
    assert last is not None
    assert (last.state, last.reason) == (State.PARKED, "one slide is empty")


def test_what_was_lost_and_has_no_file_any_more_is_told_and_not_sent(ledger):
    delivered(ledger, "a")
    transaction = asked(ledger)
    with ledger.database.write() as db:
        db.exec_driver_sql("UPDATE results SET purged_at = 1")
    report(ledger, transaction, a="0112")
    assert (due(ledger), stand(ledger)) == ([], ["done"])
    assert ledger.queries.lost() == {"pacs": {STUDY: 1}}
    (told,) = [e for e in ledger.queries.events(STUDY) if e.kind == "result_lost"]
    assert "its file was removed" in told.fields["reason"]


def test_a_removed_file_that_a_retry_could_not_write_again_stays_removed_and_is_not_sent(ledger):
    delivered(ledger, "a")
    with ledger.database.write() as db:
        db.exec_driver_sql("UPDATE results SET purged_at = 1")
    ledger.studies.retry(STUDY)
    again = analyze(ledger, 1)
    kept = ledger.queries.kept_result("a", again)
    assert kept is not None
    assert ledger.deliveries.start(again, [kept], ["pacs"])
    assert [r.purged_at for r in ledger.queries.results(STUDY, 1)] == [1.0]
    assert (due(ledger), of(ledger, "a").state) == ([], DeliveryState.DELIVERED)


def test_nobody_is_asked_for_proof_of_what_has_no_file_any_more(ledger):
    delivered(ledger, "a")
    with ledger.database.write() as db:
        db.exec_driver_sql("UPDATE results SET purged_at = 1")
    assert ledger.commitments.due("pacs", most=9, needs_commitment=True) == []


@pytest.mark.parametrize("reason", ["0112", "0119", "0122"])
def test_a_report_that_comes_while_a_study_is_finished_is_not_lost(reason, where):
    """It comes after the deliveries were looked at, and before the study is moved."""
    ledger, other = Ledger.open(where), Ledger.open(where)
    arrive(ledger, 1)
    run = analyze(ledger, 1)
    build(ledger, run, "a")
    ledger.deliveries.record("a", "pacs", DeliveryState.DELIVERED, status="0000", error=None)
    transaction = asked(ledger)
    has_come = threading.Event()

    def come(*_: object) -> None:
        if not has_come.is_set():
            has_come.set()
            thread = threading.Thread(
                target=report, args=(other, transaction), kwargs={"a": reason}
            )
            thread.start()
            thread.join(20)

    first_write = "BEGIN IMMEDIATE" if not ledger.database.is_shared else "INSERT INTO studies"

    @sa.event.listens_for(ledger.database.engine, "before_cursor_execute")
    def between(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(first_write):
            come()

    ledger.deliveries.finish(run)
    assert has_come.is_set()
    ledger.deliveries.finish(run)
    wanted = ["delivering"] if reason == "0112" else ["parked"]
    assert stand(ledger) == wanted


@pytest.mark.parametrize("ended", ["erased", "lost"])
def test_a_late_report_on_a_study_that_is_no_more_proves_nothing_of_one_that_came_again(
    where, tmp_path, ended
):
    """The same objects under the same UIDs, each time asked for the first time."""
    ledger = Ledger.open(where)
    delivered(ledger, "a")
    before = asked(ledger)
    if ended == "erased":
        assert ledger.endings.erase(STUDY, list)
    else:
        ledger = Ledger.open(tmp_path / "made after the other was lost")
    delivered(ledger, "a")
    now = asked(ledger)
    assert ledger.commitments.report(before, ["pacs"], ["a"], {}) is Receipt.UNKNOWN
    assert of(ledger, "a").proof is Proof.ASKED
    assert ledger.commitments.report(now, ["pacs"], ["a"], {}) is Receipt.RECORDED
    assert of(ledger, "a").proof is Proof.COMMITTED
