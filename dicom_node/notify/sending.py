"""A notice on its way to people: to a command's standard input, or to a webhook. Never raises."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog

from dicom_node.config.keeping import NotifySection
from dicom_node.observe.log import os_reason

log = structlog.get_logger()

Notice = Mapping[str, Any]
Send = Callable[[Notice], bool]


def sender(section: NotifySection) -> Send | None:
    """What sends a notice everywhere the configuration says; None where it says nothing.

    It answers whether every one took it.
    """
    ways: list[Send] = []
    if section.command:
        command = section.command
        ways.append(lambda notice: _run(command, notice, section.timeout_s))
    if section.webhook:
        url = section.webhook
        ways.append(lambda notice: _post(url, notice, section.timeout_s))
    return (lambda notice: all([way(notice) for way in ways])) if ways else None


def _run(command: Sequence[str], notice: Notice, timeout_s: float) -> bool:
    """Run a program with the notice on its standard input; no shell reads any of it."""
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [*command], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
        )
    except OSError as error:
        return _failed("command", os_reason(error))
    try:
        process.communicate(json.dumps(notice).encode() + b"\n", timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.wait()
        return _failed("command", f"took more than {timeout_s:g} s")
    status = process.returncode
    return status == 0 or _failed("command", f"ended with status {status}")


def _post(url: str, notice: Notice, timeout_s: float) -> bool:
    """Post a notice as JSON and look at the status; an answer that names another place is none."""
    try:
        status = _status_of(url, json.dumps(notice).encode(), time.monotonic() + timeout_s)
    except TimeoutError:
        return _failed("webhook", f"took more than {timeout_s:g} s")
    except (OSError, HTTPException, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else type(error).__name__
        return _failed("webhook", why)
    return 200 <= status < 300 or _failed("webhook", f"answered {status}")


def _status_of(url: str, body: bytes, deadline: float) -> int:
    """Status of the answer, which has to be there by a time of `time.monotonic`. No proxy is asked.

    Raises OSError, HTTPException, and ValueError for a URL that is none.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"Content-Type": "application/json", "Connection": "close"}
    connection = kind(parts.hostname or "", parts.port, timeout=_left(deadline))
    try:
        connection.connect()
        connection.sock.settimeout(_left(deadline))
        connection.request("POST", path, body, headers)
        response = HTTPResponse(connection.sock, method="POST")
        response.fp = io.BufferedReader(_Within(connection.sock, deadline))
        response.begin()
        return response.status
    finally:
        connection.close()


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _Within(io.RawIOBase):
    """What comes on a socket, all of it by a deadline: the library's time is that of one read, so a
    peer that drips would take as long as it likes."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """How many bytes came, 0 at the end. Raises OSError, also when the time is over."""
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def _failed(way: str, reason: str) -> bool:
    log.warning("notice_not_sent", way=way, reason=reason)
    return False
