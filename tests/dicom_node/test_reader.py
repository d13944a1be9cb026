"""A command whose reader leaves before its end, as `head` does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dicom_node.cli import main
from dicom_node.commands import conformance_statement
from slides import ROOT

LONG = ["-m", "dicom_node", "conformance-statement"]


def run_for(reader: str, words: list[str]) -> tuple[int, bytes, bytes]:
    """Status, what the reader told and what the command said of trouble."""
    command = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    told = subprocess.run(["sh", "-c", reader], stdin=command.stdout, capture_output=True).stdout
    assert command.stdout is not None
    command.stdout.close()
    assert command.stderr is not None
    return command.wait(60), told, command.stderr.read()


@pytest.mark.parametrize(
    "words", [LONG, ["-m", "training", "methods"]], ids=["dicom-node", "dicom-train"]
)
def test_a_command_whose_reader_has_left_ends_without_a_word(words):
    assert run_for("exit 0", words) == (141, b"", b"")


def test_a_command_that_is_read_to_its_end_succeeds():
    status, told, trouble = run_for("tail -n 1", LONG)
    assert (status, trouble) == (0, b"")
    assert told.strip()


def test_a_command_without_standard_output_ends_as_it_would_with_it():
    command = f"{sys.executable} -m training methods >&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_connection_that_broke_is_not_taken_for_a_reader_that_left(monkeypatch):
    def breaks(_):
        raise BrokenPipeError

    monkeypatch.setattr(conformance_statement, "run", breaks)
    with pytest.raises(BrokenPipeError):
        main(["conformance-statement"])
