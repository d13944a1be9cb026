from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference.durable import put_together, sweep, whole, whole_folder

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


def fill_and_fail(path: Path) -> None:
    with whole_folder(path) as made:
        (made / "first").write_bytes(b"1")
        raise OSError("no room")


def fill_where_another_was_faster(path: Path) -> None:
    with whole_folder(path) as made:
        (made / "inside").write_bytes(b"new")
        path.mkdir()
        (path / "kept").write_bytes(b"old")


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_is_there_with_all_its_files_or_not_at_all(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "bundles" / "mine"
    if exists:
        path.mkdir(parents=True)
    with pytest.raises(OSError, match="no room"):
        fill_and_fail(path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []
    with whole_folder(path) as made:
        (made / "first").write_bytes(b"1")
        (made / "plans").mkdir()
        (made / "plans" / "second").write_bytes(b"2")
        assert not path.is_dir() or not (path / "first").exists()
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*")) == [
        "first", "plans", "plans/second",
    ]  # fmt: skip
    assert os.listdir(path.parent) == ["mine"]


def test_a_folder_with_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OSError, match="mine"):
        fill_where_another_was_faster(tmp_path / "mine" / "first")
    assert (tmp_path / "mine" / "first" / "kept").read_bytes() == b"old"
    assert os.listdir(tmp_path / "mine") == ["first"]


def test_files_are_put_into_a_folder_together_or_none_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (target / "manifest").write_bytes(b"old")
    (target / "stays").write_bytes(b"beside")
    (source / "manifest").write_bytes(b"new")
    (source / "sums").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        put_together(source, target, "sums")
    assert (target / "manifest").read_bytes() == b"old"
    assert sorted(os.listdir(target)) == ["manifest", "stays"]
    (source / "sums").unlink()
    (source / "sums").write_bytes(b"sums")
    put_together(source, target, "sums")
    assert (target / "manifest").read_bytes() == b"new"
    assert sorted(os.listdir(target)) == ["manifest", "stays", "sums"]
