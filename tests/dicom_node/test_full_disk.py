"""A disk that is full for a while: every study goes on by itself when there is room again."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest
from nodes import ROOT, Node, listening, node, storescp, storescu, study_of, wait_for

from dicom_node.ledger.states import State


@contextmanager
def no_room_for(pid: int) -> Iterator[None]:
    """Every write of a process to a file fails: its files may not be larger than nothing."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def in_state(n: Node, study: str, state: State) -> bool:
    revision = n.ledger.queries.revision(study)
    return revision is not None and revision.state is state


@pytest.mark.parametrize("after_s", [0.0, 1.5, 3.0])
def test_a_study_whose_disk_was_full_during_its_analysis_goes_on_by_itself(
    after_s, phantom_study, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        worker = n.start("worker", str(ROOT / "tests" / "support" / "slow.py"))
        n.start("egress")
        wait_for(lambda: in_state(n, study, State.ANALYZING), what="the analysis")
        time.sleep(after_s)
        with no_room_for(worker.pid):
            time.sleep(8)
        attempt = n.ledger.queries.revision(study).attempt
        wait_for(
            lambda: n.ledger.queries.revision(study).attempt > attempt or not _stands(n, study),
            within_s=40,
            what=f"the study to go on\n{n.ledger.queries.revision(study)}\n{n.log[-3000:]}",
        )
        finished = n.finished(study)
        assert finished.state is State.DONE
        assert finished.failures == 0
        assert worker.poll() is None
        assert len(pacs.objects()) == 3


def test_a_node_that_starts_on_a_full_disk_begins_by_itself_when_there_is_room(tmp_path):
    with node(tmp_path / "node", 1) as n:
        supervisor = n.launch("serve", prefix=("prlimit", "--fsize=0:unlimited"))
        time.sleep(12)
        assert supervisor.poll() is None
        assert not listening(n.port)
        room = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, room)
        for child in psutil.Process(supervisor.pid).children():
            with suppress(ProcessLookupError):
                resource.prlimit(child.pid, resource.RLIMIT_FSIZE, room)
        wait_for(lambda: listening(n.port), within_s=60, what="the listener")


def _stands(n: Node, study: str) -> bool:
    """Whether a study under analysis makes no progress for a second."""
    before = n.ledger.queries.revision(study)
    time.sleep(2.5)  # slow.py does a batch in a second
    return n.ledger.queries.revision(study) == before


def test_a_stop_after_the_disk_was_full_does_not_wait_for_what_has_ended(phantom_study, tmp_path):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port, drain_s=30) as n:
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        worker = n.start("worker", str(ROOT / "tests" / "support" / "slow.py"))
        wait_for(lambda: in_state(n, study, State.ANALYZING), what="the analysis")
        with no_room_for(worker.pid):
            time.sleep(6)
            asked_at = time.monotonic()
            worker.terminate()
            worker.wait(40)
        assert time.monotonic() - asked_at < 25
        n.work()
        assert n.finished(study).state is State.DONE
