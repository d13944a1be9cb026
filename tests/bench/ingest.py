"""How fast, and with how much memory, the node receives one large instance.

    python tests/bench/ingest.py [--gb 1.0] [--rounds 5] [--big-gb 2]

Sender: `storescu -pdu 131072 -R -xy`, a new SOP Instance UID each time. Receivers, alternated in
every round so that all see the same machine: this node (file, folder and ledger row durable before
it answers), DCMTK `storescp +B` (bit-preserving; it syncs nothing) and the handler of pynetdicom's
tutorial, with the node's PDU size (the bar) and with the library's default, as the tutorial has it.
On a disk `storescp` is shown a second time with an fsync of its file after the answer.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
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

SUPPORT = Path(__file__).resolve().parents[1] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT.parents[1])]

import pynetdicom
from wsm_files import write_wsm

SENDER = ["storescu", "-pdu", "131072", "-R", "-xy", "-aet", "STORESCU", "-aec", "NODE"]
BARS = {"share of storescp +B": 0.65, "times the tutorial": 4.0, "peak RSS, MB": 100.0}


AS_PUBLISHED = "tutorial, 16 kB PDU"


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
        for path in self.large_files():
            path.unlink()

    def stored(self) -> Path:
        """The one instance that is stored."""
        [path] = self.large_files()
        return path

    def large_files(self) -> list[Path]:
        """What is stored, without a database of the receiver."""
        return [
            path
            for path in self.folder.rglob("*")
            if path.is_file() and path.stat().st_size > 1 << 20 and "sqlite" not in path.name
        ]

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


def serve_tutorial(port: int, folder: Path, pdu_bytes: int) -> None:
    """The storage SCP of pynetdicom's tutorial, for one presentation context of the node's."""
    from pynetdicom import AE, evt

    def handle_store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    entity = AE("NODE")
    entity.maximum_pdu_size = pdu_bytes
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.77.1.6", ["1.2.840.10008.1.2.4.50"])
    print(port, flush=True)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, handle_store)])


@contextmanager
def receivers(root: Path, port: int) -> Iterator[list[Receiver]]:
    """The receivers, each in a folder of its own below `root`."""
    names = ("node", "storescp", "tutorial", AS_PUBLISHED)
    folders = {name: root / name.replace(" ", "-") for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True)
    python = sys.executable
    tutorial = [python, __file__, "--serve-tutorial"]
    commands = {
        "node": [python, str(SUPPORT / "ingest_process.py"), str(folders["node"]), str(port)],
        "storescp": ["storescp", "+B", "+xy", "-pdu", "131072", "-od", str(folders["storescp"])],
        "tutorial": [*tutorial, str(port + 2), str(folders["tutorial"]), "131072"],
        AS_PUBLISHED: [*tutorial, str(port + 3), str(folders[AS_PUBLISHED]), "16382"],
    }
    commands["storescp"].append(str(port + 1))
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])}
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


@dataclass(frozen=True)
class Row:
    """What was measured on one receiver. Rates in 10^6 bytes per second, one per round."""

    name: str
    mb_per_s: tuple[float, ...]
    cpu_s_per_gb: float
    peak_rss_mb: float

    @property
    def median(self) -> float:
        """Median rate."""
        return statistics.median(self.mb_per_s)


@dataclass(frozen=True)
class Figures:
    """One run on one file system; the first row is the node."""

    storage: str
    size_gb: float
    rows: tuple[Row, ...]
    big_gb: float
    big_peak_rss_mb: float
    """Peak of the node after one instance of `big_gb`; 0 when none was sent."""

    def ratio(self, name: str) -> float:
        """The node's median rate over that of another receiver."""
        return self.rows[0].median / next(r.median for r in self.rows if r.name == name)


