"""The lobby against peers that never ask for an association, ask badly, or ask too often."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
from mutant_requests import mutant
from nodes import ROOT, free_port, listening, node, wait_for
from peers import (
    association_request,
    connect,
    connections,
    echo,
    is_closed,
    read_pdu,
    rejection,
    try_echo,
)
from pynetdicom import AE
from structlog.testing import capture_logs

from dicom_node.association.acceptor import Acceptor
from dicom_node.association.lobby.limits import LobbyLimits
from dicom_node.association.lobby.repeats import Repeats
from dicom_node.association.service import Service
from dicom_node.config.peers import Sender
from dicom_node.processes.children import Child, Patience
from dicom_node.sop_classes import VERIFICATION

SUPPORT = Path(__file__).parents[1] / "support"
LOOPBACK = (IPv4Network("127.0.0.0/8"),)
SENDER = Sender(ae_title="STORESCU", networks=LOOPBACK)
CONGESTION, LIMIT_EXCEEDED, CALLING_AE_UNKNOWN = (2, 3, 1), (2, 3, 2), (1, 1, 3)
SERVICE = Service((VERIFICATION,), (), open_sink=lambda *_: None)
PROXY = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.fixture
def listen() -> Iterator[Callable[..., Acceptor]]:
    """Makes listeners for Verification."""
    started: list[Acceptor] = []

    def make(patience_s: float = 8.0, **changes: Any) -> Acceptor:
        limits = {k: changes.pop(k) for k in ("visitors", "per_host", "held_bytes") if k in changes}
        settings: dict[str, Any] = {
            "ae_title": "NODE",
            "bind": "127.0.0.1",
            "port": 0,
            "senders": [SENDER],
            "services": [SERVICE],
            "maximum_associations": 4,
            "lobby_limits": LobbyLimits(patience_s=patience_s, **limits),
        }
        acceptor = Acceptor(**(settings | changes))
        acceptor.start()
        started.append(acceptor)
        return acceptor

    yield make
    for acceptor in started:
        acceptor.drain(0.5)


@dataclass
class Process:
    """The receiver as a process of its own, looked at from outside."""

    popen: subprocess.Popen[str]
    port: int

    @property
    def seen(self) -> psutil.Process:
        return psutil.Process(self.popen.pid)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    popen = subprocess.Popen(
        [sys.executable, str(SUPPORT / "ingest_process.py"), str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1])},
    )
    assert popen.stdout is not None
    port = next(int(line) for line in popen.stdout if line.strip().isdigit())
    threading.Thread(target=popen.stdout.read, daemon=True).start()
    yield Process(popen, port)
    popen.kill()
    popen.wait()


def drip(sockets: list[socket.socket], stop: threading.Event) -> None:
    """A byte a second of a request that never ends, on each connection."""
    request = association_request()
    for at in range(len(request)):
        for sock in sockets:
            try:
                sock.send(request[at : at + 1])
            except OSError:
                continue
        if stop.wait(1):
            return


def test_a_thousand_idle_connections_of_one_host_cost_no_thread_and_shut_nobody_out(
    process: Process,
) -> None:
    echo(process.port)
    idle = sorted(echo(process.port) for _ in range(5))[-1]
    time.sleep(0.5)
    threads, rss = process.seen.num_threads(), process.seen.memory_info().rss
    begin = time.monotonic()
    with (
        connections(process.port, 500) as silent,
        connections(process.port, 500, b"\x01") as one_byte,
        connections(process.port, 50) as dripping,
    ):
        stop = threading.Event()
        dripper = threading.Thread(target=drip, args=(dripping, stop))
        dripper.start()
        opened = time.monotonic() - begin
        assert process.seen.num_threads() == threads
        assert process.seen.memory_info().rss - rss < 25e6
        took = [echo(process.port) for _ in range(5)]
        assert max(took) <= max(2 * idle, idle + 5)  # other work runs beside the tests
        everybody = [*silent, *one_byte, *dripping]
        left = 9 + opened - (time.monotonic() - begin)
        wait_for(lambda: all(map(is_closed, everybody)), within_s=left, what="all are shown out")
        stop.set()
        dripper.join()
    wait_for(lambda: process.seen.num_threads() == threads, within_s=60)


def test_connections_that_close_at_once_leave_nothing_and_hold_up_nobody(process: Process) -> None:
    echo(process.port)
    time.sleep(0.5)
    files, threads = process.seen.num_fds(), process.seen.num_threads()
    for _ in range(600):
        connect(process.port).close()
    assert process.seen.num_threads() == threads
    echo(process.port)
    wait_for(lambda: process.seen.num_fds() <= files, within_s=60, what="no descriptor left")


def test_a_receiver_without_descriptors_gives_up_idle_connections_before_real_ones(
    process: Process,
) -> None:
    echo(process.port)
    limit = process.seen.num_fds() + 40
    _, hard = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE, (limit, hard))
    with connections(process.port, 300):
        cpu = sum(process.seen.cpu_times()[:2])
        echo(process.port)
        time.sleep(1)
        assert sum(process.seen.cpu_times()[:2]) - cpu < 1.5, "it does not spin"
    echo(process.port)


def test_where_there_is_no_room_who_has_waited_longest_is_told_to_come_back(
    listen: Callable[..., Acceptor],
) -> None:
    acceptor = listen(per_host=20)
    with connections(acceptor.port, 21, b"\x01") as opened:
        assert rejection(read_pdu(opened[0])) == CONGESTION
        echo(acceptor.port)
        assert rejection(read_pdu(opened[1])) == CONGESTION
        assert not is_closed(opened[20])


def test_one_host_that_fills_its_share_of_the_lobby_does_not_push_out_another(
    listen: Callable[..., Acceptor],
) -> None:
    acceptor = listen(per_host=20)
    other = connect(acceptor.port, source="127.0.0.2")
    other.send(b"\x01")
    with connections(acceptor.port, 60):
        assert not is_closed(other)
    other.close()


def test_the_bytes_of_unfinished_requests_are_bounded_all_together(
    listen: Callable[..., Acceptor],
) -> None:
    acceptor = listen(held_bytes=1 << 20)
    header = struct.pack(">BBL", 1, 0, 200_000)
    with connections(acceptor.port, 30) as opened:
        for sock in opened:
            sock.sendall(header + bytes(150_000))
        wait_for(lambda: sum(map(is_closed, opened)) >= 23, within_s=60, what="most have to go")
        echo(acceptor.port)


def test_whoever_has_not_asked_in_time_is_shown_out(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen(patience_s=0.5)
    begin = time.monotonic()
    with capture_logs() as logs, connections(acceptor.port, 2) as (silent, slow):
        slow.sendall(association_request()[:100])
        assert read_pdu(silent) == b""
        assert read_pdu(slow) == b""
    assert 0.4 < time.monotonic() - begin < 3
    reasons = [e["reason"] for e in logs if e["event"] == "connection_refused"]
    assert reasons == ["an association request did not arrive in time"]


@pytest.mark.parametrize("pieces", [1, 2, 7, 200])
def test_a_request_may_come_in_pieces(listen: Callable[..., Acceptor], pieces: int) -> None:
    request = association_request()
    size = -(-len(request) // pieces)
    with connect(listen().port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), size):
            sock.sendall(request[at : at + size])
            time.sleep(0.2 / pieces)
        assert read_pdu(sock)[0] == 2  # A-ASSOCIATE-AC


def test_what_comes_right_after_the_request_is_not_lost(listen: Callable[..., Acceptor]) -> None:
    release = struct.pack(">BBLL", 5, 0, 4, 0)
    with connect(listen().port) as sock:
        sock.sendall(association_request() + release)
        assert read_pdu(sock)[0] in (2, 7)  # accepted, or aborted for its haste: never silence


def test_a_refusal_arrives_also_where_more_was_sent_than_was_read(
    listen: Callable[..., Acceptor],
) -> None:
    acceptor = listen()
    for _ in range(20):
        with connect(acceptor.port) as sock:
            sock.sendall(association_request(calling="NOBODY") + bytes(100_000))
            time.sleep(0.02)
            assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN


def test_one_calling_ae_title_cannot_take_every_association(
    listen: Callable[..., Acceptor],
) -> None:
    greedy = Sender(ae_title="GREEDY", networks=LOOPBACK)
    acceptor = listen(senders=[SENDER, greedy])

    def associate(calling: str) -> Any:
        entity = AE(calling)
        entity.add_requested_context(VERIFICATION.uid)
        return entity.associate("127.0.0.1", acceptor.port, ae_title="NODE")

    first = [associate("GREEDY") for _ in range(3)]
    assert all(a.is_established for a in first)
    with connect(acceptor.port) as sock:
        sock.sendall(association_request(calling="GREEDY"))
        assert rejection(read_pdu(sock)) == LIMIT_EXCEEDED
    assert associate("STORESCU").is_established
    for association in first:
        association.release()


def test_a_draining_listener_answers_congestion(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen()
    entity = AE("STORESCU")
    entity.add_requested_context(VERIFICATION.uid)
    working = entity.associate("127.0.0.1", acceptor.port, ae_title="NODE")
    drain = threading.Thread(target=acceptor.drain, args=(10,))
    drain.start()
    time.sleep(0.3)
    with connect(acceptor.port) as sock:
        sock.sendall(association_request())
        assert rejection(read_pdu(sock)) == CONGESTION
    working.release()
    drain.join()


def test_a_port_that_speaks_no_tls_says_so_in_the_log(listen: Callable[..., Acceptor]) -> None:
    with capture_logs() as logs, connect(listen().port) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        assert read_pdu(sock) == b""
    [event] = [e for e in logs if e["event"] == "connection_refused"]
    assert event["reason"] == "it speaks TLS, and this port does not"


def test_titles_with_bytes_that_no_title_holds_are_unknown_and_harmless_to_show(
    listen: Callable[..., Acceptor],
) -> None:
    request = bytearray(association_request())
    request[26:42] = b"STORESCU\xff\x1b[2J\x9b  "[:16]
    with capture_logs() as logs, connect(listen().port) as sock:
        sock.sendall(request)
        assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN
    [event] = [e for e in logs if e["event"] == "association_refused"]
    assert event["calling_ae"].isascii()
    assert event["calling_ae"].isprintable()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_mutated_requests_end_no_listener_and_no_thread_in_the_middle(
    listen: Callable[..., Acceptor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    acceptor = listen(patience_s=2)
    threads = threading.active_count()
    for number in range(300):
        made = mutant(number, calling="STORESCU", called="NODE")
        with connect(acceptor.port) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(made.data)
            if made.is_shut:
                sock.shutdown(socket.SHUT_WR)
    # Mutants that still are good requests hold a place of four until their end is noticed.
    wait_for(lambda: try_echo(acceptor.port).returncode == 0, within_s=60, what="no place free")
    wait_for(lambda: threading.active_count() <= threads, within_s=60, what="no thread left")
    assert ended == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_request_that_cannot_be_read_keeps_no_place(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen(maximum_associations=1)
    request = association_request()
    syntax = request.index(b"\x40\x00", 74)
    unreadable = (
        request[: syntax + 2] + b"\xff\xff" + request[syntax + 4 :],
        request.replace(b"\x30\x00\x00\x11", b"\x3f\x00\x00\x11"),  # no abstract syntax
    )
    for damaged in unreadable * 3:
        with connect(acceptor.port) as sock:
            sock.sendall(damaged)
            assert read_pdu(sock)[:1] == b"\x07"
            wait_for(lambda: not acceptor._associations, within_s=60, what="the end of its place")


def test_a_flood_of_refusals_is_a_few_lines_of_log(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen()
    with capture_logs() as logs:
        for _ in range(100):
            with connect(acceptor.port) as sock:
                sock.sendall(association_request(calling="NOBODY"))
                assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN
    assert len([e for e in logs if e["event"] == "association_refused"]) == 20


def test_what_was_kept_back_is_told_with_the_next_line() -> None:
    repeats = Repeats(lines=2, per_s=0.1)
    assert [repeats.due("a") for _ in range(5)] == [0, 0, None, None, None]
    assert repeats.due("b") == 0
    time.sleep(0.15)
    assert [repeats.due("a"), repeats.due("a")] == [3, 0]


def test_a_lobby_that_fails_is_noticed(
    listen: Callable[..., Acceptor], monkeypatch: pytest.MonkeyPatch
) -> None:
    acceptor = listen()
    assert acceptor.is_listening
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    assert acceptor._lobby is not None
    # Nothing but a defect of ours ends its thread: here is one.
    monkeypatch.setattr(acceptor._lobby, "_end_overdue", lambda: 1 // 0)
    connect(acceptor.port).close()
    wait_for(lambda: not acceptor.is_listening, within_s=60, what="the end of its thread")


def test_a_lobby_with_nobody_in_it_turns_all_the_same(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen()
    seen = []
    for _ in range(25):
        seen.append(acceptor.silent_s)
        time.sleep(0.1)
    assert max(seen) < 2


def test_a_listener_whose_log_nobody_reads_hears_everybody(tmp_path: Path) -> None:
    """Its log goes to a pipe that refusals fill."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    fcntl.fcntl(held, fcntl.F_SETPIPE_SZ, 8192)
    with node(tmp_path / "node", free_port()) as n:
        environment = f"PYTHONPATH={ROOT}"
        role = [sys.executable, "-m", "dicom_node", "ingest", "--config", str(n.config)]
        quiet = ["sh", "-c", f'exec "$0" "$@" 2>{fifo}', "env", environment, *role]
        child = Child("ingest", quiet, Patience(starting_s=60, running_s=2))
        child.tend()
        assert child.process is not None
        popen = child.process
        try:
            wait_for(lambda: listening(n.port) or child.tend(), what="listening")
            for last in range(2, 250):
                with connect(n.port, source=f"127.0.0.{last}", timeout_s=10) as sock:
                    sock.sendall(association_request(calling="NOBODY"))
                    assert rejection(read_pdu(sock)) == CALLING_AE_UNKNOWN
                assert child.tend() is None
        finally:
            if popen.poll() is None:
                popen.kill()
            popen.wait()
            os.close(held)


