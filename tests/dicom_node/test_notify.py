"""Who is told of parked studies and full disks, in what words, and that nobody waits for it."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from nodes import wait_for
from structlog.testing import capture_logs

from dicom_node.config.keeping import NotifySection
from dicom_node.config.loading import ConfigError, load_config
from dicom_node.config.whole import Config
from dicom_node.ledger.counted import Evidence
from dicom_node.ledger.ledger import Ledger
from dicom_node.ledger.rows import ReceivedInstance, Run
from dicom_node.notify.disk import Limits, Room, room_of
from dicom_node.notify.lookout import Lookout
from dicom_node.notify.sending import sender

STUDY = "1.2.840.1.77"


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    return tmp_path / "heard.jsonl"


def config_of(tmp_path: Path, notify: str, **node: object) -> Config:
    keys = "".join(f"{k} = {v}\n" for k, v in node.items())
    (tmp_path / "node.toml").write_text(
        f'[node]\nae_title = "N"\ndata_dir = "data"\n{keys}'
        '[[destinations]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\n'
        f"[notify]\n{notify}\n"
    )
    (tmp_path / "data").mkdir(exist_ok=True)
    return load_config(tmp_path / "node.toml", {})


def command(heard: Path) -> str:
    code = f"import sys; open({str(heard)!r}, 'a').write(sys.stdin.read())"
    return f"command = {json.dumps([sys.executable, '-c', code])}"


def parked(ledger: Ledger, study: str, reason: str) -> None:
    uid = f"{study}.1"
    one = ReceivedInstance(uid, "1", study, f"{study}.9", "1.2", 5, f"ab/{uid}", "PACS", "::1")
    ledger.arrivals.record(one)
    ledger.studies.close(Run(study, 1, 0), Evidence(1))
    ledger.studies.park(Run(study, 1, 1), reason)


def notices(heard: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in heard.read_text().splitlines()] if heard.exists() else []


def test_a_parked_study_is_told_once_without_its_uids(tmp_path, heard):
    config = config_of(tmp_path, command(heard), reserve_mb=0, warn_free_percent=0)
    ledger = Ledger.open(config.ledger_at)
    parked(ledger, "1.2.840.1.76", "of long ago")
    lookout = Lookout(config, ledger, threading.Event())
    lookout.look()
    parked(ledger, STUDY, f"slide k: Instance {STUDY}.1: Rows is\x1b no number")
    lookout.look()
    lookout.look()
    Lookout(config, ledger, threading.Event()).look()
    (notice,) = notices(heard)
    assert notice["event"] == "study_parked"
    assert notice["reason"] == "slide k: Instance (UID): Rows is\\x1b no number"
    assert "study_instance_uid" not in notice


def test_uids_are_told_to_those_who_ask_for_them(tmp_path, heard):
    notify = command(heard) + "\nwith_uids = true"
    config = config_of(tmp_path, notify, reserve_mb=0, warn_free_percent=0)
    ledger = Ledger.open(config.ledger_at)
    lookout = Lookout(config, ledger, threading.Event())
    lookout.look()
    parked(ledger, STUDY, "why")
    lookout.look()
    (notice,) = notices(heard)
    assert notice["study_instance_uid"] == STUDY


def test_what_is_parked_while_nobody_looks_is_told_after_the_start(tmp_path, heard):
    config = config_of(tmp_path, command(heard), reserve_mb=0, warn_free_percent=0)
    ledger = Ledger.open(config.ledger_at)
    Lookout(config, ledger, threading.Event()).look()
    parked(ledger, STUDY, "while the worker was down")
    Lookout(config, ledger, threading.Event()).look()
    assert [n["reason"] for n in notices(heard)] == ["while the worker was down"]


def test_what_is_parked_in_a_database_that_replaced_another_is_told(tmp_path, heard):
    config = config_of(tmp_path, command(heard), reserve_mb=0, warn_free_percent=0)
    first = Ledger.open(config.ledger_at)
    for number in range(9):
        parked(first, f"1.2.840.2.{number}", "of the first database")
    Lookout(config, first, threading.Event()).look()
    for file in config.node.data_dir.glob("node.sqlite*"):
        file.unlink()
    second = Ledger.open(config.ledger_at)
    Lookout(config, second, threading.Event()).look()
    parked(second, STUDY, "of the second database")
    Lookout(config, second, threading.Event()).look()
    (notice,) = notices(heard)
    assert notice["reason"] == "of the second database"


def test_a_full_disk_is_told_once_and_again_only_after_it_had_room(tmp_path, heard):
    config = config_of(tmp_path, command(heard), reserve_mb=10**9)
    lookout = Lookout(config, Ledger.open(config.ledger_at), threading.Event())
    lookout.look()
    lookout.look()
    (notice,) = notices(heard)
    assert notice["event"] == "disk_full"
    assert set(notice) == {"event", "at", "node", "ae", "free_mb", "reserve_mb"}


def test_a_disk_is_low_before_it_is_full_and_does_not_flutter():
    limits = Limits.of(100 << 30, 2048, 10)
    assert limits == Limits(10 << 30, 2 << 30)
    assert room_of(11 << 30, limits) is Room.ENOUGH
    assert room_of(9 << 30, limits) is Room.LOW
    assert room_of(1 << 30, limits) is Room.NONE
    assert room_of((10 << 30) + 1, limits, Room.LOW) is Room.LOW
    assert room_of((2 << 30) + 1, limits, Room.NONE) is Room.NONE
    assert room_of(12 << 30, limits, Room.NONE) is Room.ENOUGH
    assert Limits.of(1 << 30, 2048, 10).low == 3 << 30, "never less than half above the reserve"


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    script = tmp_path / "hangs.sh"
    script.write_text("#!/bin/sh\nsleep 300 & echo $! > pid\nwait\n")
    send = sender(
        NotifySection(command=("sh", "-c", f"cd {tmp_path} && . ./hangs.sh"), timeout_s=2)
    )
    assert send is not None
    began = time.monotonic()
    assert not send({"event": "e"})
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: _has_ended(pid), within_s=10, what="the end of what it started")


def _has_ended(pid: int) -> bool:
    """A process that is killed runs until the kernel gives it its turn to die."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_no_shell_reads_a_notice(tmp_path, heard):
    send = sender(NotifySection(command=("cat", "$(touch owned)", ";", "touch owned")))
    assert send is not None
    assert not send({"event": "$(touch owned)"})
    assert not Path("owned").exists()


