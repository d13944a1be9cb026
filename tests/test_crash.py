"""kill -9 at every step boundary and in the middle of each step: one result set, the same UIDs."""

from __future__ import annotations

import signal

import pytest
from crashing import POINTS
from nodes import ROOT, node, storescp, storescu
from pydicom import dcmread

from dicom_node.records import DeliveryState, State

# The probe runs each of the two graphs once when the worker starts; two batches of tiles follow.
NTH = {"in analyze, after some tiles": 4, "between two deliveries": 2}


@pytest.fixture(scope="module")
def undisturbed(phantom_study, tmp_path_factory):
    """SOP Instance UIDs of the results of a run that nothing disturbed, and the study."""
    folder = tmp_path_factory.mktemp("undisturbed")
    first = phantom_study.paths[0]
    study = str(dcmread(first, stop_before_pixels=True).StudyInstanceUID)
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        storescu(n.port, phantom_study.folder)
        n.finished(study)
        return study, set(pacs.digests())


@pytest.mark.parametrize("point", POINTS)
def test_after_kill_9_one_result_set_with_the_same_uids_reaches_the_pacs(
    point, phantom_study, undisturbed, tmp_path
):
    study, uids = undisturbed
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        crashing = str(ROOT / "tests" / "crashing.py")
        worker = n.start("worker", crashing, point, str(NTH.get(point, 1)))
        assert worker.wait(90) == -signal.SIGKILL, n.log
        already_there = pacs.digests()
        n.start("worker")
        assert n.finished(study).state is State.DONE
        received = pacs.digests()
        assert set(received) == uids
        assert already_there.items() <= received.items(), "an object changed after it was delivered"
        deliveries = n.ledger.deliveries(study, 1)
        assert {d.state for d in deliveries} == {DeliveryState.DELIVERED}
        assert len(n.ledger.results(study, 1)) == len(uids)
