"""Workflow rows have an end; those that a study still needs are kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from nodes import Node, node, storescp, storescu, study_of, wait_for

from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.work.underway import run_of, workflow_id

TWO_DAYS_MS = 2 * 86_400_000


def age(n: Node) -> None:
    """Make every workflow two days older."""
    with closing(sqlite3.connect(n.folder / "node-data" / "node.sqlite")) as db, db:
        db.execute("UPDATE workflow_status SET created_at = created_at - ?", (TWO_DAYS_MS,))


def workflows(n: Node) -> list[str]:
    with closing(sqlite3.connect(n.folder / "node-data" / "node.sqlite")) as db:
        return [name for (name,) in db.execute("SELECT workflow_uuid FROM workflow_status")]


def test_old_workflows_go_and_the_study_is_still_told_of(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, phantom_study.folder)
        n.finished(study)
        assert workflows(n) == [f"{study}/1/1"], "a young one stays"
        assert n.stop() == 0
        age(n)
        n.start()
        wait_for(lambda: not workflows(n), what="pruned")
        assert "workflows_pruned" in n.log
        assert "done" in n.run("studies", "show", study).stdout
        n.run("retry", study)
        wait_for(lambda: workflows(n) == [f"{study}/1/2"], what="run again")
        assert n.finished(study).state is State.DONE


def test_an_old_workflow_that_a_study_still_needs_goes_on_from_its_last_step(
    phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        n.crash("between analyze and build")
        age(n)
        n.work()
        revision = n.finished(study)
        assert (revision.state, revision.attempt) == (State.DONE, 1)
        assert n.log.count("slide_analyzed") == 1


def test_the_name_of_a_workflow_says_of_which_attempt_it_is():
    run = Run("1.2.3", 4, 5)
    assert run_of(workflow_id(run)) == run
    assert run_of("round-12") is None
    assert run_of("1.2/x/1") is None