def test_a_command_that_is_not_there_is_logged_and_no_more():
    send = sender(NotifySection(command=("/no/such/program",)))
    assert send is not None
    assert not send({"event": "e"})


@contextmanager
def http(status: int, got: list[bytes], wait_s: float = 0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(wait_s)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "taken"), [(200, True), (204, True), (500, False), (302, False)]
)
def test_a_webhook_gets_the_notice_and_its_answer_counts(status, taken):
    got: list[bytes] = []
    with http(status, got) as url:
        send = sender(NotifySection(webhook=url))
        assert send is not None
        assert send({"event": "e"}) is taken
    assert got == [b'{"event": "e"}']


def test_a_webhook_that_does_not_answer_is_given_up():
    with http(200, [], wait_s=5) as url:
        send = sender(NotifySection(webhook=url, timeout_s=1))
        assert send is not None
        began = time.monotonic()
        assert not send({"event": "e"})
        assert time.monotonic() - began < 4


@contextmanager
def dripping(begins: bytes) -> Iterator[str]:
    """A webhook that answers for ever, a byte at a time."""
    server, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        with suppress(OSError):
            sock, _ = server.accept()
            sock.recv(65536)
            sock.sendall(begins)
            while not over.wait(0.2):
                sock.sendall(b"x")

    threading.Thread(target=drip, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
    finally:
        over.set()
        server.close()


@pytest.mark.parametrize(
    "begins", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_a_webhook_that_drips_is_given_up_when_its_time_is_over(begins):
    with dripping(begins) as url:
        send = sender(NotifySection(webhook=url, timeout_s=1.5))
        assert send is not None
        began = time.monotonic()
        with capture_logs() as said:
            assert not send({"event": "e"})
        assert time.monotonic() - began < 6
    assert [line["reason"] for line in said] == ["took more than 1.5 s"]


def test_a_disk_that_fills_is_told_of_while_notices_take_long(tmp_path, heard):
    slow = [sys.executable, "-c", f"import time; time.sleep(1); open({str(heard)!r}, 'a')"]
    notify = f"command = {json.dumps(slow)}"
    config = config_of(tmp_path, notify, reserve_mb=0, warn_free_percent=0)
    ledger = Ledger.open(config.ledger_at)
    lookout = Lookout(config, ledger, threading.Event())
    lookout.look()
    for number in range(3):
        parked(ledger, f"1.2.3.{number}", "why")
    with capture_logs() as said:
        looking = threading.Thread(target=lookout.look)
        looking.start()
        time.sleep(0.3)
        full = config.node.model_copy(update={"reserve_mb": 10**9})
        lookout._config = config.model_copy(update={"node": full})
        looking.join(2.0)
        assert "disk_full" in [line["event"] for line in said]
        assert looking.is_alive(), "others wait to be told"
        looking.join(30)


def test_who_is_asked_to_stop_tells_the_rest_after_the_next_start(tmp_path, heard):
    config = config_of(tmp_path, command(heard), reserve_mb=0, warn_free_percent=0)
    ledger, stop = Ledger.open(config.ledger_at), threading.Event()
    lookout = Lookout(config, ledger, stop)
    lookout.look()
    parked(ledger, STUDY, "why")
    stop.set()
    lookout.look()
    assert notices(heard) == []
    Lookout(config, ledger, threading.Event()).look()
    assert [n["reason"] for n in notices(heard)] == ["why"]


def test_without_a_key_nobody_is_told_and_a_webhook_is_one_of_the_web(tmp_path):
    assert sender(NotifySection()) is None
    with pytest.raises(ConfigError, match=r"notify\.webhook"):
        config_of(tmp_path, 'webhook = "file:///etc/passwd"')