# -- behind a proxy -----------------------------------------------------------------------------


def proxied(source: str, command: int = 0x21) -> bytes:
    """A header of the PROXY protocol, version 2."""
    address = ip_address(source)
    other = ip_address("10.9.9.9" if address.version == 4 else "fd00::9")
    body = address.packed + other.packed + struct.pack(">HH", 50_000, 104)
    extension = b"\x04\x00\x03abc"  # PP2_TYPE_NOOP
    family = 0x11 if address.version == 4 else 0x21
    body += extension
    return PROXY + struct.pack(">BBH", command, family, len(body)) + body


def of_network(*networks: str) -> Sender:
    return Sender.model_validate({"ae_title": "STORESCU", "networks": networks})


def answer_to(acceptor: Acceptor, header: bytes) -> bytes:
    with connect(acceptor.port) as sock:
        sock.sendall(header + association_request())
        return read_pdu(sock)


@pytest.mark.parametrize("source", ["10.1.2.3", "fd00::17"])
def test_behind_a_proxy_the_address_it_names_is_the_peers(
    listen: Callable[..., Acceptor], source: str
) -> None:
    acceptor = listen(proxies=LOOPBACK, senders=[of_network("10.1.0.0/16", "fd00::/64")])
    assert answer_to(acceptor, proxied(source))[0] == 2
    with capture_logs() as logs:
        assert rejection(answer_to(acceptor, proxied("10.2.2.3"))) == CALLING_AE_UNKNOWN
    [event] = [e for e in logs if e["event"] == "association_refused"]
    assert event["peer"] == "10.2.2.3"


