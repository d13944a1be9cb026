"""Real processes for tests: the node, DCMTK's storescp as a PACS, and Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from pydicom import Dataset, dcmread
from pydicom.misc import is_dicom

from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import Revision
from dicom_node.ledger.states import State

ROOT = Path(__file__).parents[2]
WSM_SYNTAXES = ["-R", "-xy"]
"""storescu proposes only what the files need, JPEG baseline first."""
WSM_SYNTAXES_OF_JPEG_2000 = ["-R", "-xw"]


def need(*programs: str) -> None:
    """Skip where a program of the test set-up is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}; `sh tests/run.sh` installs it")


class TooLate(AssertionError):
    """What a test waited for did not happen in its time. It is run once more: of a node that hangs
    that fails as well, of a machine that was busy it does not."""


def wait_for(condition: Callable[[], Any], *, within_s: float = 60, what: str = "") -> Any:
    """The first true value of a condition; TooLate with `what` after `within_s`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise TooLate(f"not within {within_s} s: {what or condition}")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Node:
    """A node's folder and its processes."""

    folder: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    database: str | None = None
    """URL of a database of a server, in place of the file."""

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.database or self.folder / "node-data" / "node.sqlite")

    def start(
        self, role: str = "serve", *launcher: str, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a role by `launch`; one that receives listens when this returns."""
        process = self.launch(role, *launcher, prefix=prefix)
        if role in ("serve", "ingest"):
            wait_for(lambda: listening(self.port) or process.poll() is not None, what="listening")
            assert process.poll() is None, f"{process.returncode}\n{self.log[-6000:]}"
        return process

    def launch(
        self, role: str = "serve", *launcher: str, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a role in a process group of its own, by `launcher` instead of `-m dicom_node`."""
        command = [*prefix, sys.executable, *(launcher or ("-m", "dicom_node"))]
        with (self.folder / "node.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, role, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"},
            )
        self.processes.append(process)
        return process

    def work(self) -> None:
        """Start what analyzes and what delivers, as far as they do not run."""
        for role in ("worker", "egress"):
            if not any(role in p.args and p.poll() is None for p in self.processes):  # type: ignore[operator]
                self.launch(role)

    def crash(self, point: str, nth: int = 1) -> None:
        """Start what analyzes, or what delivers beside it: it kills itself at a point."""
        from crashing import EGRESS_POINTS, PROOF_POINTS  # it imports the product's processes

        role = "egress" if point in EGRESS_POINTS | PROOF_POINTS else "worker"
        if role == "egress":
            self.launch("worker")
        crashing = str(ROOT / "tests" / "support" / "crashing.py")
        process = self.launch(role, crashing, point, str(nth))
        assert process.wait(90) == -signal.SIGKILL, self.log

    def kill(self) -> None:
        """SIGKILL to every process of the node, children included."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of `dicom-node` with this node's config, run to its end."""
        return dicom_node(*arguments, "--config", str(self.config))

    def stop(self) -> int:
        """SIGTERM to the last started role; its exit status after draining."""
        process = self.processes.pop()
        process.terminate()
        return process.wait(60)

    def finished(self, study: str, *, within_s: float = 90) -> Revision:
        """The study's latest revision once it is done or parked."""
        ledger = self.ledger

        def over() -> Revision | None:
            revision = ledger.queries.revision(study)
            over = revision is not None and revision.state in (State.DONE, State.PARKED)
            return revision if over else None

        try:
            return wait_for(over, within_s=within_s)  # type: ignore[no-any-return]
        except TooLate:
            raise TooLate(f"{ledger.queries.revision(study)}\n{self.log[-6000:]}") from None


def dicom_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`dicom-node` with any arguments, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dicom_node", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@contextmanager
def node(
    folder: Path,
    pacs_port: int,
    *,
    host: str = "127.0.0.1",
    quiet_time_s: float = 1,
    drain_s: int = 10,
    reserve_mb: int = 64,
    extra: str = "",
    database: str | None = None,
) -> Iterator[Node]:
    """A configured node, nothing started yet; whatever runs at the end is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Node(folder, free_port(), database=database)
    made.config.write_text(
        f"""
