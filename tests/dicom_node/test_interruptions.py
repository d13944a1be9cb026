"""Which study answers for the death of a worker: the one whose work was under way, if any."""

from __future__ import annotations

from pathlib import Path

import pytest
from lost_results import STUDY, analyze, arrive
from nodes import ROOT, node, storescp, storescu, study_of
from several import model, student, study

from dicom_node.exit_status import MAY_PASS
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Run
from dicom_node.ledger.states import State
from dicom_node.work.interruptions import Working, count_interruptions, is_set_aside
from dicom_node.work.overseer import Overseer
from dicom_node.work.students.jobs import Job

SR, SEG = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"
JOB = Job("0123456789abcdef", "candidate")


@pytest.fixture
def ledger(where: Path | str) -> Ledger:
    return Ledger.open(where)


def analyzed(ledger: Ledger, study: str = STUDY) -> Run:
    arrive(ledger, 1, study)
    return analyze(ledger, 1, study)


def next_worker(ledger: Ledger, folder: Path, most_crashes: int = 2) -> None:
    """What a worker does first, after whatever ended the last one."""
    working = Working(folder)
    count_interruptions(ledger, working.left(), most_crashes, lambda _run: "")
    working.forget()


def died(folder: Path, run: Run, doing: str = "analyzing", silent: Job | None = None) -> None:
    """A worker ends in the middle of something."""
    with Working(folder).on(run, doing, silent):
        content = (folder / "analyzing").read_bytes()
    (folder / "analyzing").write_bytes(content)


def crashes(ledger: Ledger, study: str = STUDY) -> int:
    counts = [e.fields for e in ledger.queries.events(study) if e.kind == "study_interrupted"]
    return len(counts)


def state(ledger: Ledger, study: str = STUDY) -> State | None:
    found = ledger.queries.revision(study)
    return found.state if found else None


def test_a_study_that_only_waits_is_never_parked_however_often_workers_are_started(
    ledger, tmp_path
):
    run = analyzed(ledger)
    for _ in range(20):
        with Working(tmp_path).watch.on(run, "waiting"):  # for a switch, and the worker is killed
            next_worker(ledger, tmp_path)
    assert (state(ledger), crashes(ledger)) == (State.ANALYZING, 0)


def test_the_study_whose_work_was_under_way_answers_and_no_other(ledger, tmp_path):
    guilty, other = analyzed(ledger), analyzed(ledger, "1.3")
    for _ in range(2):
        died(tmp_path, guilty)
        next_worker(ledger, tmp_path)
        next_worker(ledger, tmp_path)
    assert (state(ledger), crashes(ledger)) == (State.ANALYZING, 2)
    died(tmp_path, guilty, "building the results")
    next_worker(ledger, tmp_path)
    parked = ledger.queries.revision(STUDY)
    assert parked is not None
    assert parked.state is State.PARKED
    assert parked.reason == "the worker died 3 times while analyzing it"
    assert (state(ledger, other.study), crashes(ledger, other.study)) == (State.ANALYZING, 0)


def test_a_death_is_counted_once_however_often_the_next_worker_is_killed_then(ledger, tmp_path):
    run = analyzed(ledger)
    died(tmp_path, run)
    for _ in range(5):  # each is killed between the note and `forget`
        count_interruptions(ledger, Working(tmp_path).left(), 2, lambda _run: "")
    assert (state(ledger), crashes(ledger)) == (State.ANALYZING, 1)


def test_a_worker_that_was_asked_to_stop_and_then_killed_is_nobodys_fault(ledger, tmp_path):
    run = analyzed(ledger)
    working = Working(tmp_path)
    with working.on(run, "analyzing"):
        working.stop()
        with working.on(run, "building the results"):
            assert Working(tmp_path).left() is None
    with working.on(run, "analyzing"):
        assert Working(tmp_path).left() is None
    next_worker(ledger, tmp_path)
    assert crashes(ledger) == 0