def test_a_proxys_own_connection_has_the_proxys_address(listen: Callable[..., Acceptor]) -> None:
    acceptor = listen(proxies=LOOPBACK)
    assert answer_to(acceptor, PROXY + b"\x20\x00\x00\x00")[0] == 2
    assert answer_to(acceptor, PROXY + b"\x21\x00\x00\x00")[0] == 2  # it does not say whose


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 10.1.2.3 10.9.9.9 50000 104\r\n",
        PROXY + b"\x11\x11\x00\x0c" + bytes(12),
        PROXY + b"\x21\x11\x00\x04" + bytes(4),
        PROXY + b"\x21\x11\xff\xff",
    ],
    ids=["none", "version 1", "unknown version", "too short", "too long"],
)
def test_a_connection_of_a_proxy_without_its_header_is_ended(
    listen: Callable[..., Acceptor], header: bytes
) -> None:
    acceptor = listen(proxies=LOOPBACK)
    with capture_logs() as logs:
        assert answer_to(acceptor, header) == b""
    [event] = [e for e in logs if e["event"] == "connection_refused"]
    assert "PROXY protocol" in event["reason"]


def test_the_header_of_somebody_who_is_no_proxy_is_not_believed(
    listen: Callable[..., Acceptor],
) -> None:
    acceptor = listen(senders=[of_network("10.1.0.0/16")])
    assert answer_to(acceptor, proxied("10.1.2.3"))[:1] in (b"", b"\x07")
