"""How fast, and with how much memory, the node receives one large instance.

    python tests/bench/ingest.py [--gb 1.0] [--rounds 5] [--big-gb 2]

Sender: `storescu -pdu 131072 -R -xy`. Receivers, alternated in every round so that all see the same
machine: this node (file, folder and ledger row durable, SHA-256 computed), DCMTK `storescp +B`
(bit-preserving; neither syncs nor hashes) and the handler of pynetdicom's tutorial.
On a disk `storescp` is shown a second time with an fsync of its file after the answer.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import pynetdicom
from wsm_files import write_wsm

SENDER = ["storescu", "-pdu", "131072", "-R", "-xy", "-aet", "STORESCU", "-aec", "NODE"]
BARS = {"share of storescp +B": 0.65, "times the tutorial": 4.0, "peak RSS, MB": 100.0}


@dataclass
class Receiver:
    """A listening process and what was measured on it."""

    name: str
    process: subprocess.Popen[str]
    port: int
    folder: Path
    synced: bool = False
    mb_per_s: list[float] = field(default_factory=list)
    cpu_s_per_gb: list[float] = field(default_factory=list)

    def clear(self) -> None:
        """Remove what was received, so that every round stores anew."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_size > 1 << 20 and "sqlite" not in path.name:
                path.unlink()

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_mb(self) -> float:
        """Highest resident memory of the process so far, in 10^6 bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("no VmHWM in /proc/PID/status")


def serve_tutorial(port: int, folder: Path) -> None:
    """The storage SCP of pynetdicom's tutorial, with the context and PDU size of the node."""
    from pynetdicom import AE, evt

    def handle_store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    entity = AE("NODE")
    entity.maximum_pdu_size = 131072
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.77.1.6", ["1.2.840.10008.1.2.4.50"])
    print(port, flush=True)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, handle_store)])


@contextmanager
def receivers(root: Path, port: int) -> Iterator[list[Receiver]]:
    """The three receivers, each in a folder of its own below `root`."""
    folders = {name: root / name for name in ("node", "storescp", "tutorial")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    python = sys.executable
    commands = {
        "node": [python, str(TESTS / "ingest_process.py"), str(folders["node"]), str(port)],
        "storescp": ["storescp", "+B", "+xy", "-pdu", "131072", "-od", str(folders["storescp"])],
        "tutorial": [python, __file__, "--serve-tutorial", str(port + 2), str(folders["tutorial"])],
    }
    commands["storescp"].append(str(port + 1))
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    started = []
    with tempfile.TemporaryFile("w") as log:
        for offset, (name, command) in enumerate(commands.items()):
            process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)
            started.append(Receiver(name, process, port + offset, folders[name]))
        try:
            for receiver in started:
                wait_for(receiver)
            yield started
        finally:
            for receiver in started:
                receiver.process.send_signal(signal.SIGKILL)
                receiver.process.wait()
            shutil.rmtree(root)


def wait_for(receiver: Receiver) -> None:
    """Wait until a receiver answers."""
    echo = ["echoscu", "-aet", "STORESCU", "-aec", "NODE", "127.0.0.1", str(receiver.port)]
    for _ in range(100):
        # The tutorial has no Verification context: an association is all that is needed.
        answer = subprocess.run(echo, capture_output=True, text=True, check=False)
        if "TCP Initialization Error" not in answer.stderr:
            return
        time.sleep(0.2)
    raise RuntimeError(f"{receiver.name} does not listen on port {receiver.port}")


def send(file: Path, receiver: Receiver) -> None:
    """Send a file once and note the rate and the receiver's CPU time."""
    receiver.clear()
    size = file.stat().st_size
    cpu_s = receiver.cpu_s()
    begin = time.perf_counter()
    subprocess.run([*SENDER, "127.0.0.1", str(receiver.port), str(file)], check=True)
    if receiver.synced:
        [stored] = [p for p in receiver.folder.iterdir() if p.stat().st_size > 1 << 20]
        with stored.open("rb") as handle:
            os.fsync(handle.fileno())
    receiver.mb_per_s.append(size / 1e6 / (time.perf_counter() - begin))
    receiver.cpu_s_per_gb.append((receiver.cpu_s() - cpu_s) / (size / 1e9))
    receiver.clear()


