"""Mutated association requests against a whole node, by hand: what they cost it and others.

    python tests/long/association_requests.py [--mutants 5000] [--start 0] [--threads 8]

While they come, another sender asks for C-ECHO again and again. It exits with 1 where a child of
the node died, an echo was not answered, or threads or descriptors stay.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from mutant_requests import mutant
from nodes import Node, free_port, node
from peers import connect, read_pdu

from conformance.session import Session, Target
from conformance.verdicts import Failed
from conformance.wire.connection import Ended, Pdu, Silence, still_echoes

_OTHER = """
[[senders]]
ae_title = "OTHER"
networks = ["127.0.0.0/8"]
"""
_ANSWER_S = 0.5
_CALM_S = 12.0  # the lobby's patience, and a little
_SHORTEST_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--start", type=int, default=0, help="the first number")
    parser.add_argument("--threads", type=int, default=8)
    arguments = parser.parse_args()
    wanted = range(arguments.start, arguments.start + arguments.mutants)
    with (
        tempfile.TemporaryDirectory() as folder,
        node(Path(folder), free_port(), extra=_OTHER) as n,
    ):
        supervisor = psutil.Process(n.start().pid)
        return _hunt(n, supervisor, iter(wanted), arguments.threads)


def _hunt(n: Node, supervisor: psutil.Process, numbers: Iterator[int], threads: int) -> int:
    echoes = _Echoes(n.port)
    echoes.run_for(_SHORTEST_S)
    calm = echoes.taken()
    children = {c.pid for c in supervisor.children()}
    ingest = _ingest(supervisor)
    before = _Held(ingest)
    print(f"before: {before}; C-ECHO {calm}", flush=True)
    answers = _send_all(n.port, numbers, threads, echoes)
    amid = echoes.taken()
    peak = _peak_mb(ingest)
    time.sleep(_CALM_S)
    echoes.run_for(_SHORTEST_S)
    after = _Held(ingest)
    print(f"after: {after}, peak {peak:.1f} MB; C-ECHO amid them {amid}, then {echoes.taken()}")
    print(f"answers: {dict(answers.most_common())}")
    faults = []
    if {c.pid for c in supervisor.children()} != children or "child_died" in n.log:
        faults.append("a child died")
    if echoes.failed:
        faults.append(f"{len(echoes.failed)} C-ECHO not answered, first {echoes.failed[0]}")
    if after.threads > before.threads or after.files > before.files:
        faults.append("threads or descriptors stay")
    for line in ("thread_failed", "visitor_failed", "process_failed", "error_ignored"):
        if line in n.log:
            faults += [said for said in n.log.splitlines() if line in said][:5]
    print(*faults or ["nothing died, nobody waited, nothing stays"], sep="\n")
    return 1 if faults else 0


def _ingest(supervisor: psutil.Process) -> psutil.Process:
    (found,) = [c for c in supervisor.children() if "ingest" in c.cmdline()]
    return found


class _Held:
    """What a process holds."""

    def __init__(self, process: psutil.Process) -> None:
        self.rss_mb = process.memory_info().rss / 1e6
        self.threads, self.files = process.num_threads(), process.num_fds()

    def __str__(self) -> str:
        return f"{self.rss_mb:.1f} MB, {self.threads} threads, {self.files} descriptors"


def _peak_mb(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


class _Echoes:
    """C-ECHO of somebody else, from another address, one after another."""

    def __init__(self, port: int) -> None:
        target = Target("127.0.0.1", port, "DICOMNODE", "OTHER")
        self._session = Session(target, patience_s=20)
        self._stop = threading.Event()
        self._taken: list[float] = []
        self.failed: list[str] = []

    def run_for(self, seconds: float) -> None:
        threading.Timer(seconds, self._stop.set).start()
        self.run()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                still_echoes(self._session)
            except (Failed, Ended, Silence, OSError, ValueError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
            self._taken.append(time.monotonic() - began)
            time.sleep(0.05)
        self._stop.clear()

    def stop(self) -> None:
        self._stop.set()

    def taken(self) -> str:
        """How long those since the last question took."""
        taken, self._taken = sorted(self._taken), []
        p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
        ms = ", ".join(f"{1000 * s:.0f}" for s in (p50, p99, taken[-1]))
        return f"{len(taken)} times, p50, p99, longest {ms} ms"


def _send_all(port: int, numbers: Iterator[int], threads: int, echoes: _Echoes) -> Counter[str]:
    answers: Counter[str] = Counter()
    lock = threading.Lock()

    def send() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            answer = _answer(port, number)
            with lock:
                answers[answer] += 1
                if sum(answers.values()) % 500 == 0:
                    print(f"{sum(answers.values())}", end=" ", flush=True)

    other = threading.Thread(target=echoes.run)
    other.start()
    began = time.monotonic()
    senders = [threading.Thread(target=send) for _ in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    print(f"\nsent in {time.monotonic() - began:.0f} s")
    echoes.stop()
    other.join()
    return answers


def _answer(port: int, number: int) -> str:
    """What one mutant is answered with, in words."""
    made = mutant(number, calling="PACS", called="DICOMNODE")
    with connect(port, source="127.0.0.3") as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(made.data)
            if made.is_shut:
                sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_ANSWER_S)
        try:
            found = read_pdu(sock)
        except TimeoutError:
            return "nothing yet"
    return str(Pdu(found[0], found[6:])) if len(found) >= 6 else "closed"


if __name__ == "__main__":
    sys.exit(main())
