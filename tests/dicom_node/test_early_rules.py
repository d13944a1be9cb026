"""Rules of the early start: whose turn it is, what is kept, which slides, and who is blamed."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lost_results import STUDY, analyze, arrive
from nodes import ROOT, node, storescp, storescu, study_of, wait_for
from several import model, student, study
from tiny_slides import noise, setting, write_level

from dicom_node.config.models import ModelEntry
from dicom_node.config.whole import Config
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.ledger.states import State
from dicom_node.work.early import deaths
from dicom_node.work.early.kept import KeptNumbers, Ready
from dicom_node.work.early.reading import all_read, levels_read
from dicom_node.work.early.turns import Turns
from dicom_node.work.early.whole import SETTLED_S, is_settled, jobs_of, whole_slides
from dicom_node.work.interruptions import Working, count_interruptions, is_set_aside
from dicom_node.work.overseer import Overseer
from dicom_node.work.routing.values import Student
from dicom_node.work.students.jobs import Assigning, Job
from dicom_node.work.students.roster import Known, Roster
from engines.bundle import open_bundle
from engines.names import Opened
from inference.slide.files import SlideFiles
from inference.types import Heatmap, NotAssessable, Prediction, Reason, SlideGeometry

JOB = Job("0123456789abcdef", "candidate")
REFUSAL = NotAssessable(Reason.STAIN, "found another stain", None, (), "1.2")
RUN = Run(STUDY, 1, 0)


def nothing() -> None:
    """For what nobody watches."""


@pytest.fixture
def kept(tmp_path: Path) -> KeptNumbers:
    node = {"ae_title": "A", "data_dir": str(tmp_path)}
    pacs = {"name": "pacs", "ae_title": "P", "host": "h", "port": 104}
    return KeptNumbers(Config.model_validate({"node": node, "destinations": [pacs]}))


@pytest.fixture
def known(tmp_path: Path) -> Known:
    bundle = open_bundle(student(tmp_path / "bundle"))
    asked = Student(ModelEntry(name="model"), bundle.manifest.applicability)
    return Known("", asked, bundle, "engine 1 CPU", "fp32", Opened("openvino", "fp32"))


def folder_of(tmp_path: Path, run: Run = RUN) -> Path:
    folder = tmp_path / "results" / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- turns ---------------------------------------------------------------------------------------


def test_an_open_study_never_waits_and_a_closed_one_is_waited_for_by_it():
    turns, order = Turns(), list[str]()
    moved = threading.Event()

    def closed() -> None:
        with turns.of_closed(moved.set):
            order.append("closed")

    with turns.of_open() as is_mine:
        assert is_mine
        assert not turns.is_wanted
        waiting = threading.Thread(target=closed)
        waiting.start()
        assert moved.wait(10), "it tells that it waits"
        assert turns.is_wanted
        with turns.of_open() as too:
            assert not too
        order.append("open")
    waiting.join(10)
    assert order == ["open", "closed"]
    assert not turns.is_wanted
    with turns.of_closed(nothing), turns.of_open() as is_mine:
        assert not is_mine


# -- what is kept --------------------------------------------------------------------------------


def test_numbers_are_taken_for_just_what_they_are_of_and_else_removed(kept, tmp_path):
    folder = folder_of(tmp_path)
    kept.save(RUN, JOB, "of these files", Ready(REFUSAL, 3.5))
    assert kept.take(RUN, Job(JOB.slide, "other"), "of these files") is None
    assert kept.take(RUN, JOB, "of these files") == Ready(REFUSAL, 3.5)
    assert kept.take(RUN, JOB, "of these files") == Ready(REFUSAL, 3.5), "as often as it is asked"
    assert kept.take(RUN, JOB, "of others") is None
    assert list(folder.iterdir()) == []


def test_numbers_that_cannot_be_read_are_removed(kept, tmp_path):
    folder = folder_of(tmp_path)
    kept.save(RUN, JOB, "x", Ready(REFUSAL, 3.5))
    (path,) = folder.iterdir()
    for content in (b"", b"PK\x03\x04 and no more", path.read_bytes()[:200]):
        path.write_bytes(content)
        assert kept.take(RUN, JOB, "x") is None
        assert not path.exists()


def test_numbers_that_a_disk_has_damaged_anywhere_cost_the_head_start_alone(kept, tmp_path):
    folder = folder_of(tmp_path)
    kept.save(RUN, JOB, "x", Ready(predicted(), 3.5))
    (path,) = folder.iterdir()
    whole, failed = path.read_bytes(), 0
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        failed += kept.take(RUN, JOB, "x") is None
    assert failed > len(whole) / 97 / 2
    path.unlink(missing_ok=True)
    path.mkdir()  # what cannot be read at all, for root either
    assert kept.take(RUN, JOB, "x") is None


def predicted() -> Prediction:
    geometry = SlideGeometry("1.2", 0.0, 0.0, (0.0, -1.0, 0.0, -1.0, 0.0, 0.0), 0.5, 0.5, 99, 99)
    grid = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    return Prediction(
        geometry=geometry, stride_px=1, scores={}, percentiles={}, survivals={},
        heatmaps=(Heatmap("tumor", grid, ()),), tissue_outlines=(), tissue_area_mm2=1.0,
        tiles_analyzed=9, levels=(), warnings=(),
    )  # fmt: skip


def test_a_study_that_was_erased_meanwhile_does_not_get_its_folder_back(kept, tmp_path):
    with pytest.raises(FileNotFoundError):
        kept.save(RUN, JOB, "x", Ready(REFUSAL, 1))
    assert not (tmp_path / "results").exists()


def test_what_nobody_will_ask_for_is_swept_and_the_rest_stays(kept, where, tmp_path):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    arrive(ledger, 1, "1.3")
    for run in (RUN, Run("1.3", 1, 0), Run("1.4", 1, 0)):
        (folder_of(tmp_path, run) / "tiles-x").mkdir()
        kept.save(run, JOB, "x", Ready(REFUSAL, 1))
    ledger.studies.cancel("1.3")
    kept.sweep(ledger)  # type: ignore[arg-type]
    assert kept.take(RUN, JOB, "x")
    for gone in (Run("1.3", 1, 0), Run("1.4", 1, 0)):
        assert [p.name for p in folder_of(tmp_path, gone).iterdir()] == ["tiles-x"]
    kept.discard(RUN)
    assert list(folder_of(tmp_path).iterdir()) == []


# -- what was read -------------------------------------------------------------------------------


@pytest.fixture
def slide(tmp_path: Path) -> SlideFiles:
    write_level(tmp_path / "base.dcm", noise(96, 96))
    write_level(tmp_path / "small.dcm", noise(48, 48), mpp=1.0)
    write_level(tmp_path / "label.dcm", noise(32, 48), flavor="LABEL")
    (found,) = whole_slides(sorted(tmp_path.glob("*.dcm")), nothing)
    return found


def test_a_level_that_is_replaced_changes_what_was_read_and_a_label_changes_no_tile(
    slide, known, tmp_path
):
    job = Job(slide.key)
    levels, everything = levels_read(slide), all_read(slide, job, known)
    assert (levels_read(slide), all_read(slide, job, known)) == (levels, everything)

    def replaced(name: str) -> None:
        shutil.copy(tmp_path / name, tmp_path / "new")
        os.replace(tmp_path / "new", tmp_path / name)

    replaced("label.dcm")
    assert levels_read(slide) == levels
    label_new = all_read(slide, job, known)
    assert label_new != everything
    replaced("small.dcm")
    assert levels_read(slide) != levels
    assert all_read(slide, job, known) != label_new


def test_numbers_of_another_student_are_none_of_this_one(slide, known):
    job = Job(slide.key)
    told = {
        all_read(slide, job, known),
        all_read(slide, Job(slide.key, "a"), known),
        all_read(slide, job, replace(known, engine="engine 2 CPU")),
        all_read(slide, job, replace(known, precision="int8")),
    }
    assert len(told) == 4


# -- which slides --------------------------------------------------------------------------------


def test_a_slide_that_lacks_frames_or_a_fine_level_is_none_to_begin_with(known, where, tmp_path):
    ledger, roster = Ledger.open(where), Roster((known,), is_one=True)
    assigning = Assigning(ledger, roster)  # type: ignore[arg-type]

    def begun(*paths: Path) -> list[str]:
        slides = whole_slides(paths, nothing)
        return [early.slide.key for early in jobs_of(RUN, slides, roster, assigning)]

    coarse = write_level(tmp_path / "coarse.dcm", noise(96, 96), mpp=4.0)
    assert begun(coarse) == []
    base = write_level(tmp_path / "base.dcm", noise(192, 192), mpp=0.5)
    assert len(begun(base, coarse)) == 1
    half = write_level(
        tmp_path / "half.dcm", noise(96, 96), mpp=0.5, edit=setting(TotalPixelMatrixRows=192)
    )
    assert begun(half) == []


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_slide_is_waited_for_until_its_sender_rests_or_has_sent_other_things(where, tmp_path):
    clock = Clock()
    ledger = Ledger.open(where, clock=clock)

    def came(uid: str, study: str = STUDY) -> None:
        ledger.arrivals.record(ReceivedInstance(uid, "1", study, "1.8", "1", 1, uid, "A", "p"))

    slide = SlideFiles("k", (tmp_path / "a",), ("1.2.1",), tmp_path / "a")
    came("1.2.1")
    assert not is_settled(ledger, STUDY, slide)  # type: ignore[arg-type]
    clock.now += SETTLED_S
    assert is_settled(ledger, STUDY, slide)  # type: ignore[arg-type]
    number = ledger.arrivals.open_transfer(calling_ae="A", peer="p")
    assert not is_settled(ledger, STUDY, slide), "maybe a level of it"  # type: ignore[arg-type]
    ledger.arrivals.close_transfer(number)
    clock.now += 1
    came("1.3.1", "1.3")
    ledger.arrivals.open_transfer(calling_ae="A", peer="p")
    assert is_settled(ledger, STUDY, slide), "the sender went on"  # type: ignore[arg-type]
    ledger.arrivals.open_transfer(calling_ae="B", peer="p")
    assert is_settled(ledger, STUDY, slide), "of another sender"  # type: ignore[arg-type]


# -- who is blamed -------------------------------------------------------------------------------


def died(folder: Path, silent: Job | None = None) -> None:
    """A worker ends in the middle of early work."""
    with Working(folder).on(RUN, "analyzing", silent):
        content = (folder / "analyzing").read_bytes()
    (folder / "analyzing").write_bytes(content)


def next_worker(ledger: Ledger, folder: Path, *, forgets: bool = True) -> None:
    working = Working(folder)
    count_interruptions(ledger, working.left(), 0, lambda _run: "")  # type: ignore[arg-type]
    if forgets:
        working.forget()


def kinds(ledger: Ledger) -> list[str]:
    return [e.kind for e in ledger.queries.events(STUDY)]


def test_deaths_of_early_work_are_noted_once_each_and_the_study_is_left_alone_after_two(
    where, tmp_path
):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    died(tmp_path)
    for _ in range(4):  # each is killed before it forgets
        next_worker(ledger, tmp_path, forgets=False)
    assert kinds(ledger).count(deaths.DIED) == 1
    assert not deaths.is_left_alone(ledger, RUN)  # type: ignore[arg-type]
    died(tmp_path)
    next_worker(ledger, tmp_path)
    assert deaths.is_left_alone(ledger, RUN)  # type: ignore[arg-type]
    run = analyze(ledger, 1)
    next_worker(ledger, tmp_path)
    found = ledger.queries.revision(STUDY)
    assert found is not None
    assert (found.state, found.run) == (State.ANALYZING, run)
    assert "study_interrupted" not in kinds(ledger)


def test_a_study_that_closed_meanwhile_does_not_answer_for_its_early_work(where, tmp_path):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    died(tmp_path)
    analyze(ledger, 1)
    next_worker(ledger, tmp_path)
    found = ledger.queries.revision(STUDY)
    assert found is not None
    assert found.state is State.ANALYZING
    assert "study_interrupted" not in kinds(ledger)


def test_a_silent_model_that_dies_early_is_set_aside_for_the_closed_study_as_well(where, tmp_path):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    died(tmp_path, JOB)
    for _ in range(3):
        next_worker(ledger, tmp_path, forgets=False)
    assert kinds(ledger).count("silent_model_died") == 1
    assert deaths.DIED not in kinds(ledger)
    run = analyze(ledger, 1)
    assert is_set_aside(ledger, run, JOB, "analyzing")  # type: ignore[arg-type]


def test_a_study_that_killed_a_worker_while_it_was_counted_is_not_begun_early(where):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    fields = {"revision": 1, "mark": "x"}
    ledger.events.record(deaths.COUNTING_DIED, study_instance_uid=STUDY, **fields)
    assert deaths.is_left_alone(ledger, RUN)  # type: ignore[arg-type]


def test_early_work_that_hangs_ends_the_worker_and_parks_nothing(where, tmp_path):
    ledger = Ledger.open(where)
    arrive(ledger, 1)
    working, ended = Working(tmp_path), list[str]()
    overseer = Overseer(
        working.watch,
        ledger,  # type: ignore[arg-type]
        longest_standstill_s=-1,
        most_memory_bytes=1 << 60,
        beat=nothing,
        end=lambda: ended.append("end"),
    )
    with working.on(RUN, "analyzing"):
        assert not overseer.look()
    assert ended == ["end"]
    found = ledger.queries.revision(STUDY)
    assert found is not None
    assert found.state is State.RECEIVING
    (event,) = [e for e in ledger.queries.events(STUDY) if e.kind == deaths.DIED]
    assert event.fields["reason"].startswith("no progress for")


# -- several models, in a node --------------------------------------------------------------------


def test_live_numbers_are_ready_whatever_a_silent_model_does_to_the_worker_early(tmp_path):
    slides = study(tmp_path / "lung", {"L": "lung"})
    live, silent = student(tmp_path / "live", "lung"), student(tmp_path / "tried", "lung")
    models = model("tried", silent, silent=True, priority=9) + model("live", live)
    uid = study_of(slides / "L")
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        text = n.config.read_text()
        waiting = text.replace("quiet_time_s = 1", "quiet_time_s = 3600") + models
        n.config.write_text(waiting)
        n.start("ingest")
        assert storescu(n.port, slides).returncode == 0
        fatal = str(ROOT / "tests" / "support" / "fatal_model.py")
        worker = n.start("worker", fatal, "dies", "tiny-tried")
        assert worker.wait(90) == -11, n.log
        lines = [json.loads(x) for x in n.log.splitlines() if x.startswith("{")]
        assert [x["slide"].partition("/")[2] for x in lines if x["event"] == "slide_ready"] == [
            "live"
        ]
        worker = n.start("worker", fatal, "dies", "tiny-tried")
        wait_for(lambda: n.log.count("models_open") == 2, what="the next worker")
        time.sleep(4)
        assert worker.poll() is None, "the silent model is set aside"
        assert n.ledger.queries.revision(uid).state is State.RECEIVING
        worker.terminate()
        worker.wait(30)
        n.config.write_text(waiting.replace("quiet_time_s = 3600", "quiet_time_s = 1"))
        n.work()
        assert n.finished(uid).state is State.DONE
        assert n.log.count("slide_was_ready") == 1
        found = [e.kind for e in n.ledger.queries.events(uid)]
        assert found.count("silent_model_died") == 1
        assert "study_interrupted" not in found
        assert len(pacs.objects()) == 2