def test_an_attempt_that_is_over_answers_for_nothing(ledger, tmp_path):
    run = analyzed(ledger)
    died(tmp_path, run)
    assert ledger.studies.try_later(run, "the engine failed", 0.0)
    next_worker(ledger, tmp_path)
    assert analyze(ledger, 1).attempt == 2
    next_worker(ledger, tmp_path)
    assert crashes(ledger) == 0


def test_a_silent_model_that_kills_the_worker_is_set_aside_and_its_study_counts_nothing(
    ledger, tmp_path
):
    run = analyzed(ledger)
    died(tmp_path, run, silent=JOB)
    next_worker(ledger, tmp_path, most_crashes=0)
    assert (state(ledger), crashes(ledger)) == (State.ANALYZING, 0)
    assert is_set_aside(ledger, run, JOB, "analyzing")
    for other in (Job("fedcba9876543210", "candidate"), Job(JOB.slide, "other")):
        assert not is_set_aside(ledger, run, other, "analyzing")
    assert not is_set_aside(ledger, run, JOB, "building the results")
    ledger.studies.park(run, "for the test")
    ledger.studies.retry(STUDY)
    assert not is_set_aside(ledger, Run(STUDY, 1, 2), JOB, "analyzing"), "somebody wants it again"


def test_the_longest_name_of_a_job_fits_into_the_file(tmp_path):
    run = Run("1.2.826.0.1.3680043.8.498." + "9" * 39, 12345, 12345)
    job = Job("f" * 64, "m" * 32)
    died(tmp_path, run, "building the results", job)
    left = Working(tmp_path).left()
    assert left is not None
    assert (left.run, left.more) == (run, f"{job.text} building the results")


def test_a_silent_model_that_hangs_is_set_aside_in_the_place_of_its_study(ledger, tmp_path):
    run = analyzed(ledger)
    working, ended = Working(tmp_path), list[str]()
    overseer = Overseer(
        working.watch,
        ledger,  # type: ignore[arg-type]
        longest_standstill_s=-1,
        most_memory_bytes=1 << 60,
        beat=lambda: None,
        end=lambda: ended.append("end"),
    )
    with working.on(run, "building the results"), working.on(run, "building the results", JOB):
        assert not overseer.look()
    assert ended == ["end"]
    assert state(ledger) is State.ANALYZING
    assert is_set_aside(ledger, run, JOB, "building the results")


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_the_live_report_is_sent_whatever_a_silent_model_does_to_the_worker(tmp_path, how):
    slides = study(tmp_path / "lung", {"L": "lung"})
    live, silent = student(tmp_path / "live", "lung"), student(tmp_path / "tried", "lung")
    models = model("live", live) + model("tried", silent, silent=True)
    uid = study_of(slides / "L")
    extra = "most_crashes = 1"
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port, extra=extra) as n:
        text = n.config.read_text()
        n.config.write_text(
            text.replace("[analysis]", "[analysis]\nlongest_standstill_s = 30") + models
        )
        n.start("ingest")
        n.start("egress")
        assert storescu(n.port, slides).returncode == 0
        fatal = str(ROOT / "tests" / "support" / "fatal_model.py")
        worker = n.start("worker", fatal, how, "tiny-tried")
        assert worker.wait(90) == (MAY_PASS if how == "hangs" else -11), n.log
        n.start("worker", fatal, how, "tiny-tried")
        done = n.finished(uid)
        assert (done.state, done.attempt) == (State.DONE, 1), done.reason
        assert sorted(o.SOPClassUID for o in pacs.objects()) == [SEG, SR]
        kinds = [e.kind for e in n.ledger.queries.events(uid)]
        assert kinds.count("silent_model_died") == 1
        assert "study_interrupted" not in kinds
        assert [r.kind for r in n.ledger.queries.results(uid, 1) if r.silent] == ["report"]
