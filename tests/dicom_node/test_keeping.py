"""What is removed and what stays: rules, removal, resends, holds, erasure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from histories import run as run_histories
from nodes import Node, node, storescp, storescu, study_of, wait_for

from dicom_node.ledger.keeping import discards, rules
from dicom_node.ledger.keeping.rules import Policy, Sent, StudyFacts
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import DeliveryState, Proof, State

DAY_S = 86400.0
POLICY = Policy(
    7 * DAY_S, 30 * DAY_S, 30 * DAY_S, 3650 * DAY_S, True, True,
    believed=frozenset({"viewer"}), commits_only=frozenset({"archive"}),
)  # fmt: skip
NOW = 1e9
SENT = Sent(1, "pacs", DeliveryState.DELIVERED, Proof.COMMITTED, NOW - 8 * DAY_S)
PROVEN = StudyFacts(
    "1.2", (State.DONE,), NOW - 8 * DAY_S, NOW - 9 * DAY_S, frozenset({1}), (SENT,), None, False
)


def sent(**values) -> StudyFacts:
    return replace(PROVEN, sent=(replace(SENT, **values),))


def test_inputs_of_a_proven_study_go_after_their_days_and_results_later():
    assert rules.inputs(PROVEN, POLICY, NOW).may_go
    assert not rules.inputs(PROVEN, POLICY, NOW - 2 * DAY_S).may_go
    assert not rules.results(PROVEN, POLICY, NOW).may_go
    assert rules.results(PROVEN, POLICY, NOW + 23 * DAY_S).may_go


STAYS = {
    "not on the source": (PROVEN, replace(POLICY, source_holds_slides=False)),
    "on hold": (replace(PROVEN, is_on_hold=True), POLICY),
    "nobody asked": (sent(proof=None), POLICY),
    "awaiting a report": (sent(proof=Proof.ASKED), POLICY),
    "lost": (sent(proof=Proof.LOST), POLICY),
    "refused": (sent(state=DeliveryState.REFUSED), POLICY),
    "pending": (sent(state=DeliveryState.PENDING), POLICY),
    "only found where commitment is required": (
        sent(destination="archive", proof=Proof.FOUND),
        POLICY,
    ),
    "only believed": (sent(destination="viewer", proof=None), POLICY),
    "no results": (replace(PROVEN, made=frozenset(), sent=()), POLICY),
    "sent to nobody": (replace(PROVEN, sent=()), POLICY),
    "a later revision under way": (replace(PROVEN, states=(State.DONE, State.RECEIVING)), POLICY),
    "a later revision without results": (replace(PROVEN, states=(State.DONE, State.DONE)), POLICY),
}


@pytest.mark.parametrize("why", STAYS)
def test_nothing_unproven_goes_however_old_and_however_full_the_disk(why):
    facts, policy = STAYS[why]
    assert not rules.inputs(facts, policy, NOW + 9999 * DAY_S, pressed=True).may_go


def test_a_full_disk_replaces_age_and_nothing_else():
    young = replace(PROVEN, finished_at=NOW)
    assert not rules.inputs(young, POLICY, NOW).may_go
    assert rules.inputs(young, POLICY, NOW, pressed=True).may_go
    parked = replace(PROVEN, states=(State.PARKED,), finished_at=NOW, made=frozenset(), sent=())
    assert not rules.inputs(parked, POLICY, NOW, pressed=True).may_go
    assert rules.inputs(parked, POLICY, NOW + 30 * DAY_S).may_go


def test_what_came_back_after_its_removal_is_left_on_a_full_disk_for_an_hour():
    back = replace(PROVEN, is_purged=True, last_received_at=NOW)
    assert not rules.inputs(back, POLICY, NOW + 3599, pressed=True).may_go
    assert rules.inputs(back, POLICY, NOW + 3600, pressed=True).may_go
    assert rules.inputs(replace(back, is_purged=False), POLICY, NOW, pressed=True).may_go
    assert rules.inputs(back, replace(POLICY, inputs_s=0.0), NOW).may_go


def test_what_the_source_was_seen_to_hold_is_believed_for_a_day():
    policy = replace(POLICY, source_holds_slides=False)
    assert rules.inputs(replace(PROVEN, held_at=NOW - DAY_S), policy, NOW).may_go
    assert not rules.inputs(replace(PROVEN, held_at=NOW - 2 * DAY_S), policy, NOW).may_go


def test_without_the_wish_for_proof_the_answer_to_c_store_is_enough():
    relaxed = replace(POLICY, require_commitment=False)
    assert rules.inputs(sent(proof=None), relaxed, NOW).may_go
    assert not rules.inputs(sent(state=DeliveryState.PENDING), relaxed, NOW).may_go


def test_results_that_a_parked_revision_left_in_place_have_to_be_proven_too():
    later = NOW + 30 * DAY_S
    parked = replace(PROVEN, states=(State.DONE, State.PARKED), finished_at=NOW - 31 * DAY_S)
    unproven = replace(parked, sent=(replace(SENT, proof=None),))
    assert rules.inputs(parked, POLICY, later).may_go
    assert rules.results(parked, POLICY, later).may_go
    assert not rules.inputs(unproven, POLICY, later).may_go
    assert not rules.results(unproven, POLICY, later).may_go
    refused = replace(parked, sent=(replace(SENT, state=DeliveryState.REFUSED),))
    assert not rules.results(refused, POLICY, later).may_go


def test_a_resend_to_a_parked_study_stays_as_long_as_a_parked_study_does():
    parked = replace(PROVEN, states=(State.PARKED,), finished_at=NOW - 31 * DAY_S,
                     made=frozenset(), sent=(), last_received_at=NOW)  # fmt: skip
    assert not rules.inputs(parked, POLICY, NOW + DAY_S).may_go
    assert rules.inputs(parked, POLICY, NOW + 30 * DAY_S).may_go


def test_time_in_which_nobody_looked_makes_nothing_older_by_more_than_a_day():
    proven_now = replace(sent(proven_at=NOW), finished_at=NOW)
    later = NOW + 400 * DAY_S
    assert rules.inputs(proven_now, POLICY, later).may_go
    unseen = replace(proven_now, unseen=((NOW, later),))
    assert not rules.inputs(unseen, POLICY, later).may_go
    assert not rules.inputs(unseen, POLICY, later + 5.9 * DAY_S).may_go
    assert rules.inputs(unseen, POLICY, later + 6 * DAY_S).may_go
    still = replace(proven_now, unseen=((NOW, float("inf")),))
    assert not rules.inputs(still, POLICY, later).may_go


def test_what_a_source_will_be_seen_to_hold_tells_nothing():
    policy = replace(POLICY, source_holds_slides=False)
    assert not rules.inputs(replace(PROVEN, held_at=NOW + DAY_S), policy, NOW).may_go


def test_a_thumbnail_of_which_nothing_was_ever_proven_does_not_go_with_the_rows():
    policy = replace(POLICY, source_holds_slides=False)
    old = NOW + 9999 * DAY_S
    assert not rules.rows(PROVEN, policy, old).may_go
    assert rules.rows(replace(PROVEN, is_purged=True), policy, old).may_go
    assert rules.rows(PROVEN, POLICY, old).may_go


MUTANTS = {
    "no proof is asked for": (rules, "_unproven", lambda *_: ""),
    "the source is believed": (rules, "_source_holds", lambda *_: True),
    "everything is old enough": (rules, "_age_s", lambda *_: 1e12),
    "a hold is forgotten": (rules, "_never", lambda *_: ""),
    "what is used again is removed": (discards, "_is_used", lambda *_: False),
    "what is not used is left": (discards, "_is_used", lambda *_: True),
    "a clock is believed": (rules, "_age_s", lambda _facts, since, now: now - since),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_random_histories_find_a_product_in_which(mutant, tmp_path, monkeypatch):
    monkeypatch.setattr(*MUTANTS[mutant])
    wrong, _ = run_histories(tmp_path, histories=40, seed=11, stops=True)
    assert wrong


@pytest.mark.timeout(300)
def test_no_unproven_file_goes_in_random_histories(tmp_path):
    wrong, removed = run_histories(tmp_path, histories=24, seed=11)
    assert wrong == []
    assert removed.total() > 0


RETENTION = """
[retention]
inputs_days = 0
results_days = 0
source_holds_slides = true
require_commitment = false
free_target_percent = 0
"""


def spool_files(n: Node) -> list[Path]:
    return sorted((n.folder / "node-data" / "spool").glob("[0-9a-f][0-9a-f]/*.dcm"))


@contextmanager
def stopped_after(folder: Path, tmp_path: Path) -> Iterator[Node]:
    """A node that has finished a study and stopped; its rules let all of it go."""
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.config.write_text(n.config.read_text() + RETENTION)
        n.start()
        storescu(n.port, folder)
        n.finished(study_of(folder))
        assert n.stop() == 0
        yield n


def test_what_could_not_be_removed_is_not_called_gone(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with stopped_after(phantom_study.folder, tmp_path) as n:
        received = max(spool_files(n), key=lambda path: path.stat().st_size)
        received.unlink()
        (received / "in the way").mkdir(parents=True)
        told = n.run("purge")
        assert told.returncode == 1
        assert f"failed   inputs   {study}" in told.stdout
        assert f"gone     results  {study}" in told.stdout


def test_a_purged_study_is_told_of_and_a_resend_is_taken_without_a_rerun(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with stopped_after(phantom_study.folder, tmp_path) as n:
        before = spool_files(n)
        plan = n.run("purge", "--dry-run")
        assert f"would go inputs   {study}" in plan.stdout
        assert spool_files(n) == before
        assert n.run("purge").returncode == 0
        left = {i.path for i in n.ledger.retention.inputs(study)}
        assert {
            str(p.relative_to(n.folder / "node-data" / "spool")) for p in spool_files(n)
        } == left
        assert len(left) < len(before)
        results = n.folder / "node-data" / "results"
        assert list(results.rglob("prediction-*.npz")), "the map is kept"
        assert not list(results.rglob("*.dcm"))
        told = n.run("studies", "show", study).stdout
        assert "Removed" in told
        assert "inputs_purged" in told
        refused = n.run("retry", study)
        assert refused.returncode == 1
        assert "send it once more" in refused.stderr

        n.config.write_text(n.config.read_text().replace("inputs_days = 0", "inputs_days = 7"))
        n.start()
        assert storescu(n.port, phantom_study.folder).returncode == 0
        assert len(spool_files(n)) == len(before)
        (revision,) = n.ledger.queries.of_study(study)
        assert (revision.state, revision.attempt) == (State.DONE, 1)
        assert n.run("retry", study).returncode == 0
        wait_for(lambda: n.ledger.queries.revision(study).attempt == 2, what="a second attempt")
        assert n.finished(study).state is State.DONE


def test_an_instance_with_other_content_under_a_purged_uid_is_refused(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        with n.ledger.database.write() as db:
            db.exec_driver_sql("UPDATE instances SET purged_at = 1, sha256 = 'other'")
        for path in spool_files(n):
            path.unlink()
        assert "0x111" in storescu(n.port, phantom_study.folder).stderr
        assert all(i.purged_at for i in n.ledger.queries.instances(study, 1))


@pytest.fixture
def stopped(phantom_study, tmp_path):
    """A node that has received a study, and parked it."""
    with node(tmp_path / "node", 1) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        n.stop()
        study = study_of(phantom_study.folder)
        n.ledger.studies.park(Run(study, 1, 0), "x")
        with n.ledger.database.write() as db:
            db.exec_driver_sql("UPDATE revisions SET state = 'parked', finished_at = 5")
        yield n, study


def patient_of(folder: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(min(folder.glob("*.dcm")), stop_before_pixels=True).PatientID)


def test_erase_gives_up_every_file_and_row_of_a_patient_and_says_that_it_did(
    stopped, phantom_study
):
    n, study = stopped
    patient = patient_of(phantom_study.folder)
    assert "would be erased" in n.run("erase", patient).stdout
    assert spool_files(n)
    assert n.run("hold", study, "--reason", "inquest").returncode == 0
    on_hold = n.run("erase", patient, "--yes")
    assert on_hold.returncode == 1
    assert "on hold" in on_hold.stderr
    assert n.run("hold", study, "--release").returncode == 0
    assert n.run("erase", patient, "--yes").returncode == 0
    assert spool_files(n) == []
    assert n.ledger.queries.of_study(study) == []
    (event,) = n.ledger.queries.events(study)
    assert event.kind == "study_erased"
    assert patient not in (n.folder / "node-data" / "node.sqlite").read_bytes().decode("latin-1")


def test_erase_tells_of_a_file_of_the_patient_that_has_no_row(stopped, phantom_study):
    n, _study = stopped
    aside = n.folder / "node-data" / "spool" / "lost+found"
    aside.mkdir(exist_ok=True)
    shutil.copy(spool_files(n)[0], aside / "one.dcm")
    (aside / "other.dcm").write_bytes(b"no DICOM")
    said = n.run("erase", patient_of(phantom_study.folder), "--yes")
    assert said.returncode == 1
    mine, strange = sorted(line for line in said.stderr.splitlines() if ".dcm: " in line)
    assert "one.dcm: is of this patient and has no row: remove it, or " in mine
    assert "other.dcm: cannot be read" in strange


def test_a_study_on_hold_stays_and_both_commands_are_in_its_story(stopped):
    n, study = stopped
    n.config.write_text(n.config.read_text() + RETENTION)
    assert n.run("hold", study).returncode == 0
    assert "on hold" in n.run("purge", "--dry-run").stdout
    before = spool_files(n)
    n.run("purge")
    assert spool_files(n) == before
    assert n.run("hold", study, "--release").returncode == 0
    assert n.run("hold", study, "--release").returncode == 1
    assert n.run("hold", "9.9").returncode == 1
    kinds = [e.kind for e in n.ledger.queries.events(study)]
    assert kinds[-2:] == ["study_held", "hold_released"]
