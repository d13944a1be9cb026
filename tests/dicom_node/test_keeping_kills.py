"""kill -9 around proof and removal: nothing is asked twice under two UIDs, nothing is forgotten."""

from __future__ import annotations

import signal

import pytest
from crashing import ALL_POINTS, PROOF_POINTS, PURGE_POINTS
from keeping_pacs import keeping_pacs
from matrix import thinned
from nodes import ROOT, node, orthanc, storescp, storescu, study_of, wait_for

from dicom_node.ledger.states import Proof, State


@pytest.mark.parametrize("point", ALL_POINTS)
def test_every_point_of_a_kill_is_a_function_of_the_product(point):
    owner, name, when = ALL_POINTS[point]
    assert callable(getattr(owner, name))
    assert when in ("before", "after")


@pytest.mark.parametrize("point", thinned(PROOF_POINTS, 2))
def test_after_kill_9_every_object_is_proven_and_asked_for_under_one_uid(
    point, phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with node(tmp_path / "node", 1) as n, keeping_pacs(n.port) as pacs:
        n.config.write_text(n.config.read_text().replace("port = 1\n", f"port = {pacs.port}\n"))
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        n.crash(point)
        n.work()
        assert n.finished(study).state is State.DONE
        ledger = n.ledger
        wait_for(
            lambda: {d.proof for d in ledger.queries.deliveries(study, 1)} == {Proof.COMMITTED},
            what="proof",
        )
        uids = {uid for uid, _ in pacs.asked}
        asked = {tuple(sorted(instances)) for _, instances in pacs.asked}
        assert len(uids) == len(asked), "the same objects, the same Transaction UID"
        assert ledger.commitments.unsent("pacs") == []


@pytest.mark.parametrize("point", thinned(PURGE_POINTS, 2))
def test_after_kill_9_a_purge_goes_on_and_no_file_is_left_that_nobody_knows(
    point, phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    retention = (
        "[retention]\ninputs_days = 0\nresults_days = 0\nsource_holds_slides = true\n"
        "require_commitment = false\n"
    )
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, phantom_study.folder)
        n.finished(study)
        n.stop()
        n.config.write_text(n.config.read_text() + retention)
        deadly = n.launch("purge", str(ROOT / "tests" / "support" / "crashing.py"), point, "1")
        assert deadly.wait(60) == -signal.SIGKILL
        n.processes.clear()
        assert n.run("purge").returncode == 0
        ledger, data = n.ledger, n.folder / "node-data"
        known = {i.path for i in ledger.retention.inputs(study)}
        there = {str(p.relative_to(data / "spool")) for p in data.glob("spool/??/*.dcm")}
        assert there == known
        assert ledger.discards.paths() == []
        assert not list(data.glob("results/*/*.dcm"))
        n.start()
        n.stop()
        assert "spool_files_unknown" not in n.log


def test_orthanc_commits_to_our_results(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with node(tmp_path / "node", 1) as n, orthanc(tmp_path / "orthanc", n.port) as pacs:
        port = f"port = {pacs.dicom_port}\n"
        n.config.write_text(n.config.read_text().replace("port = 1\n", port))
        n.start()
        storescu(n.port, phantom_study.folder)
        assert n.finished(study).state is State.DONE
        ledger = n.ledger
        wait_for(
            lambda: {d.proof for d in ledger.queries.deliveries(study, 1)} == {Proof.COMMITTED},
            within_s=30,
            what="Orthanc's report",
        )
