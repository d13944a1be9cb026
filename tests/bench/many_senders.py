"""How fast the node receives from several senders at once, beside DCMTK `storescp --fork +B`.

    python tests/bench/many_senders.py [--senders 1 4 8] [--mb 256] [--rounds 5] [--folder /dev/shm]

Every sender is a `storescu` with an instance of its own. Receivers are alternated in every round,
and take turns in who is first, so that both see the same machine. `storescp` syncs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUPPORT = HERE.parent / "support"
sys.path[:0] = [str(HERE), str(SUPPORT), str(SUPPORT.parents[1])]

from ingest import SENDER, Instance
from nodes import free_port, listening, wait_for

BAR = 1.0


def rate(port: int, folder: Path, instances: Sequence[Instance]) -> float:
    """10^6 bytes per second of all senders together, from the first byte to the last answer."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 1 << 20 and "sqlite" not in path.name:
            path.unlink()
    for instance in instances:
        instance.renew()
    began = time.perf_counter()
    sending = [
        subprocess.Popen([*SENDER, "127.0.0.1", str(port), str(instance.path)])
        for instance in instances
    ]
    if any(process.wait() for process in sending):
        raise RuntimeError("a sender was not answered with success")
    return sum(i.size_bytes for i in instances) / 1e6 / (time.perf_counter() - began)


def main() -> None:
    """Run, and print a row for each number of senders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--mb", type=int, default=256, help="of all senders together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=arguments.folder))
    folders, ports = [work / "node", work / "storescp"], [free_port(), free_port()]
    for folder in folders:
        folder.mkdir()
    node = [sys.executable, str(SUPPORT / "ingest_process.py"), str(folders[0]), str(ports[0])]
    dcmtk = ["storescp", "--fork", "+B", "+xy", "-pdu", "131072", "-od", str(folders[1])]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])}
    with tempfile.TemporaryFile() as log:
        started = [
            subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            for command in (node, [*dcmtk, str(ports[1])])
        ]
        try:
            for port in ports:
                wait_for(lambda port=port: listening(port), what="a receiver")
            print(f"load average {os.getloadavg()[0]:.1f}")
            for count in arguments.senders:
                show(count, work, ports, folders, arguments.mb * 10**6 // count, arguments.rounds)
        finally:
            for process in started:
                process.kill()
                process.wait()
            shutil.rmtree(work)


def show(
    count: int, work: Path, ports: list[int], folders: list[Path], size: int, rounds: int
) -> None:
    """Measure with so many senders, and print the row."""
    instances = [Instance(work / f"{n}.dcm", size) for n in range(count)]
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            found[which].append(rate(ports[which], folders[which], instances))
    ratios = [ours / theirs for ours, theirs in zip(*found, strict=True)]
    share = statistics.median(ratios)
    told = "met" if share >= BAR else "MISSED"
    print(
        f"{count} senders: node {statistics.median(found[0]):.0f} MB/s, storescp --fork "
        f"{statistics.median(found[1]):.0f} MB/s; ratio {share:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), {told}",
        flush=True,
    )


if __name__ == "__main__":
    main()
