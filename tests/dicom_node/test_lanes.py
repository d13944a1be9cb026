"""A destination that is not well costs itself and nobody else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from nodes import Node, free_port, node, storescp, storescu, study_of, wait_for
from sick_pacs import accepts_nothing_more, answers_no_request

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Delivery, ReceivedInstance, Result, Run
from dicom_node.ledger.states import DeliveryState, State
from slides import new_study_copy

SICK = {
    "accepts TCP and never an association": accepts_nothing_more,
    "hangs in C-ECHO and C-STORE": lambda: answers_no_request(echoes=False),
    "hangs in C-STORE": lambda: answers_no_request(echoes=True),
}

LINGERING = str(Path(__file__).parents[1] / "support" / "lingering.py")
READY = {"ingest": "listening", "worker": "model_ready", "egress": "egress_started"}
"""What the log of a process says when it is at work."""


def second_destination(port: int) -> str:
    return (
        f'[[destinations]]\nname = "sick"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
    )


@pytest.mark.parametrize("how", SICK)
def test_the_good_pacs_gets_every_study_while_another_one_hangs(how, phantom_study, tmp_path):
    folders = [phantom_study.folder]
    for n in range(2):
        folders.append(tmp_path / f"copy-{n}")
        new_study_copy(phantom_study.folder, folders[-1], f"copy-{n}")
    studies = [study_of(f) for f in folders]
    with (
        SICK[how]() as sick_port,
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port) as n,
    ):
        n.config.write_text(n.config.read_text() + second_destination(sick_port))
        n.start()
        for folder in folders:
            storescu(n.port, folder)
        # One exchange with the sick one may last a minute: three studies would wait for several.
        wait_for(lambda: len(_delivered(n, studies)) == 9, within_s=55, what="all results")
        assert {str(o.StudyInstanceUID) for o in pacs.objects()} == set(studies)
        for study in studies:
            assert n.ledger.queries.revision(study).state is State.DELIVERING
            sick = [d for d in n.ledger.queries.deliveries(study, 1) if d.destination == "sick"]
            assert {d.state for d in sick} == {DeliveryState.PENDING}


def test_a_stop_does_not_wait_for_a_destination_that_hangs(phantom_study, tmp_path):
    with (
        answers_no_request(echoes=True) as sick_port,
        node(tmp_path / "node", sick_port, drain_s=2) as n,
    ):
        n.start()
        storescu(n.port, phantom_study.folder)
        study = study_of(phantom_study.folder)
        wait_for(
            lambda: (r := n.ledger.queries.revision(study)) and r.state is State.DELIVERING,
            what="a delivery under way",
        )
        time.sleep(2)
        asked_at = time.monotonic()
        assert n.stop() == 0
        assert time.monotonic() - asked_at < 15
        assert n.ledger.queries.revision(study).state is State.DELIVERING


@pytest.mark.parametrize("role", ["ingest", "worker", "egress"])
def test_a_stop_waits_for_no_thread_that_a_library_left_behind(role, tmp_path):
    with node(tmp_path / "node", free_port()) as n:
        n.launch(role, LINGERING)
        wait_for(lambda: READY[role] in n.log, what="the process at work")
        assert n.stop() == 0


def test_a_result_file_that_is_gone_holds_back_no_other_study(phantom_study, tmp_path):
    other = tmp_path / "other"
    new_study_copy(phantom_study.folder, other, "other")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        pacs.stop()
        n.start()
        study = study_of(phantom_study.folder)
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: n.ledger.queries.deliveries(study, 1), what="results")
        for path in (n.folder / "node-data" / "results").rglob("*.dcm"):
            path.unlink()
        pacs.start()
        storescu(n.port, other)
        assert n.finished(study_of(other)).state is State.DONE
        outcomes = n.ledger.queries.deliveries(study, 1)
        assert {d.state for d in outcomes} == {DeliveryState.PENDING}
        (error,) = [d.error for d in outcomes if d.error]  # the report's: the rest waits for it
        assert "the result file cannot be read: ENOENT" in error
        assert n.run("retry", study).returncode == 0
        assert n.finished(study).state is State.DONE


def _delivered(n: Node, studies: list[str]) -> list[Delivery]:
    """What the good PACS has taken."""
    rows = [d for study in studies for d in n.ledger.queries.deliveries(study, 1)]
    return [d for d in rows if d.destination == "pacs" and d.state is DeliveryState.DELIVERED]


def test_a_result_file_that_was_damaged_on_the_disk_is_not_sent_and_retry_makes_it_again(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        pacs.stop()
        n.start()
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: n.ledger.queries.deliveries(study, 1), what="results")
        made = sorted((n.folder / "node-data" / "results").rglob("*.dcm"))
        whole = {path: path.read_bytes() for path in made}
        for path in made:
            path.write_bytes(whole[path][:-200])
        pacs.start()
        parked = n.finished(study)
        assert parked.state is State.PARKED
        assert "damaged on the disk" in parked.reason
        assert pacs.objects() == []
        assert n.run("retry", study).returncode == 0
        assert n.finished(study).state is State.DONE
        assert set(pacs.digests()) == {
            r.sop_instance_uid for r in n.ledger.queries.results(study, 1)
        }


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "node.sqlite")


def test_what_is_due_is_one_destinations_own_oldest_study_first(ledger):
    for study in ("1.1", "1.2", "1.3"):
        _analyzed(ledger, study, to=["a", "b"])
    done = Run("1.3", 1, 1)
    ledger.deliveries.record("1.1.1", "a", DeliveryState.DELIVERED, status="0000", error=None)
    ledger.deliveries.record(
        "1.2.1", "a", DeliveryState.PENDING, status=None, error="x", next_attempt_at=9e9
    )
    ledger.studies.park(done, "for a person")
    due = {
        n: [d.sop_instance_uid for d in ledger.queries.due_deliveries(n)] for n in ("a", "b", "c")
    }
    assert due == {"a": ["1.1.2", "1.2.2"], "b": ["1.1.1", "1.1.2", "1.2.1", "1.2.2"], "c": []}


def _analyzed(ledger: Ledger, study: str, *, to: list[str]) -> None:
    ledger.arrivals.record(
        ReceivedInstance(f"{study}.9", "1", study, f"{study}.8", "1", 1, study, "A", "p")
    )
    ledger.studies.close(Run(study, 1, 0), Evidence(1))
    run = Run(study, 1, 1)
    ledger.studies.start_analysis(run, "engine", "digest")
    made = [Result(f"{study}.{n}", "1", "report", "s", f"{study}.{n}.dcm", "x") for n in (1, 2)]
    assert ledger.deliveries.start(run, made, to)
