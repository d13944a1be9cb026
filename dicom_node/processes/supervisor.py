"""Processes of `dicom-node serve`: one supervisor, an ingest process and a worker process.

The two are apart so that a slide that breaks a decoder cannot break the listener, and so that the
listener stays small. A child that dies is started again after a pause; a child that refuses to
start (bad bundle, port taken) or whose database is damaged ends the node with its message.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.config.whole import Config
from dicom_node.exit_status import FAILED, MAY_PASS, REFUSED
from dicom_node.processes.signals import hangups_held_back, reloads
from inference.lock import held, holder

log = structlog.get_logger()

_LONGEST_PAUSE_S = 30.0
_MAY_PASS_PAUSE_S = 2.0
_STEADY_S = 60.0


@dataclass(slots=True)
class _Child:
    """One child process and when it may be started again."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 1.0
    start_at: float = field(default_factory=time.monotonic)


def _ingest(config: Config, stop: threading.Event) -> None:
    from dicom_node.processes.ingest import run_ingest

    run_ingest(config, stop)


def _worker(config: Config, stop: threading.Event) -> None:
    from dicom_node.processes.worker import run_worker

    run_worker(config, stop)


ROLES: dict[str, Callable[[Config, threading.Event], None]] = {
    "ingest": _ingest,
    "worker": _worker,
}
"""What each child runs. Imported by role: what the worker needs would triple ingest's memory."""


def supervise(config: Config, config_path: Path, stop: threading.Event) -> int:
    """Run both children until `stop` is set; the exit status.

    One node per data folder: a second one is refused before it starts anything.
    """
    path = config.node.data_dir / "node.lock"
    with held(path) as is_alone:
        if is_alone:
            return _supervise(config, config_path, stop)
        reason = (
            f"another node runs on {config.node.data_dir} ({holder(path)}); stop it, or give "
            "this node its own data_dir"
        )
        log.error("cannot_start", reason=reason)
        return REFUSED


def _supervise(config: Config, config_path: Path, stop: threading.Event) -> int:
    children = [_Child(role) for role in ROLES]
    asked = reloads()
    while not stop.wait(0.2):
        if asked.is_set():
            asked.clear()
            _pass_on(signal.SIGHUP, children)
        for child in children:
            status = _tend(child, config_path)
            if status == REFUSED:
                log.error("node_refused_to_start", role=child.role)
                _end(children, config.node.drain_s)
                return REFUSED
    return _end(children, config.node.drain_s)


def watch_supervisor(supervisor: int, stop: threading.Event) -> None:
    """Set `stop` when the supervisor is gone, so that no orphan keeps the engine."""

    def watch() -> None:
        while os.getppid() == supervisor and not stop.is_set():
            time.sleep(0.5)
        stop.set()

    threading.Thread(target=watch, name="watch-supervisor", daemon=True).start()


def _tend(child: _Child, config_path: Path) -> int | None:
    """Start a child that is due; the exit status of one that just ended."""
    now = time.monotonic()
    if child.process is None:
        if now >= child.start_at:
            command = [sys.executable, "-m", "dicom_node", child.role, "--config", str(config_path)]
            with hangups_held_back():
                child.process = subprocess.Popen([*command, "--supervisor", str(os.getpid())])
            child.started_at = now
        return None
    status = child.process.poll()
    if status is None:
        return None
    steady = now - child.started_at > _STEADY_S
    child.process = None
    if status == REFUSED:
        return status  # it has said why
    if status != MAY_PASS:
        child.pause_s = 1.0 if steady else min(child.pause_s * 2, _LONGEST_PAUSE_S)
    pause_s = _MAY_PASS_PAUSE_S if status == MAY_PASS else child.pause_s
    child.start_at = now + pause_s
    log.error("child_died", role=child.role, status=status, again_in_s=pause_s)
    return status


def _pass_on(number: signal.Signals, children: list[_Child]) -> None:
    for child in children:
        if child.process is not None:
            child.process.send_signal(number)


def _end(children: list[_Child], drain_s: float) -> int:
    """Ask every child to drain and wait; 0 when all left by themselves and well."""
    running = [c.process for c in children if c.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + drain_s + 15
    worst = 0
    for process in running:
        try:
            status = process.wait(max(0.1, deadline - time.monotonic()))
            # Ended by our own signal: it had not even begun.
            worst = max(worst, 0 if status == -signal.SIGTERM else abs(status))
        except subprocess.TimeoutExpired:
            log.error("child_did_not_drain", pid=process.pid)
            process.kill()
            worst = FAILED
    return worst
