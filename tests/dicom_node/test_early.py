"""Slides of open studies: encoded, kept, and taken or thrown away when the study closes."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from crashing import EARLY_POINTS, READY_POINTS
from matrix import thinned
from nodes import ROOT, Node, node, storescp, storescu, study_of, wait_for
from pydicom import dcmread

from dicom_node.demo.wsm import write_slide
from dicom_node.ledger.states import State
from inference.phantom.draw import MPP, draw
from slides import new_study_copy

SLOW = str(ROOT / "tests" / "support" / "slow.py")
NEVER_S = 3600
NTH = {"early, after some tiles": 2}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose slide takes a slow worker many seconds."""
    folder = tmp_path_factory.mktemp("large")
    write_slide(draw(5, rows=6144, cols=6144).pixels, folder, mpp=MPP, levels=3, seed="early")
    return folder


@pytest.fixture(scope="module")
def undisturbed(phantom_study, tmp_path_factory) -> tuple[dict[str, bytes], list[str]]:
    """Predictions, by name, and SOP classes at the PACS of a node that begins nothing early."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with storescp(folder / "pacs") as pacs, node(folder / "node", pacs.port) as n:
        set_keys(n, early="false")
        n.start()
        storescu(n.port, phantom_study.folder)
        n.finished(study_of(phantom_study.folder))
        assert "early_start" not in n.log
        return predictions(n), sorted(o.SOPClassUID for o in pacs.objects())


def set_keys(n: Node, **keys: object) -> None:
    """Keys of [analysis], and `quiet_time_s` of [node]; for the next start."""
    lines = n.config.read_text().splitlines()
    quiet = keys.pop("quiet_time_s", None)
    if quiet is not None:
        lines = [f"quiet_time_s = {quiet}" if "quiet_time_s" in x else x for x in lines]
    at = lines.index("[analysis]") + 1
    lines[at:at] = [f"{key} = {value}" for key, value in keys.items()]
    n.config.write_text("\n".join(lines) + "\n")


def predictions(n: Node) -> dict[str, bytes]:
    """What is written of each slide, to the last bit."""
    return {p.name: p.read_bytes() for p in n.folder.rglob("prediction-*.npz")}


def said(n: Node, event: str) -> list[dict[str, object]]:
    """Lines of the log with an event."""
    lines = [json.loads(x) for x in n.log.splitlines() if x.startswith("{")]
    return [line for line in lines if line["event"] == event]


def left_early(n: Node) -> list[Path]:
    return [p for kind in ("early-*", "tiles-*") for p in n.folder.rglob(kind)]


def state(n: Node, study: str) -> State:
    revision = n.ledger.queries.revision(study)
    assert revision is not None
    return revision.state


def close(n: Node, study: str) -> State:
    """Start anew with a short quiet time; how the study ends."""
    set_keys(n, quiet_time_s=1)
    n.work()
    return n.finished(study).state


def test_a_study_that_closes_finds_its_numbers_ready_and_nothing_was_reported_before(
    phantom_study, undisturbed, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=20)
        n.start("ingest")
        n.work()
        wait_for(lambda: said(n, "model_ready"), what="the worker")
        storescu(n.port, phantom_study.folder)
        wait_for(lambda: said(n, "slide_ready"), within_s=20, what="numbers of an open study")
        assert state(n, study) is State.RECEIVING
        assert n.ledger.queries.results(study, 1) == []
        assert pacs.objects() == []
        assert not predictions(n)
        assert n.finished(study).state is State.DONE
        assert len(said(n, "early_start")) == len(said(n, "slide_was_ready")) == 1
        numbers, classes = undisturbed
        assert predictions(n) == numbers
        assert sorted(o.SOPClassUID for o in pacs.objects()) == classes
        assert set(pacs.digests()) == {
            r.sop_instance_uid for r in n.ledger.queries.results(study, 1)
        }
        assert not left_early(n)
        (model,) = n.ledger.queries.models(n.ledger.queries.revision(study).run)
        assert model.worked_s >= said(n, "slide_ready")[0]["worked_s"], "it is part of the time"


def test_a_late_level_discards_the_numbers_and_the_next_ones_are_those_of_all_levels(
    phantom_study, undisturbed, tmp_path
):
    base, *others = sorted(phantom_study.paths, key=lambda p: -p.stat().st_size)
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        worker = n.start("worker")
        storescu(n.port, base)
        wait_for(lambda: len(said(n, "slide_ready")) == 1, what="the first numbers")
        storescu(n.port, *others)
        wait_for(lambda: len(said(n, "slide_ready")) == 2, what="the next numbers")
        assert said(n, "ready_discarded")[0]["reason"] == "what was read has changed"
        worker.terminate()
        worker.wait(30)
        assert close(n, study) is State.DONE
        assert len(said(n, "slide_was_ready")) == 1
        numbers, classes = undisturbed
        assert predictions(n) == numbers
        assert sorted(o.SOPClassUID for o in pacs.objects()) == classes
        assert set(pacs.digests()) == {
            r.sop_instance_uid for r in n.ledger.queries.results(study, 1)
        }


def test_a_late_level_that_comes_just_before_the_close_is_not_missed(
    phantom_study, undisturbed, tmp_path
):
    base, *others = sorted(phantom_study.paths, key=lambda p: -p.stat().st_size)
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        worker = n.start("worker")
        storescu(n.port, base)
        wait_for(lambda: said(n, "slide_ready"), what="the numbers")
        worker.terminate()
        worker.wait(30)
        storescu(n.port, *others)
        assert close(n, study) is State.DONE
        assert said(n, "ready_discarded")
        assert not said(n, "slide_was_ready")
        assert predictions(n) == undisturbed[0]


@pytest.mark.parametrize("point", thinned([*EARLY_POINTS, *READY_POINTS], 3))
def test_after_kill_9_the_numbers_are_the_same_and_there_is_one_result_set(
    point, phantom_study, undisturbed, tmp_path
):
    study = study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        if point in READY_POINTS:
            worker = n.start("worker")
            wait_for(lambda: said(n, "slide_ready"), what="the numbers")
            worker.terminate()
            worker.wait(30)
            set_keys(n, quiet_time_s=1)
        n.crash(point, NTH.get(point, 1))
        assert pacs.objects() == []
        is_open = point in EARLY_POINTS
        assert (state(n, study) is State.RECEIVING) == is_open
        assert close(n, study) is State.DONE
        numbers, classes = undisturbed
        assert predictions(n) == numbers
        assert sorted(o.SOPClassUID for o in pacs.objects()) == classes
        assert set(pacs.digests()) == {
            r.sop_instance_uid for r in n.ledger.queries.results(study, 1)
        }
        wait_for(lambda: not left_early(n), what="the sweep of the next worker")
        kinds = [e.kind for e in n.ledger.queries.events(study)]
        assert kinds.count("early_start_died") == is_open
        is_blamed = point.startswith("closed")  # whose work it was, as of any closed study
        assert kinds.count("study_interrupted") == is_blamed


def test_early_work_that_kills_the_worker_twice_is_left_alone_and_parks_nothing(
    phantom_study, undisturbed, tmp_path
):
    study = study_of(phantom_study.folder)
    with (
        storescp(tmp_path / "pacs") as pacs,
        node(tmp_path / "node", pacs.port, extra="most_crashes = 1") as n,
    ):
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        storescu(n.port, phantom_study.folder)
        for _ in range(2):
            n.crash("early, before its numbers are kept")
        begun = len(said(n, "early_start"))
        worker = n.start("worker")
        wait_for(lambda: len(said(n, "model_ready")) == 3, what="the third worker")
        time.sleep(4)
        assert len(said(n, "early_start")) == begun == 2
        worker.terminate()
        worker.wait(30)
        assert close(n, study) is State.DONE
        assert n.ledger.queries.revision(study).attempt == 1
        assert predictions(n) == undisturbed[0]
        kinds = [e.kind for e in n.ledger.queries.events(study)]
        assert (kinds.count("early_start_died"), kinds.count("study_interrupted")) == (2, 0)


def test_a_closed_study_goes_before_early_work_which_goes_on_afterwards(
    large, phantom_study, tmp_path
):
    """The open study waits for a slide of which frames are missing; it never gets a report."""
    both = tmp_path / "both"
    shutil.copytree(large, both)
    for number, path in enumerate(new_study_copy(large, tmp_path / "other", "other")):
        ds = dcmread(path)
        ds.StudyInstanceUID = study_of(large)
        ds.ContainerIdentifier = "other"
        ds.TotalPixelMatrixRows *= 2
        ds.save_as(both / f"other-{number}.dcm")
    waiting, sound = study_of(large), study_of(phantom_study.folder)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start("ingest")
        n.start("worker", SLOW)
        n.start("egress")
        storescu(n.port, both)
        wait_for(lambda: said(n, "early_start"), what="early work")
        storescu(n.port, phantom_study.folder)
        assert n.finished(sound).state is State.DONE
        wait_for(lambda: said(n, "slide_ready"), what="the rest of the early work")
        (stopped,) = said(n, "early_start_stopped")
        (built,) = said(n, "results_built")
        (ready,) = said(n, "slide_ready")
        assert stopped["timestamp"] < built["timestamp"] < ready["timestamp"]
        assert stopped["study"] == ready["study"] == waiting
        assert state(n, waiting) is State.RECEIVING
        assert n.ledger.queries.results(waiting, 1) == []
        assert {str(o.StudyInstanceUID) for o in pacs.objects()} == {sound}


def test_a_pause_ends_early_work_which_goes_on_from_its_tiles_and_a_cancel_ends_it_for_good(
    large, tmp_path
):
    study = study_of(large)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        n.start("worker", SLOW)
        storescu(n.port, large)
        wait_for(lambda: list(n.folder.rglob("tiles-*/0/done.npy")), what="some tiles")
        time.sleep(1)
        assert n.ledger.switches.pause("analysis")
        wait_for(lambda: said(n, "early_start_stopped"), what="the pause")
        time.sleep(3)
        assert len(said(n, "early_start")) == 1
        assert n.ledger.switches.resume("analysis")
        wait_for(lambda: len(said(n, "early_start")) == 2, what="the work to go on")
        wait_for(lambda: said(n, "slide_resumed"), what="what was kept")
        n.ledger.studies.cancel(study)
        wait_for(lambda: len(said(n, "early_start_stopped")) == 2, what="the cancel")
        assert state(n, study) is State.PARKED
        assert not said(n, "slide_ready")
        time.sleep(3)
        assert len(said(n, "early_start")) == 2
        assert n.run("retry", study).returncode == 0
        assert wait_for(lambda: said(n, "slide_ready"), what="early work of the retry")


def test_a_stop_ends_early_work_soon_and_the_next_worker_goes_on_there(large, tmp_path):
    study = study_of(large)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        set_keys(n, quiet_time_s=NEVER_S)
        n.start("ingest")
        n.start("worker", SLOW)
        storescu(n.port, large)
        wait_for(lambda: list(n.folder.rglob("tiles-*/0/done.npy")), what="some tiles")
        time.sleep(3)
        assert n.stop() == 0
        assert said(n, "early_start_stopped")
        assert close(n, study) is State.DONE
        assert said(n, "slide_resumed")[0]["tiles_kept"] > 0
        kinds = [e.kind for e in n.ledger.queries.events(study)]
        assert not {"early_start_died", "study_interrupted"} & set(kinds)