def show(title: str, found: list[Receiver], peaks: dict[str, float]) -> None:
    """Print one table."""
    reference = {r.name: statistics.median(r.mb_per_s) for r in found}
    print(f"\n{title}")
    print(
        f"{'receiver':<20}{'MB/s median':>12}{'(min - max)':>16}{'/ storescp':>12}"
        f"{'/ tutorial':>12}{'CPU s/GB':>10}{'peak RSS MB':>13}"
    )
    for r in found:
        median = reference[r.name]
        spread = f"({min(r.mb_per_s):.0f} - {max(r.mb_per_s):.0f})"
        print(
            f"{r.name:<20}{median:>12.0f}{spread:>16}{median / reference['storescp']:>12.2f}"
            f"{median / reference['tutorial']:>12.1f}{statistics.median(r.cpu_s_per_gb):>10.2f}"
            f"{peaks[r.name]:>13.0f}"
        )


def measure(root: Path, file: Path, big: Path | None, rounds: int, *, disk: bool) -> None:
    """Alternate the receivers on one file system and print their table."""
    with receivers(root, 21112 if disk else 21122) as started:
        compared = list(started)
        if disk:
            plain = started[1]
            compared.insert(
                2, Receiver("storescp + fsync", plain.process, plain.port, plain.folder, True)
            )
        for _ in range(rounds):
            for receiver in compared:
                send(file, receiver)
        peaks = {r.name: r.peak_rss_mb() for r in compared}
        kind = "disk" if disk else "memory (tmpfs)"
        show(f"{kind}: {file.stat().st_size / 1e9:.2f} GB, {rounds} rounds", compared, peaks)
        if big is None:
            return
        node = started[0]
        rates = {r.name: statistics.median(r.mb_per_s) for r in started}
        send(big, node)
        values = (
            rates["node"] / rates["storescp"],
            rates["node"] / rates["tutorial"],
            node.peak_rss_mb(),
        )
        size_gb = big.stat().st_size / 1e9
        print(f"\nafter {size_gb:.2f} GB in one instance: {values[2]:.0f} MB peak RSS")
        for (name, bar), value in zip(BARS.items(), values, strict=True):
            met = value <= bar if "RSS" in name else value >= bar
            print(f"{'met   ' if met else 'MISSED'} {name}: {value:.2f}, bar {bar}")


def machine() -> str:
    """The facts that explain the numbers."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((li.split(":")[1].strip() for li in lines if "model name" in li), "?")
    dcmtk = subprocess.run(["storescp", "--version"], capture_output=True, text=True, check=False)
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, pynetdicom {pynetdicom.__version__}, "
        f"{dcmtk.stdout.splitlines()[0].strip('$ ')}, load {os.getloadavg()[0]:.1f} at the start"
    )


def main() -> None:
    """Parse the command line and run both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big-gb", type=float, default=2.0)
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--no-disk", action="store_true")
    parser.add_argument("--serve-tutorial", nargs=2, metavar=("PORT", "DIR"), help="internal")
    asked = parser.parse_args()
    if asked.serve_tutorial:
        serve_tutorial(int(asked.serve_tutorial[0]), Path(asked.serve_tutorial[1]))
        return
    print(machine())
    memory = Path("/dev/shm")
    needed = (2 * asked.gb + 2 * asked.big_gb) * 1e9
    if shutil.disk_usage(memory).free < needed:
        print(f"{memory} has less than {needed / 1e9:.0f} GB free: no table for memory")
        memory = asked.disk
    with tempfile.TemporaryDirectory(dir=memory) as work:
        file, big = Path(work) / "one.dcm", Path(work) / "big.dcm"
        write_wsm(file, size_bytes=int(asked.gb * 1e9))
        write_wsm(big, size_bytes=int(asked.big_gb * 1e9))
        measure(Path(work) / "received", file, big, asked.rounds, disk=memory == asked.disk)
        big.unlink()
        if memory != asked.disk and not asked.no_disk:
            with tempfile.TemporaryDirectory(dir=asked.disk) as disk:
                measure(Path(disk) / "received", file, None, min(asked.rounds, 3), disk=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