class Instance:
    """A file to send. Each sending gets a SOP Instance UID of its own, so none is a resend."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._uid = f"2.25.{10**30 + secrets.randbelow(10**30)}"
        write_wsm(path, size_bytes=size_bytes, SOPInstanceUID=self._uid)
        self.size_bytes = path.stat().st_size

    def renew(self) -> None:
        """Give it another UID of the same length, in file meta information and dataset."""
        old, self._uid = self._uid, f"2.25.{int(self._uid[5:]) + 1}"
        with self.path.open("r+b") as file:
            start = file.read(2048)
            file.seek(0)
            file.write(start.replace(old.encode(), self._uid.encode()))


def send(instance: Instance, receiver: Receiver) -> None:
    """Send an instance once and note the rate and the receiver's CPU time."""
    receiver.clear()
    instance.renew()
    size = instance.size_bytes
    cpu_s = receiver.cpu_s()
    begin = time.perf_counter()
    subprocess.run([*SENDER, "127.0.0.1", str(receiver.port), str(instance.path)], check=True)
    if receiver.synced:
        with receiver.stored().open("rb") as handle:
            os.fsync(handle.fileno())
    receiver.mb_per_s.append(size / 1e6 / (time.perf_counter() - begin))
    receiver.cpu_s_per_gb.append((receiver.cpu_s() - cpu_s) / (size / 1e9))
    if abs(receiver.stored().stat().st_size - size) > 1024:  # the headers differ a little
        raise RuntimeError(f"{receiver.name} did not store all of {instance.path}")
    receiver.clear()


def measure(
    root: Path, *, gb: float, rounds: int, big_gb: float = 0.0, port: int = 21122
) -> Figures:
    """Alternate the receivers on the file system of `root`, an existing folder.

    Instances to send lie in memory (/dev/shm) whatever `root` is. Takes `port` and the three above.
    """
    in_memory = filesystem(root) == "tmpfs"
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as work,
        receivers(root / "received", port) as started,
    ):
        compared = list(started)
        if not in_memory:
            plain = started[1]
            synced = Receiver("storescp + fsync", plain.process, plain.port, plain.folder, True)
            compared.insert(2, synced)
        instance = Instance(Path(work) / "one.dcm", int(gb * 1e9))
        for _ in range(rounds):
            for receiver in compared:
                send(instance, receiver)
        rows = tuple(
            Row(r.name, tuple(r.mb_per_s), statistics.median(r.cpu_s_per_gb), r.peak_rss_mb())
            for r in compared
        )
        instance.path.unlink()
        if big_gb:
            send(Instance(Path(work) / "big.dcm", int(big_gb * 1e9)), started[0])
        peak = started[0].peak_rss_mb() if big_gb else 0.0
    return Figures("tmpfs" if in_memory else "disk", gb, rows, big_gb, peak)


def filesystem(path: Path) -> str:
    """The type of the file system a folder is on."""
    command = ["stat", "--file-system", "--format=%T", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def show(found: Figures) -> None:
    """Print one table, and below it whether the bars are met, where they apply."""
    rounds = len(found.rows[0].mb_per_s)
    print(f"\n{found.storage}: one instance of {found.size_gb:.2f} GB, {rounds} rounds")
    print(
        f"{'receiver':<20}{'MB/s median':>12}{'(min - max)':>16}{'/ storescp':>12}"
        f"{'/ tutorial':>12}{'CPU s/GB':>10}{'peak RSS MB':>13}"
    )
    median = {r.name: r.median for r in found.rows}
    for r in found.rows:
        spread = f"({min(r.mb_per_s):.0f} - {max(r.mb_per_s):.0f})"
        print(
            f"{r.name:<20}{r.median:>12.0f}{spread:>16}{r.median / median['storescp']:>12.2f}"
            f"{r.median / median['tutorial']:>12.1f}{r.cpu_s_per_gb:>10.2f}{r.peak_rss_mb:>13.0f}"
        )
    if not found.big_gb:
        return
    print(f"\nafter {found.big_gb:.2f} GB in one instance: {found.big_peak_rss_mb:.0f} MB peak RSS")
    values = (found.ratio("storescp"), found.ratio("tutorial"), found.big_peak_rss_mb)
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
    parser.add_argument(
        "--serve-tutorial", nargs=3, metavar=("PORT", "DIR", "PDU"), help="internal"
    )
    asked = parser.parse_args()
    if asked.serve_tutorial:
        port, folder, pdu_bytes = asked.serve_tutorial
        serve_tutorial(int(port), Path(folder), int(pdu_bytes))
        return
    print(machine())
    memory = Path("/dev/shm")
    needed = (2 * asked.gb + 2 * asked.big_gb) * 1e9
    if shutil.disk_usage(memory).free < needed:
        parser.error(f"{memory} has less than {needed / 1e9:.0f} GB free")
    with tempfile.TemporaryDirectory(dir=memory) as root:
        show(measure(Path(root), gb=asked.gb, rounds=asked.rounds, big_gb=asked.big_gb))
    if not asked.no_disk:
        with tempfile.TemporaryDirectory(dir=asked.disk) as root:
            show(measure(Path(root), gb=asked.gb, rounds=asked.rounds))
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
