"""A child that hangs is noticed, killed and started again; one that is only slow is not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
from nodes import Node, listening, node, wait_for

from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.ledger.states import State
from dicom_node.processes.children import Child, Patience
from dicom_node.processes.heartbeat import Heart, Pulse
from dicom_node.work.overseer import Overseer
from dicom_node.work.watch import Watch

ROOT = Path(__file__).parents[2]

CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from dicom_node.processes.heartbeat import Heart
heart = Heart(int(sys.argv[sys.argv.index("--heartbeat") + 1]))
began = time.monotonic()
while time.monotonic() - began < 60:
    if time.monotonic() - began < {beats_s}:
        heart.beat()
    time.sleep(0.05)
"""


def child(beats_s: float, patience: Patience) -> Child:
    code = CHILD.format(root=str(ROOT), beats_s=beats_s)
    return Child("worker", [sys.executable, "-c", code], patience)


def tended(one: Child, for_s: float) -> list[int]:
    """How it ended each time while it was tended."""
    ends, until = [], time.monotonic() + for_s
    while time.monotonic() < until and not ends:
        status = one.tend()
        if status is not None:
            ends.append(status)
        time.sleep(0.05)
    with suppress(AttributeError):
        one.process.kill()
    return ends


def test_a_child_that_falls_silent_is_killed():
    assert tended(child(1.0, Patience(60, 2)), 30) == [-signal.SIGKILL]


def test_a_child_that_beats_lives_however_long_it_takes():
    assert tended(child(60, Patience(10, 2)), 5) == []


def test_a_child_that_never_begins_is_killed_after_its_time_to_start():
    assert tended(child(0, Patience(2, 60)), 30) == [-signal.SIGKILL]


def test_a_child_that_waits_for_another_keeps_its_time_to_start():
    pulse = Pulse()
    heart = Heart(pulse.write)
    heart.waits()
    pulse.listen()
    assert not pulse.has_begun
    heart.beat()
    pulse.listen()
    assert pulse.has_begun


def test_a_supervisor_that_was_stopped_itself_blames_no_child():
    now = 0.0
    pulse = Pulse(clock=lambda: now)
    now = 3600.0
    pulse.listen()
    assert pulse.silent_s <= 1


def test_a_heart_that_nobody_hears_neither_blocks_nor_fails():
    pulse = Pulse()
    heart = Heart(pulse.write)
    for _ in range(70_000):  # more than a pipe holds
        heart.beat()
    pulse.close()
    heart.beat()
    Heart(None).beat()


def test_a_listener_that_is_stopped_is_replaced_within_half_a_minute(tmp_path):
    with node(tmp_path / "node", 1) as n:
        n.start()
        first = _child_of(n, "ingest")
        time.sleep(2)
        os.kill(first, signal.SIGSTOP)
        wait_for(lambda: _child_of(n, "ingest") not in (None, first), within_s=40, what="another")
        wait_for(lambda: listening(n.port), within_s=30, what="the new listener")
        assert '"event": "child_hung"' in n.log


def test_a_listener_whose_lobby_alone_hangs_is_replaced_within_half_a_minute(tmp_path):
    with node(tmp_path / "node", 1) as n:
        n.start("serve", str(ROOT / "tests" / "support" / "hanging_lobby.py"))
        first = wait_for(lambda: _child_of(n, "ingest"), what="the listener")
        (n.config.parent / "hang").touch()
        with socket.create_connection(("127.0.0.1", n.port)):
            wait_for(lambda: not (n.config.parent / "hang").exists(), what="the lobby to hang")
            assert psutil.Process(first).num_threads() > 1
            wait_for(lambda: _child_of(n, "ingest") not in (None, first), within_s=40)
        wait_for(lambda: echoes(n), within_s=30, what="an answer of the new listener")
        assert '"event": "child_hung"' in n.log


def echoes(n: Node) -> bool:
    done = subprocess.run(
        ["echoscu", "-aet", "PACS", "-aec", "DICOMNODE", "-to", "5", "127.0.0.1", str(n.port)],
        capture_output=True,
        timeout=60,
    )
    return done.returncode == 0


def test_a_listener_that_dies_again_and_again_is_back_within_seconds_each_time(tmp_path):
    with node(tmp_path / "node", 1) as n:
        n.start()
        for _ in range(6):
            pid = wait_for(lambda: _child_of(n, "ingest"), within_s=20, what="a listener")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda old=pid: _child_of(n, "ingest") != old, within_s=20)
        pauses = [line for line in n.log.splitlines() if '"child_died"' in line]
        assert len(pauses) >= 5
        assert not any('"again_in_s": 8' in line or '"again_in_s": 16' in line for line in pauses)


def test_signals_that_nobody_has_a_use_for_end_nothing(tmp_path):
    with node(tmp_path / "node", 1) as n:
        supervisor = n.start()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            supervisor.send_signal(number)
        time.sleep(1)
        assert supervisor.poll() is None
        assert listening(n.port)


