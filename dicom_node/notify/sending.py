"""A notice on its way to people: to a command's standard input, or to a webhook. Never raises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any

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
    request = urllib.request.Request(
        url,
        data=json.dumps(notice).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with _OPENER.open(request, timeout=timeout_s):
            return True
    except urllib.error.HTTPError as error:
        return _failed("webhook", f"answered {error.code}")
    except (OSError, HTTPException, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else type(error).__name__
        return _failed("webhook", why)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A notice goes where the configuration says, and nowhere that an answer names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def _failed(way: str, reason: str) -> bool:
    log.warning("notice_not_sent", way=way, reason=reason)
    return False
