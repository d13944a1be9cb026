"""Processes of `dicom-node serve`: one supervisor, and the processes ingest, worker and egress.

They are apart so that a slide that breaks a decoder cannot break the listener, and so that the
listener stays small. A child that dies, or is silent for too long, is started again after a pause;
a child that refuses to start (bad bundle, port taken) or whose database is damaged ends the node
with its message.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from dicom_node.config.whole import Config
from dicom_node.exit_status import DEVICE_LOST, FAILED, REFUSED
from dicom_node.processes.children import Child, Patience
from dicom_node.processes.heartbeat import Heart
from dicom_node.processes.losses import Losses, Tally
from dicom_node.processes.signals import reloads
from inference.lock import held, holder

log = structlog.get_logger()

_LOOK_S = 0.2
_INGEST = Patience(starting_s=600, running_s=15)
_WORKER = Patience(starting_s=900, running_s=60)
_EGRESS = Patience(starting_s=600, running_s=60)
_BUILDS_PLANS_S = 4 * 3600.0
"""What building TensorRT plans may take before the worker's first heartbeat."""


def _ingest(config: Config, stop: threading.Event, heart: Heart) -> None:
    from dicom_node.processes.ingest import run_ingest

    run_ingest(config, stop, heart)


def _worker(config: Config, stop: threading.Event, heart: Heart) -> None:
    from dicom_node.processes.worker import run_worker

    run_worker(config, stop, heart)


def _egress(config: Config, stop: threading.Event, heart: Heart) -> None:
    from dicom_node.processes.egress import run_egress

    run_egress(config, stop, heart)


ROLES: dict[str, Callable[[Config, threading.Event, Heart], None]] = {
    "ingest": _ingest,
    "worker": _worker,
    "egress": _egress,
}
"""What each child runs. Imported by role: what the worker needs would triple ingest's memory."""


def supervise(config: Config, config_path: Path, stop: threading.Event) -> int:
    """Run all children until `stop` is set; the exit status.

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
    losses, tally = Losses(config.node.data_dir), Tally(config.node.most_crashes)
    losses.forget()
    children = [_child(role, config, config_path) for role in ROLES]
    asked = reloads()
    while not stop.wait(_LOOK_S):
        if asked.is_set():
            asked.clear()
            _pass_on(signal.SIGHUP, children)
        for child in children:
            status = child.tend()
            if status == DEVICE_LOST and tally.is_over():
                loss = losses.last()
                reason = f"the device was lost {tally.losses} times within an hour" + (
                    f", last: {loss.engine}: {loss.reason}" if loss else ""
                )
                log.error("device_lost_too_often", role=child.role, reason=reason)
                status = REFUSED
            if status == REFUSED:
                log.error("node_refused_to_start", role=child.role)
                _end(children, config.node.drain_s)
                return REFUSED
    return _end(children, config.node.drain_s)


def _child(role: str, config: Config, config_path: Path) -> Child:
    patience = {"ingest": _INGEST, "worker": _WORKER, "egress": _EGRESS}[role]
    if role == "worker" and any(model.build_plans for model in config.students):
        patience = replace(patience, starting_s=_BUILDS_PLANS_S)
    command = [sys.executable, "-m", "dicom_node", role, "--config", str(config_path)]
    return Child(role, command, patience)


def watch_supervisor(supervisor: int, stop: threading.Event) -> None:
    """Set `stop` when the supervisor is gone, so that no orphan keeps the engine."""

    def watch() -> None:
        while os.getppid() == supervisor and not stop.is_set():
            time.sleep(0.5)
        stop.set()

    threading.Thread(target=watch, name="watch-supervisor", daemon=True).start()


def _pass_on(number: signal.Signals, children: list[Child]) -> None:
    for child in children:
        if child.process is not None:
            child.process.send_signal(number)


def _end(children: list[Child], drain_s: float) -> int:
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