def _child_of(n: Node, role: str) -> int | None:
    (supervisor,) = n.processes
    for process in psutil.Process(supervisor.pid).children():
        with suppress(psutil.Error):
            if role in process.cmdline():
                return process.pid
    return None


# -- the worker's own judge -----------------------------------------------------------------------


def queued(path: Path) -> tuple[Ledger, Run]:
    """A ledger with one study that waits for its analysis."""
    ledger = Ledger.open(path)
    one = ReceivedInstance("1.2.1", "1", "1.2", "1.2.9", "1.2", 5, "ab/c.dcm", "PACS", "::1")
    ledger.arrivals.record(one)
    run = Run("1.2", 1, 0)
    ledger.studies.close(run, Evidence(1))
    return ledger, Run("1.2", 1, 1)


def judged(watch: Watch, ledger: Ledger, **limits: float) -> tuple[list[str], Overseer]:
    said: list[str] = []
    overseer = Overseer(
        watch,
        ledger,  # type: ignore[arg-type]
        longest_standstill_s=limits.get("standstill_s", 900),
        most_memory_bytes=int(limits.get("memory", 1 << 60)),
        beat=lambda: said.append("beat"),
        end=lambda: said.append("end"),
    )
    return said, overseer


def test_a_stage_without_progress_parks_its_study_and_ends_the_process(tmp_path):
    ledger, run = queued(tmp_path / "node.sqlite")
    now = 0.0
    watch = Watch(clock=lambda: now)
    said, overseer = judged(watch, ledger, standstill_s=900)
    with watch.on(run, "analyzing") as moved:
        now = 800.0
        assert overseer.look()
        moved()
        now = 1600.0
        assert overseer.look(), "it was slow, but it moved"
        now = 2501.0
        assert not overseer.look()
    assert said == ["beat", "beat", "end"]
    parked = ledger.queries.revision("1.2")
    assert parked is not None
    assert parked.state is State.PARKED
    assert parked.reason == "no progress for 900 s while analyzing"


def test_a_study_that_takes_too_much_memory_is_parked(tmp_path):
    ledger, run = queued(tmp_path / "node.sqlite")
    watch = Watch()
    said, overseer = judged(watch, ledger, memory=1 << 20)
    assert overseer.look(), "no study is at work: none is to blame"
    with watch.on(run, "analyzing"):
        assert not overseer.look()
    assert said == ["beat", "end"]
    parked = ledger.queries.revision("1.2")
    assert parked is not None
    assert parked.state is State.PARKED
    assert "more than 1 MB of memory" in str(parked.reason)


def test_a_count_that_hangs_parks_a_study_that_is_still_receiving(tmp_path):
    ledger = Ledger.open(tmp_path / "node.sqlite")
    one = ReceivedInstance("1.2.1", "1", "1.2", "1.2.9", "1.2", 5, "ab/c.dcm", "PACS", "::1")
    ledger.arrivals.record(one)
    now = 0.0
    watch = Watch(clock=lambda: now)
    said, overseer = judged(watch, ledger)
    with watch.on(None, "going its rounds"), watch.on(Run("1.2", 1, 0), "counting"):
        now = 901.0
        assert not overseer.look()
    found = ledger.queries.revision("1.2")
    assert found is not None
    assert found.state is State.PARKED
    assert said == ["end"]


def test_rounds_that_count_many_studies_are_not_held_to_hang(tmp_path):
    ledger, run = queued(tmp_path / "node.sqlite")
    now = 0.0
    watch = Watch(clock=lambda: now)
    said, overseer = judged(watch, ledger, standstill_s=900)
    with watch.on(None, "going its rounds"):
        for _ in range(3):
            with watch.on(run, "counting") as moved:
                now += 800
                moved()
                now += 800
                assert overseer.look()
            now += 800
            assert overseer.look()
        now += 200
        assert not overseer.look(), "the rounds themselves hang"
    assert said == ["beat"] * 6 + ["end"]


def test_a_study_that_hangs_beside_rounds_that_do_not_is_the_one_that_is_parked(tmp_path):
    ledger, run = queued(tmp_path / "node.sqlite")
    now = 0.0
    watch = Watch(clock=lambda: now)
    _, overseer = judged(watch, ledger, standstill_s=900)
    begun, over = threading.Event(), threading.Event()

    def analyze() -> None:
        with watch.on(run, "analyzing"):
            begun.set()
            over.wait(30)

    other = threading.Thread(target=analyze)
    other.start()
    begun.wait(30)
    now = 901.0
    with watch.on(None, "going its rounds"):
        assert not overseer.look()
    over.set()
    other.join()
    assert ledger.queries.revision("1.2").state is State.PARKED


def test_children_inherit_no_heartbeat():
    pulse = Pulse()
    Heart(pulse.write)
    code = f"import os; os.fstat({pulse.write})"
    done = subprocess.run([sys.executable, "-c", code], close_fds=False, capture_output=True)
    assert done.returncode != 0
