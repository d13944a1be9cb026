"""The database is lost, old or damaged: no received file is, and `recover` brings all back."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from crashing import RECOVER_POINTS
from matrix import thinned
from nodes import ROOT, Node, node, storescp, storescu, study_of, wait_for
from pydicom import dcmread
from wsm_files import write_wsm

from dicom_node.ledger.states import State
from dicom_node.spool.lost_found import LostFound
from dicom_node.spool.spool import Spool
from slides import new_study_copy

PAGE = 4096


@pytest.fixture(scope="module")
def studies(phantom_study, tmp_path_factory) -> list[Path]:
    """Folders of two studies."""
    other = tmp_path_factory.mktemp("other") / "study"
    new_study_copy(phantom_study.folder, other, "other")
    return [phantom_study.folder, other]


@pytest.fixture(scope="module")
def received(studies, tmp_path_factory) -> Path:
    """The data folder of a stopped node that acknowledged both studies and analyzed none."""
    with node(tmp_path_factory.mktemp("received"), 1) as n:
        n.start("ingest")
        for folder in studies:
            assert storescu(n.port, folder).returncode == 0
        assert n.stop() == 0
        with closing(sqlite3.connect(database(n))) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # damage to the file alone then counts
        return n.folder / "node-data"


@pytest.fixture
def stopped(received, tmp_path) -> Iterator[Node]:
    """A node that has received both studies; its PACS is not there."""
    with node(tmp_path / "node", 1) as n:
        shutil.copytree(received, n.folder / "node-data")
        yield n


def database(n: Node) -> Path:
    return n.folder / "node-data" / "node.sqlite"


def backup(n: Node, copy: Path) -> Path:
    """A copy of the database as SQLite makes it, what is still in the -wal included."""
    with closing(sqlite3.connect(database(n))) as db:
        db.execute("VACUUM INTO ?", [str(copy)])
    return copy


def spool(n: Node) -> Spool:
    return Spool(n.folder / "node-data" / "spool", 0)


def lose_database(n: Node) -> None:
    for path in database(n).parent.glob("node.sqlite*"):
        path.unlink()


def sweep_all(n: Node) -> list[str]:
    """What a start without the database does to the spool; the names in lost+found."""
    lose_database(n)
    claimed = spool(n)
    claimed.claim()
    LostFound(claimed).sweep(set)
    claimed.release()
    return LostFound(claimed).names()


def digests(n: Node) -> list[str]:
    """Of every file of the spool that has bytes, wherever it is."""
    files = [p for p in spool(n).root.rglob("*") if p.is_file() and p.name != ".lock"]
    return sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in files)


def recover(n: Node) -> tuple[int, dict[str, Any]]:
    done = n.run("recover", "--json")
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def intact(n: Node) -> None:
    """Every instance of the ledger is on the spool, under its own UID; lost+found is empty."""
    paths = n.ledger.arrivals.known_paths()
    assert paths
    for path in paths:
        header = dcmread(spool(n).root / path, stop_before_pixels=True)
        stored = n.ledger.arrivals.find(header.SOPInstanceUID)
        assert stored is not None
        assert stored.path == path
        assert not spool(n).is_damaged(path, stored.size_bytes)
    assert LostFound(spool(n)).names() == []


# -- the whole way ------------------------------------------------------------------------------


def test_after_the_database_is_lost_a_running_node_analyzes_every_acknowledged_study(
    studies, tmp_path
):
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, studies[0])
        assert n.finished(study_of(studies[0])).state is State.DONE
        assert n.stop() == 0
        n.start("ingest")
        storescu(n.port, studies[1])
        n.kill()
        before = digests(n)
        lose_database(n)

        n.start()
        assert digests(n) == before
        assert "spool_files_unknown" in n.log
        assert "dicom-node recover" in n.log
        status, report = recover(n)

        assert (status, report["recorded"], report["left"]) == (0, len(before), [])
        assert report["studies"] == sorted(study_of(folder) for folder in studies)
        for folder in studies:
            assert n.finished(study_of(folder)).state is State.DONE
        assert digests(n) == before
        intact(n)
        status, report = recover(n)
        assert (status, report["recorded"], report["studies"]) == (0, 0, [])
        assert {str(o.StudyInstanceUID) for o in pacs.objects()} == set(map(study_of, studies))


def test_after_an_older_copy_of_the_database_only_the_newer_study_is_recorded_again(
    studies, tmp_path
):
    old, new = (study_of(folder) for folder in studies)
    with storescp(tmp_path / "pacs") as pacs, node(tmp_path / "node", pacs.port) as n:
        n.start()
        storescu(n.port, studies[0])
        assert n.finished(old).state is State.DONE
        assert n.stop() == 0
        copy = backup(n, tmp_path / "backup.sqlite")
        n.start("ingest")
        storescu(n.port, studies[1])
        n.kill()
        before = digests(n)
        lose_database(n)
        shutil.copy(copy, database(n))
        assert "that it does not know" in finding(n, "database")["says"]

        n.start()
        status, report = recover(n)

        assert (status, report["studies"], report["already_there"]) == (0, [new], 0)
        assert n.finished(new).state is State.DONE
        assert n.finished(old).revision == 1
        assert digests(n) == before
        intact(n)


# -- a damaged database -------------------------------------------------------------------------


def zeroed_page(content: bytes) -> bytes:
    at = len(content) // PAGE // 2 * PAGE
    return content[:at] + bytes(PAGE) + content[at + PAGE :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a zeroed page in the middle": zeroed_page,
    "a garbage header": lambda content: b"garbage" * 100 + content[700:],
    "cut short": lambda content: content[: len(content) // 2 + 100],
}


def finding(n: Node, what: str) -> dict[str, Any]:
    found = [f for f in json.loads(n.run("check", "--json").stdout) if f["what"] == what]
    return found[0] if found else {}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_database_ends_every_command_with_one_sentence_and_loses_no_file(damage, stopped):
    before = digests(stopped)
    database(stopped).write_bytes(DAMAGE[damage](database(stopped).read_bytes()))

    served = stopped.run("serve")
    assert served.returncode == 3
    [line] = served.stderr.splitlines()
    reason = json.loads(line)["reason"]
    assert "found damage" in reason
    assert "-wal and -shm" in reason
    assert "dicom-node recover" in reason
    for command in (["studies"], ["retry", "1.2.3"], ["recover"]):
        told = stopped.run(*command)
        assert (told.returncode, told.stdout) == (3, "")
        [line] = told.stderr.splitlines()
        assert "found damage" in line
        assert str(database(stopped)) in line
    assert finding(stopped, "database")["ok"] is False
    assert digests(stopped) == before


def test_moved_aside_a_damaged_database_costs_no_study(studies, stopped, tmp_path):
    before = digests(stopped)
    database(stopped).write_bytes(zeroed_page(database(stopped).read_bytes()))
    database(stopped).rename(tmp_path / "aside.sqlite")
    with storescp(tmp_path / "pacs") as pacs:
        text = stopped.config.read_text().replace("port = 1\n", f"port = {pacs.port}\n")
        stopped.config.write_text(text)
        assert "absent, but the spool holds" in finding(stopped, "database")["says"]
        stopped.start()
        assert finding(stopped, "database")["ok"] is True
        assert "dicom-node recover" in finding(stopped, "lost+found")["says"]
        assert recover(stopped)[0] == 0
        assert finding(stopped, "lost+found") == {}
        for folder in studies:
            assert stopped.finished(study_of(folder)).state is State.DONE
        assert digests(stopped) == before


def test_damage_that_shows_while_the_node_runs_ends_it_after_the_sender_is_told_to_keep_its_copy(
    stopped, tmp_path
):
    process = stopped.start("ingest")
    database(stopped).write_bytes(b"garbage" * 20_000)
    for path in database(stopped).parent.glob("node.sqlite-*"):
        path.write_bytes(b"garbage" * 20_000)
    write_wsm(tmp_path / "a.dcm", size_bytes=100_000)
    assert "OutOfResources" in storescu(stopped.port, tmp_path / "a.dcm").stderr
    assert process.wait(30) == 3
    assert "database_unusable" in stopped.log
    assert "Traceback" not in stopped.log


def test_damage_that_the_worker_meets_ends_the_whole_node_with_the_sentence(stopped):
    process = stopped.start()
    wait_for(lambda: "destination_problem" in stopped.log, what="the rounds of the worker")
    for path in database(stopped).parent.glob("node.sqlite*"):
        path.write_bytes(b"garbage" * 100_000)
    assert process.wait(60) == 3
    assert "database_unusable" in stopped.log
    assert "node_refused_to_start" in stopped.log


def test_a_folder_in_place_of_the_database_ends_the_start_with_one_sentence(stopped):
    lose_database(stopped)
    database(stopped).mkdir()
    served = stopped.run("serve")
    assert served.returncode == 3
    assert "cannot be opened (SQLITE_CANTOPEN" in json.loads(served.stderr)["reason"]


def test_check_looks_at_a_database_that_is_absent_or_sound_and_creates_none(tmp_path, stopped):
    with node(tmp_path / "new", 1) as n:
        assert "absent yet" in finding(n, "database")["says"]
        assert not database(n).exists()
    assert finding(stopped, "database")["ok"] is True
    assert "sound" in finding(stopped, "database")["says"]


# -- one file at a time -------------------------------------------------------------------------


def test_what_is_no_instance_of_ours_stays_and_is_named_without_what_it_says(stopped, tmp_path):
    names = sweep_all(stopped)
    folder = LostFound(spool(stopped)).folder
    good = (folder / names[0]).read_bytes()
    (folder / "text.dcm").write_bytes(b"PATIENT^NAME")
    (folder / "cut.dcm").write_bytes(good[:100])
    (folder / "headless.dcm").write_bytes(good[:400] + b"\xff" * 400)
    (folder / "folder").mkdir()
    other = dcmread(folder / names[0])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    other.save_as(folder / "ct.dcm")
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    other.save_as(folder / "mismatch.dcm", enforce_file_format=False)

    status, report = recover(stopped)

    assert status == 1
    assert report["recorded"] == len(names)
    left = {file["name"]: file["reason"] for file in report["left"]}
    assert set(left) == {"text.dcm", "cut.dcm", "headless.dcm", "folder", "ct.dcm", "mismatch.dcm"}
    assert sorted(left) == LostFound(spool(stopped)).names()
    assert "PATIENT" not in str(left)
    assert left["ct.dcm"] == "no whole-slide image"
    told = stopped.run("recover")
    assert told.returncode == 1
    assert all(name in told.stdout for name in left)


def test_what_is_already_there_is_dropped_what_was_lost_restored_and_other_content_left(stopped):
    before = digests(stopped)
    paths = sorted(stopped.ledger.arrivals.known_paths())
    same, lost, other = (spool(stopped).root / path for path in paths[:3])
    folder = LostFound(spool(stopped)).folder
    shutil.copy(same, folder / "same.dcm")
    lost.rename(folder / "lost.dcm")
    changed = bytearray(other.read_bytes())
    changed[-20] ^= 1
    (folder / "changed.dcm").write_bytes(changed)

    status, report = recover(stopped)

    assert status == 1
    assert (report["recorded"], report["restored"], report["already_there"]) == (0, 1, 1)
    [left] = report["left"]
    assert left["name"] == "changed.dcm"
    assert "other content" in left["reason"]
    assert (folder / "changed.dcm").read_bytes() == changed
    (folder / "changed.dcm").unlink()
    assert digests(stopped) == before
    intact(stopped)


def test_a_second_recover_refuses_while_one_is_at_work(stopped):
    names = sweep_all(stopped)
    with LostFound(spool(stopped)).held():
        told = stopped.run("recover")
    assert told.returncode == 1
    assert "another process moves files there" in told.stderr
    assert LostFound(spool(stopped)).names() == names


@pytest.mark.parametrize("point", thinned(RECOVER_POINTS, 2))
def test_a_recover_that_is_killed_loses_nothing_and_the_next_one_goes_on(point, stopped):
    before = set(digests(stopped))
    if point.startswith("restored"):
        folder = LostFound(spool(stopped)).folder
        for path in sorted(stopped.ledger.arrivals.known_paths()):
            (spool(stopped).root / path).rename(folder / path.replace("/", ""))
    else:
        sweep_all(stopped)
    crashing = [sys.executable, str(ROOT / "tests" / "support" / "crashing.py"), point, "2"]
    killed = subprocess.run(
        [*crashing, "recover", "--config", str(stopped.config)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert set(digests(stopped)) == before

    stopped.start("ingest")  # its sweep finds what was published and not recorded

    assert set(digests(stopped)) == before
    status, report = recover(stopped)
    assert (status, report["left"]) == (0, [])
    assert len(stopped.ledger.arrivals.known_paths()) == len(before)
    assert digests(stopped) == sorted(before)
    intact(stopped)


def test_recover_has_nothing_to_do_and_makes_no_database_where_no_file_is_lost(tmp_path):
    with node(tmp_path / "node", 1) as n:
        told = n.run("recover")
        assert told.returncode == 0
        assert "nothing to recover" in told.stdout
        assert not database(n).exists()
