from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference.durable import sweep, whole

ROOT = Path(__file__).parent.parent.parent

WRITES = """
import sys, time
from pathlib import Path
from inference.durable import whole
with whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_file_takes_the_place_of_the_old_one_in_one_move(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    with whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result"]


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="closed"), whole(path) as file:
        file.close()  # what fsync then says
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path, other = folder / "result", tmp_path / "other.part"
    path.write_bytes(b"old")
    other.write_bytes(b"somebody else's")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_bytes() == b"old"
    assert len(os.listdir(folder)) == 2
    assert sweep(tmp_path) == 1
    assert os.listdir(folder) == ["result"]
    assert other.exists()
