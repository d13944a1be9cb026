"""A study of several slides: the next one is planned while one is analyzed, whatever happens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from crashing import AHEAD_POINTS
from nodes import Node, node, storescp, storescu, study_of, wait_for
from pydicom import dcmread

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.states import DeliveryState, State
from inference.phantom.draw import MPP, draw
from slides import new_study_copy

NEVER_S = 3600
NTH = {"ahead, made": 2}
"""The first plan is that of the slide whose turn it is."""


@pytest.fixture(scope="module")
def two_slides(phantom_study, tmp_path_factory) -> Path:
    """A study of two slides of different tissue."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(phantom_study.folder, folder, dirs_exist_ok=True)
    write_slide(draw(7, rows=2048, cols=2048).pixels, folder / "b", mpp=MPP, levels=3, seed="b")
    for number, path in enumerate(new_study_copy(folder / "b", folder / "other", "other")):
        ds = dcmread(path)
        first = dcmread(phantom_study.paths[0], stop_before_pixels=True)
        ds.StudyInstanceUID, ds.ContainerIdentifier = first.StudyInstanceUID, "other"
        for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyID"):
            setattr(ds, keyword, first.get(keyword))
        ds.save_as(folder / f"other-{number}.dcm")
    shutil.rmtree(folder / "b")
    shutil.rmtree(folder / "other")
    return folder


@pytest.fixture(scope="module")
def undisturbed(two_slides, tmp_path_factory) -> dict[str, bytes]:
    """The predictions of a node that is not killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        n.start()
        storescu(n.port, two_slides)
        assert n.finished(study_of(two_slides)).state is State.DONE
        found = predictions(n)
        assert len(set(found.values())) == 2
        return found


def predictions(n: Node) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in n.folder.rglob("prediction-*.npz")}


def set_early(n: Node, quiet_time_s: int, *, early: bool) -> None:
    """Whether work begins before a study closes, and the quiet time; for the next start."""
    lines = [x for x in n.config.read_text().splitlines() if not x.startswith("early =")]
    lines = [f"quiet_time_s = {quiet_time_s}" if "quiet_time_s" in x else x for x in lines]
    lines.insert(lines.index("[analysis]") + 1, f"early = {str(early).lower()}")
    n.config.write_text("\n".join(lines) + "\n")


def finish(n: Node, folder: Path, pacs_digests, expected: dict[str, bytes]) -> list[str]:
    """Let the study come to its end; it has one result set. Kinds of the events of its story."""
    study = study_of(folder)
    assert n.finished(study).state is State.DONE
    assert predictions(n) == expected
    deliveries = n.ledger.queries.deliveries(study, 1)
    assert {d.state for d in deliveries} == {DeliveryState.DELIVERED}
    made = {r.sop_instance_uid for r in n.ledger.queries.results(study, 1)}
    assert set(pacs_digests()) == made
    return [event.kind for event in n.ledger.queries.events(study)]


@pytest.mark.parametrize("point", AHEAD_POINTS)
def test_after_kill_9_the_numbers_are_the_same_and_there_is_one_result_set(
    point, two_slides, undisturbed, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_early(n, 1, early=False)
        n.start("ingest")
        assert storescu(n.port, two_slides).returncode == 0
        n.crash(point, NTH.get(point, 1))
        n.work()
        kinds = finish(n, two_slides, pacs.digests, undisturbed)
        assert kinds.count("study_interrupted") == 1


def test_after_kill_9_of_early_work_its_study_has_lost_its_head_start_and_nothing_else(
    two_slides, undisturbed, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_early(n, NEVER_S, early=True)
        n.start("ingest")
        assert storescu(n.port, two_slides).returncode == 0
        n.crash("ahead, begun")
        worker = n.start("worker")
        ready = '"event": "slide_ready"'
        wait_for(lambda: n.log.count(ready) == 2, within_s=40, what="both slides")
        worker.terminate()
        worker.wait(30)
        set_early(n, 1, early=True)
        n.work()
        kinds = finish(n, two_slides, pacs.digests, undisturbed)
        assert kinds.count("early_start_died") == 1
        assert kinds.count("study_interrupted") == 0
        lines = [json.loads(x) for x in n.log.splitlines() if x.startswith("{")]
        assert [x["event"] for x in lines].count("slide_was_ready") == 2
