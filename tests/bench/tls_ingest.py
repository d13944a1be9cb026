"""How fast the node receives one large instance over TLS, beside DCMTK and beside itself.

    python tests/bench/tls_ingest.py [--gb 1.0] [--rounds 3] [--folder /dev/shm]

Receivers, alternated in every round: the node with TLS (client certificates verified), DCMTK
`storescp +B +tls` (it syncs nothing), and the node without TLS. The sender is `storescu`.
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
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUPPORT = HERE.parent / "support"
sys.path[:0] = [str(HERE), str(SUPPORT), str(SUPPORT.parents[1])]

from certificates import Authority
from ingest import SENDER, Instance, Receiver
from nodes import free_port, listening, wait_for

BARS = {"share of storescp +B +tls": 0.7, "CPU s/GB": 1.4, "peak RSS, MB": 100.0}


def send(instance: Instance, receiver: Receiver, options: list[str]) -> None:
    """Send an instance once and note the rate and the receiver's CPU time."""
    receiver.clear()
    instance.renew()
    cpu_s, begin = receiver.cpu_s(), time.perf_counter()
    command = [*SENDER, *options, "127.0.0.1", str(receiver.port), str(instance.path)]
    subprocess.run(command, check=True)
    receiver.mb_per_s.append(instance.size_bytes / 1e6 / (time.perf_counter() - begin))
    receiver.cpu_s_per_gb.append((receiver.cpu_s() - cpu_s) / (instance.size_bytes / 1e9))
    if abs(receiver.stored().stat().st_size - instance.size_bytes) > 1024:
        raise RuntimeError(f"{receiver.name} did not store all of it")
    receiver.clear()


def start(name: str, command: list[str], port: int, folder: Path) -> Receiver:
    """A receiver, once it listens."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
    )
    wait_for(lambda: listening(port), what=f"{name} listening")
    return Receiver(name, process, port, folder)


def main() -> None:
    """Run, and print a table with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=arguments.folder))
    authority = Authority(work / "ca")
    for name in ("node", "sender", "storescp"):
        authority.issue(name)
    ca = work / "ca"
    trust = ["+cf", str(authority.ca)]
    secured = ["+tls", str(ca / "sender.key"), str(ca / "sender.pem"), *trust]
    node = [sys.executable, str(SUPPORT / "ingest_process.py")]
    ports = [free_port() for _ in range(3)]
    folders = [work / name for name in ("node-tls", "storescp-tls", "node")]
    for folder in folders:
        folder.mkdir()
    dcmtk = ["storescp", "+B", "+xy", "-pdu", "131072", "-od", str(folders[1])]
    dcmtk += ["+tls", str(ca / "storescp.key"), str(ca / "storescp.pem"), *trust, str(ports[1])]
    commands = [
        [*node, str(folders[0]), str(ports[0]), str(ca)],
        dcmtk,
        [*node, str(folders[2]), str(ports[2])],
    ]
    names = ["node +tls", "storescp +B +tls", "node"]
    started = [start(*row) for row in zip(names, commands, ports, folders, strict=True)]
    try:
        before = os.getloadavg()[0]
        instance = Instance(work / "one.dcm", int(arguments.gb * 1e9))
        for _ in range(arguments.rounds):
            for receiver in started:
                send(instance, receiver, [] if receiver.name == "node" else secured)
        show(started, f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    finally:
        for receiver in started:
            receiver.process.kill()
            receiver.process.wait()
        shutil.rmtree(work)


def show(receivers: list[Receiver], load: str) -> None:
    """Print the table, and whether the bars are met."""
    print(load)
    print(f"{'receiver':<18}{'MB/s median':>12}{'(min - max)':>14}{'CPU s/GB':>10}{'RSS MB':>8}")
    for r in receivers:
        median, cpu = statistics.median(r.mb_per_s), statistics.median(r.cpu_s_per_gb)
        spread = f"({min(r.mb_per_s):.0f} - {max(r.mb_per_s):.0f})"
        print(f"{r.name:<18}{median:>12.0f}{spread:>14}{cpu:>10.2f}{r.peak_rss_mb():>8.0f}")
    ours, theirs = receivers[0], receivers[1]
    share = statistics.median(ours.mb_per_s) / statistics.median(theirs.mb_per_s)
    values = (share, statistics.median(ours.cpu_s_per_gb), ours.peak_rss_mb())
    for (name, bar), value in zip(BARS.items(), values, strict=True):
        met = value >= bar if "share" in name else value <= bar
        print(f"{'met   ' if met else 'MISSED'} {name}: {value:.2f}, bar {bar}")


if __name__ == "__main__":
    main()
