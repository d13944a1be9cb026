"""Training without room to write: a sentence, nothing by halves, and the same command again."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="needs the training extra")

from bundles import write_bundle
from drawn_cohorts import draw_cohort

from engines.bundle import open_bundle
from slides import ROOT
from training.bundle.rewritten import rewritten
from training.errors import TrainingError
from training.learning.journal import Journal


def dicom_train(*words, room=None):
    """The command in a process of its own; `room`: bytes that a file may have at most."""

    def narrow():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=narrow if room else None,
    )


def refused(done):
    assert done.returncode == 3, done.stdout + done.stderr
    assert "found no room left to write" in done.stderr
    assert "Traceback" not in done.stderr


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return draw_cohort(tmp_path_factory.mktemp("full"), "default", patients=60)


def test_a_run_without_room_says_so_and_report_and_bundle_of_it_are_whole_or_not_there(
    cohort, tmp_path
):
    run = tmp_path / "run"
    fit = ("fit", "abmil", "--cohort", cohort, "--out", run, "--epochs", "1", "--fold", "0")
    refused(dicom_train(*fit, room=50_000))
    assert dicom_train(*fit).returncode == 0

    report = tmp_path / "report.json"
    assert dicom_train("evaluate", run, "--json", report).returncode == 0
    before = json.loads(report.read_text())
    page = tmp_path / "report.html"
    refused(dicom_train("evaluate", run, "--json", report, "--html", page, room=3_000))
    assert json.loads(report.read_text()) == before
    assert files(tmp_path)[0] == "report.json"  # nothing hidden, and no page by half

    out = tmp_path / "bundles" / "student"
    words = ("export", run, "--encoder", "default", "--out", out, "--name", "s", "--fold", "0")
    refused(dicom_train(*words, room=1_000_000))
    assert files(tmp_path / "bundles") == []
    assert dicom_train(*words).returncode == 0
    assert "SHA256SUMS" in files(out)


def test_an_encoder_without_room_leaves_an_empty_folder_empty(tmp_path):
    out = tmp_path / "encoder"
    out.mkdir()
    refused(dicom_train("encoder", "default", "--out", out, "--name", "e", room=1_000_000))
    assert files(tmp_path) == ["encoder"]


def test_a_bundle_is_rewritten_whole_or_not_at_all(tmp_path):
    source = open_bundle(str(write_bundle(tmp_path / "source")))
    out = tmp_path / "out"
    card = source.root / "card.md"
    text = card.read_text()
    card.unlink()
    with pytest.raises(FileNotFoundError):
        rewritten(source, out, "2.0.0")
    assert not [name for name in files(tmp_path) if not name.startswith("source")]
    card.write_text(text)
    assert open_bundle(str(rewritten(source, out, "2.0.0"))).manifest.version == "2.0.0"
    with pytest.raises(TrainingError, match="expected a new directory"):
        rewritten(source, out, "3.0.0")
    assert open_bundle(str(out)).manifest.version == "2.0.0"


def test_a_log_that_was_cut_within_a_line_is_read_up_to_it(tmp_path):
    with Journal(tmp_path) as journal:
        for epoch in range(3):
            journal.row("student", epoch, {"loss": 1.0})
    log = tmp_path / "log.csv"
    log.write_text(log.read_text()[:-9])  # as a full disk or a kill leaves it
    with Journal(tmp_path) as journal:
        journal.rewind("student", 1)
    rows = [line.split(",")[:2] for line in log.read_text().splitlines()]
    assert rows == [["phase", "epoch"], ["student", "0"], ["student", "1"]]


def test_a_report_goes_through_a_pipe_and_a_link_and_leaves_both(cohort, tmp_path):
    run, pipe, link = tmp_path / "run", tmp_path / "pipe", tmp_path / "stdout"
    fit = ("fit", "age", "--cohort", cohort, "--out", run, "--fold", "0")
    assert dicom_train(*fit).returncode == 0
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    assert dicom_train("evaluate", run, "--json", pipe).returncode == 0
    assert json.loads(reader.communicate(timeout=60)[0])["runs"]
    assert pipe.is_fifo()
    (tmp_path / "target").write_text("before")
    link.symlink_to(tmp_path / "target")
    assert dicom_train("evaluate", run, "--json", link).returncode == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "target").read_text())["runs"]
