"""What idle, dripping and vanishing connections cost the listener, and whom they hold up.

    python tests/bench/lobby.py [--silent 500] [--one-byte 500] [--dripping 50] [--seconds 10]

The receiver is a process of its own; all connections come from one host, and so does the C-ECHO
(a plain socket that asks for an association, so that no start of a tool is in the figures).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT.parents[1])]

import psutil
from nodes import wait_for
from peers import association_request, connect, connections, is_closed, read_pdu

REQUEST = association_request()
RELEASE = bytes.fromhex("05000000000400000000")


def asked(port: int) -> float:
    """Seconds from the connection to the answer to A-RELEASE-RQ."""
    begin = time.perf_counter()
    with connect(port) as sock:
        sock.sendall(REQUEST)
        if read_pdu(sock)[0] != 2:
            raise RuntimeError("no A-ASSOCIATE-AC")
        sock.sendall(RELEASE)
        if read_pdu(sock)[0] != 6:
            raise RuntimeError("no A-RELEASE-RP")
    return time.perf_counter() - begin


def many(port: int, count: int) -> str:
    """Times of several associations, one after the other."""
    took = sorted(asked(port) for _ in range(count))
    p99 = took[min(len(took) - 1, int(0.99 * len(took)))]
    return f"p50 {statistics.median(took) * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms"


def state(process: psutil.Process) -> str:
    """What a receiver uses now."""
    rss = process.memory_info().rss / 1e6
    return f"{process.num_threads()} threads, {process.num_fds()} descriptors, {rss:.0f} MB"


def crowd(port: int, process: psutil.Process, silent: int, one_byte: int, dripping: int) -> None:
    """Connections that never finish asking, until the last is shown out."""
    print(f"idle: {state(process)}; association {many(port, 50)}")
    begin = time.monotonic()
    with ExitStack() as stack:
        opened = [
            *stack.enter_context(connections(port, silent)),
            *stack.enter_context(connections(port, one_byte, b"\x01")),
        ]
        slow = stack.enter_context(connections(port, dripping))
        stop = threading.Event()

        def drip() -> None:
            for byte in REQUEST:
                for sock in slow:
                    try:
                        sock.send(bytes([byte]))
                    except OSError:
                        continue
                if stop.wait(1):
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        took = time.monotonic() - begin
        print(f"{len(opened) + len(slow)} opened in {took:.1f} s: {state(process)}")
        print(f"  association of the same host {many(port, 50)}")
        wait_for(lambda: all(map(is_closed, [*opened, *slow])), within_s=30)
        print(f"  the last is shown out after {time.monotonic() - begin:.1f} s")
        stop.set()
        thread.join()


def passing(port: int, process: psutil.Process, seconds: float, rate: int) -> None:
    """Connections that close at once, so many a second."""
    before = process.num_fds()
    begin, done, took = time.monotonic(), 0, []
    while (now := time.monotonic() - begin) < seconds:
        while done < now * rate:
            connect(port).close()
            done += 1
        if done % 100 < 10:
            took.append(asked(port))
        time.sleep(0.002)
    cpu = sum(process.cpu_times()[:2])
    print(
        f"{done} connections that closed at once, {done / (time.monotonic() - begin):.0f} a second"
    )
    print(f"  association meanwhile: p50 {statistics.median(took) * 1e3:.0f} ms, "
          f"longest {max(took) * 1e3:.0f} ms; {cpu:.1f} CPU s of the receiver so far")  # fmt: skip
    time.sleep(1)
    print(f"  descriptors left: {process.num_fds() - before}; {state(process)}")


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--silent", type=int, default=500)
    parser.add_argument("--one-byte", type=int, default=500)
    parser.add_argument("--dripping", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SUPPORT / "ingest_process.py"), f"{folder}/data"]
        popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
        )
        assert popen.stdout is not None
        port = next(int(line) for line in popen.stdout if line.strip().isdigit())
        threading.Thread(target=popen.stdout.read, daemon=True).start()
        process = psutil.Process(popen.pid)
        try:
            print(f"load average {os.getloadavg()[0]:.1f}")
            asked(port)
            crowd(port, process, arguments.silent, arguments.one_byte, arguments.dripping)
            passing(port, process, arguments.seconds, arguments.rate)
            print(f"load average {os.getloadavg()[0]:.1f}")
        finally:
            popen.kill()
            popen.wait()


if __name__ == "__main__":
    main()
