"""Peers of a listener that are no DICOM tools: plain sockets, and requests made by hand."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

VERIFICATION = "1.2.840.10008.1.1"


def association_request(calling: str = "STORESCU", called: str = "NODE") -> bytes:
    """An A-ASSOCIATE-RQ for Verification, as bytes."""
    entity = AE(calling)
    entity.add_requested_context(VERIFICATION)
    [context] = entity.requested_contexts
    context.context_id = 1
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    primitive.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def connect(port: int, *, source: str = "127.0.0.1", timeout_s: float = 20) -> socket.socket:
    """A connection from an address of this machine."""
    return socket.create_connection(
        ("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0)
    )


def read_pdu(sock: socket.socket) -> bytes:
    """The next PDU; shorter, or empty, where the connection ends."""
    header = _read(sock, 6)
    if len(header) < 6:
        return header
    return header + _read(sock, struct.unpack(">L", header[2:])[0])


def _read(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        try:
            piece = sock.recv(count - len(found))
        except ConnectionError:
            break
        if not piece:
            break
        found += piece
    return found


def rejection(pdu: bytes) -> tuple[int, int, int]:
    """Result, source and reason of an A-ASSOCIATE-RJ."""
    assert pdu[:1] == b"\x03", pdu
    return pdu[7], pdu[8], pdu[9]


def is_closed(sock: socket.socket) -> bool:
    """Whether the peer has ended the connection; does not wait."""
    sock.setblocking(False)
    try:
        while sock.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@contextmanager
def connections(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Many connections of one host at a time, each with a few bytes of nothing complete."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = connect(port)
            opened.append(sock)
            if first:
                sock.send(first)
        yield opened
    finally:
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.close()


def echo(port: int, *options: str, calling: str = "STORESCU", called: str = "NODE") -> float:
    """Seconds that DCMTK's echoscu takes; fails where it gets no answer."""
    begin = time.monotonic()
    answer = try_echo(port, *options, calling=calling, called=called)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return time.monotonic() - begin


def try_echo(
    port: int, *options: str, calling: str = "STORESCU", called: str = "NODE"
) -> subprocess.CompletedProcess[str]:
    """DCMTK's echoscu, run to its end."""
    command = ["echoscu", "-v", "-to", "10", *options, "-aet", calling, "-aec", called]
    return subprocess.run(
        [*command, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