[node]
ae_title = "DICOMNODE"
bind = "127.0.0.1"
port = {made.port}
data_dir = "node-data"
quiet_time_s = {quiet_time_s}
reserve_mb = {reserve_mb}
drain_s = {drain_s}
{extra}
{f'[database]{chr(10)}url = "{database}"' if database else ""}
[[senders]]
ae_title = "PACS"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "{host}"
port = {pacs_port}
[analysis]
first_retry_s = 0.5
longest_retry_s = 2
[delivery]
first_retry_s = 0.5
longest_retry_s = 2
"""
    )
    try:
        yield made
    finally:
        made.kill()


def study_of(folder: Path) -> str:
    """Study Instance UID of the files in a folder."""
    first = min(folder.glob("*.dcm"))
    return str(dcmread(first, stop_before_pixels=True).StudyInstanceUID)


def storescu(
    port: int,
    *paths: Path,
    calling: str = "PACS",
    called: str = "DICOMNODE",
    syntaxes: Sequence[str] = WSM_SYNTAXES,
) -> subprocess.CompletedProcess[str]:
    """DCMTK sends files or folders to the node."""
    command = ["storescu", "-v", *syntaxes, "+sd", "+r", "-aet", calling, "-aec", called]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@dataclass
class StoreScp:
    """DCMTK's storescp as the receiving PACS; an object sent twice is one file."""

    folder: Path
    port: int
    options: tuple[str, ...] = ("+xa",)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["storescp", "-aet", "PACS", "+B", *self.options]
        self.process = subprocess.Popen(
            [*command, "-od", str(self.folder), str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: listening(self.port), what="storescp listening")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def objects(self) -> list[Dataset]:
        """Every object it holds; one that is being written has no header yet."""
        whole = [path for path in sorted(self.folder.iterdir()) if is_dicom(path)]
        return [dcmread(path) for path in whole]

    def digests(self, only: set[str] | None = None) -> dict[str, bytes]:
        """Bytes of every object by SOP Instance UID, or of some: storescp names files by UID."""
        return {
            path.name.partition(".")[2]: path.read_bytes()
            for path in sorted(self.folder.iterdir())
            if only is None or path.name.partition(".")[2] in only
        }


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[StoreScp]:
    """A running storescp."""
    need("storescp")
    scp = StoreScp(folder, free_port(), options or ("+xa",))
    scp.start()
    try:
        yield scp
    finally:
        scp.stop()


@dataclass
class Orthanc:
    """A running Orthanc with its DICOMweb plugin."""

    dicom_port: int
    http_port: int

    def rest(self, path: str, method: str = "GET", body: str | None = None) -> Any:
        """Answer of its REST API, parsed."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            method=method,
            data=None if body is None else body.encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def qido(self, study: str, level: str = "instances") -> list[dict[str, Any]]:
        """What QIDO-RS lists for a study."""
        found = self.rest(f"/dicom-web/studies/{study}/{level}")
        return found or []


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Orthanc]:
    """An Orthanc that knows the node as the modality `node`."""
    need("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    made = Orthanc(free_port(), free_port())
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if not plugin.exists():
        pytest.skip(f"needs {plugin}; `sh tests/run.sh` installs it")
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "Name": "PACS",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "HttpPort": made.http_port,
                "DicomPort": made.dicom_port,
                "DicomAet": "PACS",
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [str(plugin)],
                "DicomModalities": {"node": ["DICOMNODE", "127.0.0.1", node_port]},
                "MaximumPduLength": 131072,
            }
        )
    )
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(config)], stdout=log, stderr=log)
    try:
        wait_for(lambda: listening(made.http_port), what="Orthanc listening")
        yield made
    finally:
        process.kill()
        process.wait()
