"""What the ledger keeps of models: what attempts ran, who is live, and results that go nowhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.commands.screen.models import shares
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.keeping.facts import facts_of
from dicom_node.ledger.keeping.rules import Policy, Sent, StudyFacts, inputs, results
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ModelRun, ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, Proof, State

STUDY = "1.2"
RUN_BEFORE, RUN = Run(STUDY, 1, 0), Run(STUDY, 1, 1)
LUNG = ModelRun("lung", "a" * 64, "openvino", "fp32", silent=False)
TRIED = ModelRun("tried", "b" * 64, "openvino", "int8", silent=True)
POLICY = Policy(0.0, 0.0, 0.0, 0.0, source_holds_slides=True, require_commitment=False)
KEEPS = replace(POLICY, results_s=100.0)


@pytest.fixture
def ledger(where: Path | str) -> Ledger:
    """With a study that is queued."""
    made = Ledger.open(where)
    made.arrivals.record(ReceivedInstance("1.3", "1", STUDY, "1.8", "1", 1, "a.dcm", "A", "p"))
    assert made.studies.close(RUN_BEFORE, Evidence(1))
    return made


def result(uid: str, model: str, *, silent: bool) -> Result:
    return Result(uid, "1", "report", "s", f"{uid}.dcm", "x", model=model, silent=silent)


def test_an_attempt_keeps_what_it_was_begun_with_and_what_each_model_took(ledger: Ledger) -> None:
    assert ledger.studies.start_analysis(RUN, "both", "d" * 64, [LUNG, TRIED])
    ledger.analyses.note_work(RUN, "lung", 1.5)
    ledger.analyses.note_work(RUN, "lung", 0.5)
    ledger.analyses.note_work(RUN, "", 9.0)
    assert [(m.model, m.worked_s) for m in ledger.queries.models(RUN)] == [
        ("lung", 2.0), ("tried", 0.0),
    ]  # fmt: skip
    assert ledger.queries.bundle_digests(STUDY) >= {LUNG.bundle_digest, TRIED.bundle_digest}
    # Nobody has noted that it was begun: it is begun with what is configured now.
    assert ledger.studies.start_analysis(RUN, "one", "e" * 64, [LUNG])
    assert [m.model for m in ledger.queries.models(RUN)] == ["lung"]
    assert ledger.studies.try_later(RUN, "again", 0.0)
    again = Run(STUDY, 1, 2)
    assert not ledger.studies.start_analysis(RUN, "one", "f" * 64, [TRIED])
    assert ledger.studies.start_analysis(again, "one", "f" * 64, [TRIED])
    assert [m.model for m in ledger.queries.models(RUN)] == ["lung"]
    assert [m.model for m in ledger.queries.models(again)] == ["tried"]


def test_silent_results_are_kept_and_have_no_deliveries_and_stand_in_nobodys_place(
    ledger: Ledger,
) -> None:
    ledger.studies.start_analysis(RUN, "both", "d" * 64, [LUNG, TRIED])
    made = [result("2.1", "lung", silent=False), result("2.2", "tried", silent=True)]
    assert ledger.deliveries.start(RUN, made, ["pacs"])
    assert ledger.deliveries.start(RUN, made, ["pacs"])
    assert [d.sop_instance_uid for d in ledger.queries.deliveries(STUDY, 1)] == ["2.1"]
    assert [(r.model, r.silent) for r in ledger.queries.results(STUDY, 1)] == [
        ("lung", False), ("tried", True),
    ]  # fmt: skip
    # What was live and is silent now is not sent any more.
    hushed = [result("2.1", "lung", silent=True)]
    assert ledger.deliveries.start(RUN, hushed, ["pacs"])
    assert ledger.queries.deliveries(STUDY, 1) == []


def test_a_study_that_was_analyzed_silently_waits_for_no_proof(ledger: Ledger) -> None:
    ledger.studies.start_analysis(RUN, "one", "b" * 64, [TRIED])
    assert ledger.deliveries.start(RUN, [result("2.2", "tried", silent=True)], ["pacs"])
    assert ledger.deliveries.finish(RUN) is State.DONE
    with ledger.database.read() as db:
        facts = facts_of(db, STUDY)
    assert facts is not None
    now = ledger.database.now()
    assert inputs(facts, POLICY, now + 10).may_go
    assert results(facts, KEEPS, now + 101, pressed=True).may_go
    assert not results(facts, KEEPS, now + 99, pressed=True).may_go, "nobody else has them"


def test_a_study_to_which_no_silent_model_applied_waits_for_no_proof(ledger: Ledger) -> None:
    ledger.studies.start_analysis(RUN, "one", "b" * 64, [TRIED])
    assert ledger.deliveries.start(RUN, [], ["pacs"])
    assert ledger.deliveries.finish(RUN) is State.DONE
    with ledger.database.read() as db:
        facts = facts_of(db, STUDY)
    assert facts is not None
    assert inputs(facts, POLICY, ledger.database.now() + 10).may_go


def test_a_revision_without_results_of_live_models_is_no_silent_one(ledger: Ledger) -> None:
    ledger.studies.start_analysis(RUN, "two", "b" * 64, [LUNG, TRIED])
    assert ledger.deliveries.start(RUN, [], ["pacs"])
    assert ledger.deliveries.finish(RUN) is State.DONE
    with ledger.database.read() as db:
        facts = facts_of(db, STUDY)
    assert facts is not None
    assert not inputs(facts, POLICY, ledger.database.now() + 10).may_go


def test_a_silent_revision_rests_on_the_proof_of_the_live_one_before_it() -> None:
    live = Sent(1, "pacs", DeliveryState.DELIVERED, Proof.COMMITTED, 0.0)
    done = (State.DONE, State.DONE)
    facts = StudyFacts("1.2", done, 0.0, 0.0, frozenset({1}), (live,), None, False,
                       silent=frozenset({2}), hushed=frozenset({2}))  # fmt: skip
    assert inputs(facts, POLICY, 1e9).may_go
    lost = replace(live, proof=Proof.LOST)
    needs = replace(POLICY, require_commitment=True)
    assert not inputs(replace(facts, sent=(lost,)), needs, 1e9).may_go


def test_a_full_disk_leaves_what_a_candidate_found_beside_a_live_model() -> None:
    live = Sent(1, "pacs", DeliveryState.DELIVERED, Proof.COMMITTED, 0.0)
    facts = StudyFacts("1.2", (State.DONE,), 0.0, 0.0, frozenset({1}), (live,), None, False,
                       silent=frozenset({1}))  # fmt: skip
    assert not results(facts, KEEPS, 99, pressed=True).may_go
    assert results(facts, KEEPS, 101, pressed=True).may_go
    assert results(replace(facts, silent=frozenset()), KEEPS, 99, pressed=True).may_go


def test_who_goes_live_is_an_event_once_and_each_node_has_its_own(where: Path | str) -> None:
    ledger, other = Ledger.open(where, owner="one"), Ledger.open(where, owner="two")

    def told() -> list[tuple[str, str, str | None]]:
        return [(e.kind, e.fields["node"], e.fields.get("was")) for e in ledger.queries.events()]

    silent, live = {"mode": "silent", "bundle": "m 1"}, {"mode": "live", "bundle": "m 1"}
    ledger.analyses.note_modes({})
    assert told() == []
    for modes in (silent, silent, live, live):
        ledger.analyses.note_modes({"m": modes})
    assert told() == [("model_silent", "one", None), ("model_live", "one", "silent")]
    ledger.analyses.note_modes({"m": {"mode": "live", "bundle": "m 2"}})
    other.analyses.note_modes({"m": live})
    ledger.analyses.note_modes({})
    ledger.analyses.note_modes({})
    assert told()[2:] == [
        ("model_live", "one", None), ("model_live", "two", None), ("model_removed", "one", "live"),
    ]  # fmt: skip


def test_shares_are_of_all_that_slides_took() -> None:
    assert shares({"a": 1.0}) == shares({}) == shares({"a": 0.0, "b": 0.0}) == ""
    assert shares({"a": 1.0, "b": 3.0}) == "b 75% (3.0 s), a 25% (1.0 s)"
